// The table of kernels that one instruction set exports.
#pragma once

#include "average.hpp"
#include "backward.hpp"
#include "compare.hpp"
#include "power.hpp"

namespace poolwise {
namespace {

UnitFn forward_fn(const Problem& pb, bool with_offsets) {
  switch (pb.op) {
    case Op::max:
    case Op::min: return compare_fn(pb, with_offsets);
    case Op::avg:
    case Op::sum: return with_offsets ? nullptr : sum_fn(pb);
    case Op::lp: return lp_fn(pb, with_offsets);
  }
  return nullptr;
}

UnitFn backward_select_fn(const Problem& pb) {
  return pb.op == Op::max || pb.op == Op::min ? select_fn<false>(pb) : nullptr;
}

UnitFn backward_select_signed_fn(const Problem& pb) {
  return pb.op == Op::lp && __builtin_isinf(pb.p) ? select_fn<true>(pb) : nullptr;
}

UnitFn backward_linear_fn(const Problem& pb) {
  return (pb.op == Op::avg || pb.op == Op::sum) && is_float(pb.in) && is_float(pb.out) ? linear_backward : nullptr;
}

UnitFn backward_lp_fn(const Problem& pb) {
  return pb.op == Op::lp && !__builtin_isinf(pb.p) && pb.in == pb.out ? lp_backward : nullptr;
}

}  // namespace

#define PW_DEFINE_KERNELS(isa)                                                                          \
  const Kernels& kernels_##isa() {                                                                      \
    static const Kernels table = {#isa, forward_fn, backward_select_fn, backward_select_signed_fn,      \
                                  backward_linear_fn, backward_lp_fn};                                  \
    return table;                                                                                       \
  }

}  // namespace poolwise
