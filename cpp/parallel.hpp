// A pool of sleeping workers that share out the units of one loop.
#pragma once

#include <cstdint>

namespace poolwise {

// Runs body(context, begin, end) over 0..units-1 in chunks handed out on demand, on at most `threads` threads of which
// the caller is one. A body must not throw. Another thread's loop in progress, or threads == 1, means: run it here.
void parallel_for(std::int64_t units, int threads, void (*body)(void*, std::int64_t, std::int64_t), void* context);

// How many times a worker has joined a loop since the process started.
std::int64_t parallel_wakeups();

}  // namespace poolwise
