// OpenMP's threads wait for the next loop by spinning, for 7 ms in libgomp. On a machine with as many cores as threads,
// workers of another pool then wait for theirs: in a process whose other calls were torch's, two threads of our own
// were no faster than one, (4, 64, 112, 112) float32. So where torch is, its team is used, which is awake at that.
//
// No OpenMP is linked: two runtimes in a process are the problem. torch makes its runtime's symbols global when it is
// imported; where nobody has, there is nothing to share. GOMP_parallel and omp_get_max_threads are part of the
// stable interface of libgomp, and the runtimes of LLVM and Intel have them too.
#include "openmp.hpp"

#include <atomic>
#include <cstdlib>
#include <cstring>

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#define PW_HAS_DLSYM 1
#endif

namespace poolwise {
namespace {

#ifdef PW_HAS_DLSYM
using Parallel = void (*)(void (*)(void*), void*, unsigned, unsigned);
using MaxThreads = int (*)();

struct Runtime {
  Parallel parallel;
  MaxThreads max_threads;
};

bool wanted() {
  const char* layer = std::getenv("POOLWISE_THREADING");
  return !layer || std::strcmp(layer, "own") != 0;
}

std::atomic<bool> usable{wanted()};

// Looked for at every call until it is there: torch may be imported later than this library.
const Runtime* runtime() {
  static Runtime found;
  static std::atomic<bool> known{false};
  if (known.load(std::memory_order_acquire)) return &found;
  const auto parallel = reinterpret_cast<Parallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  const auto max_threads = reinterpret_cast<MaxThreads>(dlsym(RTLD_DEFAULT, "omp_get_max_threads"));
  if (!parallel || !max_threads) return nullptr;
  found = {parallel, max_threads};
  known.store(true, std::memory_order_release);
  return &found;
}
#endif

}  // namespace

int openmp_team(int threads) {
#ifdef PW_HAS_DLSYM
  const Runtime* omp = usable.load(std::memory_order_relaxed) ? runtime() : nullptr;
  // The team keeps its size: a runtime that is asked for another one ends threads and starts new ones.
  const int size = omp ? omp->max_threads() : 0;
  return size < 2 || size > threads ? 0 : size;
#else
  (void)threads;
  return 0;
#endif
}

bool openmp_run(int threads, void (*work)(void*), void* context) {
  const int size = openmp_team(threads);
  if (size == 0) return false;
#ifdef PW_HAS_DLSYM
  runtime()->parallel(work, context, static_cast<unsigned>(size), 0);
#else
  (void)work, (void)context;
#endif
  return true;
}

void openmp_forget() {
#ifdef PW_HAS_DLSYM
  usable.store(false, std::memory_order_relaxed);
#endif
}

}  // namespace poolwise
