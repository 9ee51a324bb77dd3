#include "parallel.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#define PW_HAS_FORK 1
#endif

namespace poolwise {
namespace {

constexpr int kMaxWorkers = 255;

std::atomic<std::int64_t> wakeups{0};

struct Loop {
  std::int64_t units, chunk;
  void (*body)(void*, std::int64_t, std::int64_t);
  void* context;
  std::atomic<std::int64_t> next{0};

  void take_chunks() {
    for (;;) {
      const std::int64_t begin = next.fetch_add(chunk, std::memory_order_relaxed);
      if (begin >= units) return;
      body(context, begin, std::min(begin + chunk, units));
    }
  }
};

// Workers sleep on a condition variable; they never spin. Two spinning runtimes on the same cores were measured 14x
// slower than one, and torch's libgomp already spins.
class Pool {
 public:
  void run(Loop& loop, int others) {
    {
      std::lock_guard lock(mutex_);
      while (workers_ < others) {
        try {
          std::thread(&Pool::work, this).detach();
        } catch (const std::system_error&) {
          break;  // no more threads to be had: fewer of them, same result
        }
        ++workers_;
      }
      loop_ = &loop;
      wanted_ = std::min(others, workers_);
    }
    wake_.notify_all();
    loop.take_chunks();
    std::unique_lock lock(mutex_);
    wanted_ = 0;  // whoever has not woken yet need not come
    loop_ = nullptr;
    done_.wait(lock, [this] { return active_ == 0; });
  }

  std::mutex busy;  // held by the thread whose loop is running

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return wanted_ > 0; });
      --wanted_;
      ++active_;
      Loop* loop = loop_;
      lock.unlock();
      wakeups.fetch_add(1, std::memory_order_relaxed);
      loop->take_chunks();
      lock.lock();
      if (--active_ == 0) done_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  Loop* loop_ = nullptr;
  int workers_ = 0, wanted_ = 0, active_ = 0;
};

// The pool is never destroyed: its workers sleep until the process ends, and destroying a condition variable that has
// waiters is undefined. After a fork the child has none of the workers, so it drops the pool and makes its own when
// first needed (a pool that outlives a fork hangs the child: the data-loader worker's case).
std::mutex creation;
Pool* current = nullptr;

#ifdef PW_HAS_FORK
void before_fork() { creation.lock(); }
void after_fork_parent() { creation.unlock(); }
void after_fork_child() {
  current = nullptr;
  creation.unlock();
}
#endif

Pool& pool() {
  std::lock_guard lock(creation);
  if (!current) {
#ifdef PW_HAS_FORK
    static const int registered = pthread_atfork(before_fork, after_fork_parent, after_fork_child);
    (void)registered;
#endif
    current = new Pool;
  }
  return *current;
}

}  // namespace

void parallel_for(std::int64_t units, int threads, void (*body)(void*, std::int64_t, std::int64_t), void* context) {
  if (units <= 0) return;
  const int others = static_cast<int>(std::min<std::int64_t>({threads - 1, units - 1, kMaxWorkers}));
  if (others <= 0) return body(context, 0, units);
  Pool& shared = pool();
  std::unique_lock turn(shared.busy, std::try_to_lock);
  if (!turn.owns_lock()) return body(context, 0, units);
  // About 8 chunks per thread: enough to even out a late starter, few enough that a chunk's cache of reduced rows
  // is seldom started anew.
  Loop loop{units, std::max<std::int64_t>(1, units / (8 * (others + 1))), body, context};
  shared.run(loop, others);
}

std::int64_t parallel_wakeups() { return wakeups.load(std::memory_order_relaxed); }

}  // namespace poolwise
