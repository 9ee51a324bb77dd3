#include "parallel.hpp"

#include "openmp.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#define PW_HAS_FORK 1
#endif

namespace poolwise {
namespace {

constexpr int kMaxWorkers = 255;

std::atomic<std::int64_t> wakeups{0};

#if defined(__linux__)
// Which processors the threads of a loop run on. A kernel that packs woken threads (virtual machines, power saving) puts
// a worker on the very processor of the caller that woke it, where the two only take turns: after a rest of 10 ms, the
// worker of a loop of two threads had done none or all of the work in half of the calls, and two threads were no faster
// than one. Whoever finds its processor taken moves, once, and stays there until that one is taken too.
class Places {
 public:
  Places() {
    if (sched_getaffinity(0, sizeof allowed_, &allowed_) != 0) CPU_ZERO(&allowed_);
    take(sched_getcpu());
  }
  void settle() {
    if (take(sched_getcpu())) return;
    cpu_set_t free = allowed_;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (taken_[cpu / 64].load(std::memory_order_relaxed) >> (cpu % 64) & 1) CPU_CLR(cpu, &free);
    if (CPU_COUNT(&free) == 0 || sched_setaffinity(0, sizeof free, &free) != 0) return;
    take(sched_getcpu());
  }

 private:
  bool take(int cpu) {  // whether it was free; a processor without a number of ours counts as free
    if (cpu < 0 || cpu >= CPU_SETSIZE) return true;
    const std::uint64_t bit = std::uint64_t{1} << (cpu % 64);
    return !(taken_[cpu / 64].fetch_or(bit, std::memory_order_relaxed) & bit);
  }

  cpu_set_t allowed_;  // the caller's
  std::atomic<std::uint64_t> taken_[CPU_SETSIZE / 64] = {};
};
#else
struct Places {
  void settle() {}
};
#endif

struct Loop {
  std::int64_t units, chunk;
  void (*body)(void*, std::int64_t, std::int64_t);
  void* context;
  std::atomic<std::int64_t> next{0};
  Places* places = nullptr;

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
    Places places;
    loop.places = &places;
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
      loop->places->settle();
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
  openmp_forget();
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
  const auto join = [](void* shared_loop) { static_cast<Loop*>(shared_loop)->take_chunks(); };
  if (openmp_run(others + 1, join, &loop)) {
    wakeups.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  shared.run(loop, others);
}

std::int64_t parallel_wakeups() { return wakeups.load(std::memory_order_relaxed); }

}  // namespace poolwise
