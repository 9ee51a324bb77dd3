// The table of kernels of one instruction set.
#include "kernels.hpp"

namespace poolwise {
namespace {

bool greatest(const Problem& pb) { return pb.op == Op::lp && __builtin_isinf(pb.p); }

UnitFn forward(const Problem& pb, bool with_offsets) {
  if (pb.op == Op::max || pb.op == Op::min || greatest(pb)) return PW_ISA_NAME(compare)(pb, with_offsets);
  if (with_offsets) return nullptr;
  if (pb.op == Op::median) return PW_ISA_NAME(median)(pb, false);
  if (pb.op == Op::blur) return PW_ISA_NAME(blur)(pb);
  if (pb.op == Op::lp) return is_float(pb.in) ? PW_ISA_NAME(power)(pb) : nullptr;
  return PW_ISA_NAME(average)(pb);
}

UnitFn backward_select(const Problem& pb) {
  return pb.op == Op::max || pb.op == Op::min ? PW_ISA_NAME(back_select)(pb, false) : nullptr;
}

UnitFn backward_select_signed(const Problem& pb) { return greatest(pb) ? PW_ISA_NAME(back_select)(pb, true) : nullptr; }

UnitFn backward_linear(const Problem& pb) {
  if (pb.op == Op::blur) return PW_ISA_NAME(back_blur)(pb);
  return (pb.op == Op::avg || pb.op == Op::sum) && is_float(pb.in) && is_float(pb.out) ? PW_ISA_NAME(back_linear)(pb) : nullptr;
}

UnitFn backward_lp(const Problem& pb) {
  return pb.op == Op::lp && !greatest(pb) && pb.in == pb.out ? PW_ISA_NAME(back_power)(pb) : nullptr;
}

UnitFn middles(const Problem& pb) {
  return pb.op == Op::median && is_float(pb.in) ? PW_ISA_NAME(median)(pb, true) : nullptr;
}

UnitFn backward_middles(const Problem& pb) {
  return pb.op == Op::median && is_float(pb.in) ? PW_ISA_NAME(back_median)(pb) : nullptr;
}

}  // namespace

const Kernels& PW_ISA_NAME(kernels)() {
  static const Kernels table = {PW_QUOTE(PW_ISA), forward,      backward_select, backward_select_signed,
                                backward_linear,  backward_lp,  middles,         backward_middles,
                                PW_ISA_NAME(beside), PW_ISA_NAME(indices)};
  return table;
}

}  // namespace poolwise
