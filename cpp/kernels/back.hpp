// Gradients with respect to x. A unit of work owns a tile of input positions and collects, in scan order of the
// outputs, what every window that covers it sends: no two threads write the same element, and the order of additions
// does not depend on how units are shared out. Sums are kept in double.
#pragma once

#include "accumulate.hpp"
#include "half.hpp"

namespace poolwise {
namespace {

struct BackUnit {
  i64 plane;
  i64 positions[kMaxAxes];  // on the axes before the split
  i64 lo, hi;               // on the split axis
  i64 at, n;                // elements of gx
};

template <class Body>
void for_each_back_unit(const Problem& pb, i64 begin, i64 end, Body&& body) {
  const Axis& axis = pb.axes[pb.back_split];
  BackUnit unit;
  for (i64 u = begin; u < end; ++u) {
    i64 rest = u;
    unit.lo = rest % pb.back_tiles * pb.back_tile;
    unit.hi = min_of(unit.lo + pb.back_tile, axis.size_in);
    rest /= pb.back_tiles;
    unit.at = (rest * axis.size_in + unit.lo) * axis.in_block;
    unit.n = (unit.hi - unit.lo) * axis.in_block;
    for (int a = pb.back_split - 1; a >= 0; --a) {
      unit.positions[a] = rest % pb.axes[a].size_in;
      rest /= pb.axes[a].size_in;
    }
    unit.plane = rest;
    body(unit);
  }
}

// One choice of output on each axis before the split whose windows all cover the unit's positions there.
struct Covering {
  i64 y_at;     // elements of y (or gy)
  i64 mark;     // combined j of those axes
  i64 count;    // elements in their windows
  i64 divisor;  // the same with padding, where that counts
};

template <class Visit>
void for_each_covering(const Problem& pb, const BackUnit& unit, int a, Covering so_far, Visit&& visit) {
  if (a == pb.back_split) return visit(so_far);
  const Axis& axis = pb.axes[a];
  const i64 p = unit.positions[a], end = first_starting(axis, p + 1);
  for (i64 o = first_reaching(axis, p); o < end; ++o) {
    const Window w = window_at(axis, o);
    if (p < w.start || p > last_position(axis, w) || (p - w.start) % axis.step != 0) continue;
    for_each_covering(pb, unit, a + 1,
                      Covering{so_far.y_at + o * axis.out_block, so_far.mark * axis.radix + (p - w.start) / axis.step,
                               so_far.count * w.count, so_far.divisor * divisor_of(pb, w)},
                      visit);
  }
}

struct Range {
  i64 begin, end;
};

// Outputs of the split axis whose windows may touch the unit.
inline Range touching(const Problem& pb, const BackUnit& unit) {
  const Axis& axis = pb.axes[pb.back_split];
  return {first_reaching(axis, unit.lo), first_starting(axis, unit.hi)};
}

// The most outputs of the last axis that one unit reads.
inline i64 longest_row(const Problem& pb) {
  const Axis& last = pb.axes[pb.n_axes - 1];
  if (pb.back_split < pb.n_axes - 1) return last.n_out;
  i64 longest = 0;
  for (i64 lo = 0; lo < last.size_in; lo += pb.back_tile) {
    const i64 hi = min_of(lo + pb.back_tile, last.size_in);
    longest = max_of(longest, first_starting(last, hi) - first_reaching(last, lo));
  }
  return longest;
}

}  // namespace
}  // namespace poolwise
