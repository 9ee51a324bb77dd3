// Which small planes are pooled side by side, and how many together; see kernels/beside.cpp.
#include <algorithm>

#include "plan.hpp"

namespace poolwise {
namespace {

constexpr i64 kMostLanes = 128, kFewLanes = 40, kLeastLanes = 16, kLeastRow = 32;  // the last in bytes
constexpr i64 kMostBytes = 256 << 10;  // of x side by side: these are to stay in the second-level cache
constexpr i64 kAtOnce = 32 << 10;      // the same of small ones, for which a call costs as much as a plane

// Bytes.
struct Widest {
  i64 values, offsets, gradients;
};

// Up to how many bytes a row of x may have for its planes to be pooled side by side: what copying them costs against what rows
// of so few vectors do. Measured, with windows of 2/2, 3/2, 3/1, 5/1, 7/1 and 13/1 (benchmarks/NOTES.md, 2026-12-01).
Widest widest_row(const Problem& pb) {
  const i64 taps = pb.offset_count, item = dtype_bytes(pb.in);
  const bool strided = 2 * pb.out_plane <= pb.in_plane, narrow = item <= 2, many = taps >= 81;
  bool apart = true, same_size = true;
  for (int a = 0; a < pb.n_axes; ++a) {
    apart &= pb.axes[a].ring == 0;
    same_size &= pb.axes[a].n_out == pb.axes[a].size_in;
  }
  Widest widest{};
  switch (pb.op) {
    case Op::median:
      widest.values = strided ? 160 : 112;
      break;
    case Op::max:
    case Op::min:
      widest.values = item == 1 ? 64 : strided || taps >= 16 ? (narrow ? 96 : 112) : narrow ? 64 : 32;
      widest.offsets = item == 1 ? 64 : strided ? 96 : taps >= 16 ? 112 : pb.in == Dtype::f32 ? 32 : 80;
      widest.gradients = strided || taps >= 16 || !same_size ? 112 : 0;
      break;
    case Op::avg:
    case Op::sum:
      widest.values = many ? 112 : strided ? (apart && item == 1 ? 40 : 64) : pb.in != Dtype::f32 ? 56 : taps >= 25 ? 32 : 0;
      widest.gradients = strided ? 160 : pb.in == Dtype::f64 ? 0 : 112;
      break;
    case Op::lp:
      widest.values = narrow || many ? 112 : strided ? 64 : 0;
      widest.offsets = widest.gradients = 112;
      break;
    case Op::blur:
      widest.values = widest.gradients = 224;
      break;
  }
  return widest;
}

}  // namespace

bool lay_beside(const Problem& given, const Problem& pb, Problem& together, BatchAxis& batch, Beside& beside) {
  if (pb.inner != 1 || pb.units == 0 || pb.whole || walks_only(pb)) return false;
  const i64 item = dtype_bytes(pb.in), row = pb.axes[pb.n_axes - 1].size_in * item;
  // Few planes together are not worth it, but where each element is much work.
  const bool heavy = pb.op == Op::median || pb.op == Op::blur;
  if (pb.in_plane > kMostBytes / item / (heavy ? std::max(kLeastLanes, kLeastRow / item) : kFewLanes)) return false;
  bool dense = in_one_piece(pb);
  for (int a = 0; a < pb.n_axes; ++a) dense &= pb.axes[a].size_in == 1 || pb.axes[a].stride_in == pb.axes[a].in_block;
  const Widest widest = widest_row(pb);
  beside.pays = {dense && row <= widest.values, dense && row <= widest.offsets, row <= widest.gradients};
  if (!beside.pays.values && !beside.pays.offsets && !beside.pays.gradients) return false;
  const i64 most = std::clamp<i64>(kMostBytes / (pb.in_plane * item), kLeastLanes, kMostLanes), bundles = (pb.planes + most - 1) / most;
  beside.lanes = ((pb.planes + bundles - 1) / bundles + kLeastLanes - 1) / kLeastLanes * kLeastLanes;
  if (2 * pb.planes < bundles * beside.lanes) return false;  // what fills the last lanes costs as much as planes do
  batch = {std::clamp<i64>(kAtOnce / (pb.in_plane * item * beside.lanes), 1, std::max<i64>(1, bundles / 4)), pb.in_plane * beside.lanes};
  together = given;
  together.batch = &batch;
  together.n_batch = 1;
  together.inner = beside.lanes;
  together.inner_stride = 1;
  for (int a = 0; a < pb.n_axes; ++a) together.axes[a].stride_in = pb.axes[a].in_block * beside.lanes;
  plan(together);
  together.streams = together.linear = false;
  beside.together = &together;
  return true;
}

}  // namespace poolwise
