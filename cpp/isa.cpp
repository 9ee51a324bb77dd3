#include "isa.hpp"

#include <cstdlib>
#include <stdexcept>

namespace poolwise {

const Kernels& kernels_base();
#ifdef PW_X86
const Kernels& kernels_avx2();
const Kernels& kernels_avx512();
#endif

namespace {

// Slowest first.
std::vector<const Kernels*> usable() {
  std::vector<const Kernels*> found{&kernels_base()};
#ifdef PW_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) {
    found.push_back(&kernels_avx2());
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
      found.push_back(&kernels_avx512());
  }
#endif
  return found;
}

const Kernels& choose() {
  const auto found = usable();
  const char* wanted = std::getenv("POOLWISE_ISA");
  if (!wanted || !*wanted) return *found.back();
  std::string names;
  for (const Kernels* k : found) {
    if (std::string(wanted) == k->name) return *k;
    names += names.empty() ? "" : ", ";
    names += k->name;
  }
  throw std::runtime_error("POOLWISE_ISA=" + std::string(wanted) + ": this machine and build have no such instruction set; "
                           "expected one of: " + names + "; unset POOLWISE_ISA to choose the best one");
}

}  // namespace

const Kernels& active_kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Kernels* k : usable()) names.push_back(k->name);
  return names;
}

}  // namespace poolwise
