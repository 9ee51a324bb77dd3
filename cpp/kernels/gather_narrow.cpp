// Gradients in gather form: half types. (Not optimised as hard; see compare_narrow.cpp.)
#include "spread.hpp"
#include "kernels.hpp"

namespace poolwise {

UnitFn PW_ISA_NAME(gather_narrow)(const Problem& pb, bool select) {
  if (pb.spread) return pb.in == Dtype::f16 ? spread_backward<F16> : spread_backward<BF16>;
  if (pb.in == Dtype::f16) return select ? gather_backward<GatherChosen, F16> : gather_backward<GatherShares, F16>;
  return select ? gather_backward<GatherChosen, BF16> : gather_backward<GatherShares, BF16>;
}

}  // namespace poolwise
