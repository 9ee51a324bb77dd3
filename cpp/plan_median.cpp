// How a median is found, by the size of its windows and how far they overlap, and how its work is cut.
#include <algorithm>

#include "plan.hpp"

namespace poolwise {
namespace {

// Networks that sort vectors of outputs: their cost per output grows a little faster than the window.
constexpr i64 kMostByNetwork = 64;
constexpr i64 kRegionBytes = 32 << 10;   // of a tile's input that a network reads again and again
constexpr i64 kLongestRun = 4096;        // outputs of a row times inner elements
constexpr i64 kHistogramColumns = 768;   // columns with a histogram of 544 bytes each
constexpr i64 kLeastRanked = 8 << 10, kRankedElements = 48 << 10;
constexpr i64 kMostRanked = i64{1} << 31;  // ranks are 32-bit
constexpr i64 kSelectedElements = 1 << 16;

i64 ceil_div(i64 a, i64 b) { return (a + b - 1) / b; }

i64 saturating(i64 a, i64 b) {
  const __int128 product = static_cast<__int128>(a) * b;
  return product > (i64{1} << 62) ? i64{1} << 62 : static_cast<i64>(product);
}

// The longest stretch of positions that one window spans.
i64 span(const Axis& axis) { return saturating(axis.step, axis.radix - 1) + 1; }

// Positions that the windows of `outputs` neighbours span together.
i64 reach(const Axis& axis, i64 outputs) {
  const i64 between = axis.last - axis.first > 1 ? axis.stride : std::max<i64>(1, axis.size_in / std::max<i64>(axis.n_out, 1));
  return std::min(saturating(outputs - 1, between) + span(axis), axis.size_in);
}

// Outputs per tile, such that tiles are about equal.
i64 even(i64 outputs, i64 at_most) { return ceil_div(outputs, ceil_div(outputs, std::clamp<i64>(at_most, 1, outputs))); }

}  // namespace

void plan_median(Problem& pb) {
  MedianPlan& plan = pb.median;
  const Axis one{1, 0, 1, 1, 1, 1, 0, 1, 0, nullptr, 1, 0, 0, 0, 0, 0};
  const Axis &columns = pb.axes[pb.n_axes - 1], &rows = pb.n_axes > 1 ? pb.axes[pb.n_axes - 2] : one;
  i64 outer = 1, outer_outputs = 1;
  for (int a = 0; a < pb.n_axes - 2; ++a) {
    outer = saturating(outer, pb.axes[a].radix);
    outer_outputs = saturating(outer_outputs, pb.axes[a].n_out);
  }
  const i64 taps = pb.offset_count, inner = std::max<i64>(pb.inner, 1), n_rows = std::max<i64>(rows.n_out, 1),
            n_columns = std::max<i64>(columns.n_out, 1);
  // Sliding pays where a step changes less than half of the window.
  const bool slides = columns.last - columns.first > 1 && columns.stride % columns.step == 0 &&
                      2 * (columns.stride / columns.step) <= columns.window;
  plan.region = false;
  plan.inner = 1;
  if (taps <= kMostByNetwork) {
    plan.by = MedianBy::network;
    plan.inner = even(inner, kLongestRun);
    plan.columns = even(n_columns, kLongestRun / plan.inner);
    const i64 width = saturating(outer, saturating(reach(columns, plan.columns), plan.inner));
    const i64 more = std::max<i64>(rows.last - rows.first > 1 ? rows.stride : 1, 1);
    plan.rows = even(n_rows, std::max<i64>((kRegionBytes / dtype_bytes(pb.in) / std::max<i64>(width, 1) - span(rows)) / more, 4));
    const i64 input = saturating(width, reach(rows, plan.rows));
    plan.region = columns.last - columns.first > 1 &&
                  input <= saturating(saturating(plan.rows, plan.columns), saturating(plan.inner, taps));
  } else if (dtype_bytes(pb.in) == 1 && columns.step == 1 && rows.step == 1 && slides && taps < 65536) {
    plan.by = MedianBy::histogram;
    plan.columns = even(n_columns, std::max<i64>((kHistogramColumns - span(columns)) / columns.stride, 64));
    plan.rows = even(n_rows, std::max<i64>(128, 4 * span(rows)));
    if (pb.planes * inner < 4) plan.rows = std::min(plan.rows, std::max<i64>(ceil_div(n_rows, 4), span(rows)));
  } else {
    // The more elements a tile has per element of a window, the farther a median moves among its ranks; the fewer, the
    // more are ranked again for the next tile.
    const i64 wanted = std::max(std::clamp(saturating(taps, 64), kLeastRanked, kRankedElements), saturating(taps, 4));
    plan.columns = n_columns;
    if (saturating(outer, reach(columns, n_columns)) > wanted / (4 * span(rows))) {
      i64 side = 1;
      while (side * side < wanted / outer) side *= 2;
      plan.columns = even(n_columns, std::max<i64>((side - span(columns)) / std::max<i64>(columns.stride, 1), span(columns)));
    }
    const i64 strip = std::max<i64>(saturating(outer, reach(columns, plan.columns)), 1);
    const i64 more = std::max<i64>(rows.last - rows.first > 1 ? rows.stride : 1, 1);
    plan.rows = even(n_rows, std::max<i64>((wanted / strip - span(rows)) / more, 1));
    const i64 input = saturating(strip, reach(rows, plan.rows));
    plan.by = MedianBy::ranks;
    // Sorting costs about as much per element as finding one median does per element of its window.
    if (!slides || input > kMostRanked || input / 4 > saturating(saturating(plan.rows, plan.columns), taps)) {
      plan.by = MedianBy::selection;
      plan.columns = even(n_columns, std::max<i64>(kSelectedElements / taps, 1));
      plan.rows = even(n_rows, std::max<i64>(kSelectedElements / saturating(taps, plan.columns), 1));
    }
  }
  plan.row_tiles = ceil_div(n_rows, plan.rows);
  plan.column_tiles = ceil_div(n_columns, plan.columns);
  plan.inner_tiles = ceil_div(inner, plan.inner);
  // No more units than outputs, whose number plan() has checked.
  if (pb.units > 0) pb.units = pb.planes * outer_outputs * plan.row_tiles * plan.column_tiles * plan.inner_tiles;
}

}  // namespace poolwise
