// max, min, and lp with p = inf: float32 and float64.
#include "compare.hpp"
#include "kernels.hpp"

namespace poolwise {

UnitFn PW_ISA_NAME(compare)(const Problem& pb, bool with_offsets) {
  if (pb.in == Dtype::f32) return compare_of<FloatOrder<float, std::int32_t>>(pb, with_offsets);
  if (pb.in == Dtype::f64) return compare_of<FloatOrder<double, i64>>(pb, with_offsets);
  return PW_ISA_NAME(compare_narrow)(pb, with_offsets);
}

}  // namespace poolwise
