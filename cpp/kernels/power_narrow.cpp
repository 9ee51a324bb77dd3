// lp with p = 2 of half types. (Not optimised as hard; see compare_narrow.cpp.)
#include "kernels.hpp"
#include "norms.hpp"

namespace poolwise {

UnitFn PW_ISA_NAME(power_narrow)(const Problem& pb) { return pb.in == Dtype::f16 ? roots_of_sums<F16> : roots_of_sums<BF16>; }

}  // namespace poolwise
