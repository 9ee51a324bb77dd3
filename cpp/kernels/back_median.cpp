// Gradients of medians: half of each output's to the lower middle element of its window, half to the upper.
#include "back.hpp"
#include "kernels.hpp"

namespace poolwise {
namespace {

inline i64 median_backward(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  const WidenFn widen = widen_for(pb.in);
  const NarrowFn narrow = narrow_for(pb.in);
  const int depth = pb.n_axes - 1;
  Scratch scratch{memory};
  double* sums = scratch.take<double>(pb.back_tile * pb.axes[pb.back_split].in_block);
  double* g = scratch.take<double>(longest_row(pb) * pb.inner);
  if (!memory) return static_cast<i64>(scratch.used);
  const i64 item = dtype_bytes(pb.in);
  // Where in the plane the two elements lie, found by the median kernel.
  const std::uint32_t* middles = static_cast<const std::uint32_t*>(call.offsets);
  for_each_back_unit(pb, begin, end, [&](const BackUnit& unit) {
    for (i64 i = 0; i < unit.n; ++i) sums[i] = 0;
    const u64 from = static_cast<u64>(unit.at - unit.plane * pb.in_plane), n = static_cast<u64>(unit.n);
    auto row = [&](i64 at, i64 count) {
      widen(static_cast<const char*>(call.gy) + at * item, count, g);
      const std::uint32_t* pair = middles + 2 * at;
      for (i64 i = 0; i < count; ++i, pair += 2) {
        const u64 low = pair[0] - from, high = pair[1] - from;
        if (low == high) {
          if (low < n) sums[low] += g[i];
          continue;
        }
        if (low < n) sums[low] += g[i] * 0.5;
        if (high < n) sums[high] += g[i] * 0.5;
      }
    };
    const Range range = touching(pb, unit);
    for_each_covering(pb, unit, 0, Covering{unit.plane * pb.out_plane, 0, 1, 1}, [&](const Covering& cover) {
      const Axis& split = pb.axes[pb.back_split];
      if (range.begin >= range.end) return;
      if (pb.back_split == depth) return row(cover.y_at + range.begin * pb.inner, (range.end - range.begin) * pb.inner);
      const i64 elements = pb.axes[depth].n_out * pb.inner;
      if (elements == 0) return;
      for (i64 at = cover.y_at + range.begin * split.out_block; at < cover.y_at + range.end * split.out_block; at += elements)
        row(at, elements);
    });
    narrow(sums, unit.n, static_cast<char*>(call.gx) + unit.at * item);
  });
  return 0;
}

}  // namespace

UnitFn PW_ISA_NAME(back_median)(const Problem&) { return median_backward; }

}  // namespace poolwise
