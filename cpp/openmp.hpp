// The threads of an OpenMP runtime that the process already has: torch's.
#pragma once

namespace poolwise {

// How many threads the OpenMP team has that calls of this thread have anyway, the caller among them, if there is one of at
// least two and at most `threads`; else 0.
int openmp_team(int threads);

// Runs work(context) on that team. False, and nothing was run, if there is none.
bool openmp_run(int threads, void (*work)(void*), void* context);

// Never again in this process: after a fork the child has the runtime's state but none of its threads.
void openmp_forget();

}  // namespace poolwise
