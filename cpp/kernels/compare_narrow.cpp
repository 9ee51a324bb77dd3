// max, min, and lp with p = inf: integers and half types, whose vectors hold so many elements that memory is waited for
// whatever the compiler does (CMakeLists.txt: they are not optimised as hard, which halves the time that it takes).
#include "compare.hpp"
#include "kernels.hpp"

namespace poolwise {

UnitFn PW_ISA_NAME(compare_narrow)(const Problem& pb, bool with_offsets) {
  if (is_float(pb.in)) return compare_of<HalfOrder>(pb, with_offsets);
  switch (dtype_bytes(pb.in)) {
    case 1: return compare_of<IntegerOrder<std::int8_t>>(pb, with_offsets);
    case 2: return compare_of<IntegerOrder<std::int16_t>>(pb, with_offsets);
    case 4: return compare_of<IntegerOrder<std::int32_t>>(pb, with_offsets);
    default: return compare_of<IntegerOrder<i64>>(pb, with_offsets);
  }
}

}  // namespace poolwise
