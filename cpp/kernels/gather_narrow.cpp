// Gradients in gather form: half types. (Not optimised as hard; see compare_narrow.cpp.)
#include "gather.hpp"
#include "kernels.hpp"

namespace poolwise {

UnitFn PW_ISA_NAME(gather_narrow)(const Problem& pb, bool select) {
  if (pb.in == Dtype::f16) return select ? gather_backward<F16, double, true> : gather_backward<F16, double, false>;
  return select ? gather_backward<BF16, double, true> : gather_backward<BF16, double, false>;
}

}  // namespace poolwise
