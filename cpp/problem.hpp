// The pooling problem as the kernels see it: plain data, shared by every instruction set.
//
// Only plain structs and `static` functions may live here: this header is compiled once per instruction set, and an
// inline function with external linkage could be merged into the copy that needs instructions the machine lacks.
#pragma once

#include <cstddef>
#include <cstdint>

namespace poolwise {

using i64 = std::int64_t;
using u64 = std::uint64_t;

inline constexpr int kMaxAxes = 16;

// What the plan promises a walk, and the walk has room for.
inline constexpr int kGroup = 16;       // sources combined in one pass over a row
inline constexpr int kFewSources = 8;   // positions of a long window's last axis that are combined as they are (tall.hpp)
inline constexpr int kMostTerms = 32;   // windows that see one element (gather.hpp)
inline constexpr i64 kMostTurns = 4;    // strides at which chosen elements are gathered in runs (gather.hpp)
inline constexpr i64 kMostParted = i64{1} << 30;  // elements whose sum is made in two parts (Parted)
inline constexpr i64 kLongestTable = 4096;  // entries of a table by offset

enum class Op { max, min, avg, sum, lp, median, blur };

enum class Dtype { boolean, u8, u16, u32, u64, i8, i16, i32, i64, f16, bf16, f32, f64 };

// One window along one axis: it reads start + step*j for 0 <= j < count; `padded` positions fell on padding.
struct Window {
  i64 start, count, padded;
};

// Outputs first..last-1 are uniform (constant stride and size); all others are rows of `edge`, low side first.
struct Axis {
  i64 size_in, stride_in, n_out, step, stride, window, first, last, base;
  const Window* edge;
  i64 radix;         // largest count of any window on this axis
  i64 index_stride;  // what one position adds to a public flat index

  // Derived once by the plan.
  i64 offset_unit;  // what one step of j adds to a compact offset: product of the radices of later axes
  i64 out_block;    // elements of y behind one output of this axis
  i64 in_block;     // elements of a dense x behind one position of this axis
  i64 ring;         // slots of the cache of reduced blocks at this axis; 0 where windows do not share positions
};

struct BatchAxis {
  i64 size, stride;
};

// Where a compact offset points, relative to the window's first element (see plan.cpp, make_targets).
struct Target {
  i64 prefix;  // combined j of the axes before the backward split axis
  i64 row;     // step*j on the split axis
  i64 shift;   // elements of a dense x
};

// How medians are found (plan_median.cpp chooses), and the tiles of outputs that are made at once.
enum class MedianBy { network, histogram, ranks, selection };

struct MedianPlan {
  MedianBy by;
  bool region;  // the tile's input is copied once, for network
  i64 rows, row_tiles, columns, column_tiles, inner, inner_tiles;
};

// How a blur is cut: columns are outputs, or positions of the gradient, of the last axis.
struct BlurPlan {
  i64 columns, column_tiles, back_columns, back_column_tiles, inner, inner_tiles;
};

// A weighted element of one blur window along one axis.
struct Tap {
  i64 at, output;
  double weight;
};

// The weights of a blur along one axis (plan_blur.cpp makes them). Windows that an edge cuts are rows of `edge`.
struct Filter {
  const double* weights;   // of a whole window
  const Tap* edge;         // row by row
  const i64* edge_begin;   // where the taps of a row start; one more entry than rows
  const double* inside;    // what the weights of a row add up to
  const Tap* by_position;  // the taps of all rows, by position, then by output
  i64 edge_taps;
  i64 most_taps, most_outputs;  // of any window, and over any position
};

// How Direct (direct.hpp) cuts the last two axes where Walk does those before; strip is 0 where it serves not.
struct SlicePlan {
  i64 strip, slots, block;
};

// An axis before the two of a folded problem: its windows, which lie apart, have `count` positions each, `stride` apart in x. Its
// outputs are planes, and a window of a plane has rows of all positions. (count is 1 where nothing is folded.)
struct Fold {
  i64 count, stride, offset_unit;
};

struct Beside;

struct Problem {
  Op op;
  Dtype in, out;
  int n_axes;
  Axis axes[kMaxAxes];
  Fold fold;
  i64 inner, inner_stride;
  int n_batch;
  const BatchAxis* batch;
  i64 planes;       // product of the batch sizes
  i64 out_plane;    // elements of y per plane
  i64 in_plane;     // elements of a dense x per plane
  i64 offset_count;  // product of the radices: one more than the largest compact offset
  int offset_bytes;

  double p, rescale, divisor;
  bool is_signed, count_padding;

  // How work is cut: a unit is a tile of outputs (forward) or of input positions (backward) along the split axis, for
  // one plane and one index on each earlier axis.
  int split;
  i64 tile, tiles, units;
  i64 strip;  // outputs of the last axis that Direct or Tall (direct.hpp, tall.hpp) does at once; 0 where only Walk can
  bool blocks;  // whether Blocks (blocks.hpp) may take the place of Walk
  i64 whole;    // elements of a plane that is one window and dense, as Planes (blocks.hpp) reads it, else 0
  i64 tall;   // tiles of the first axis where Tall serves, else 0
  i64 slots;  // reduced rows that it keeps, a power of two; 0 where windows of the first axis do not share positions
  i64 block;  // rows of outputs at once
  i64 group;  // planes at once, where there may be several
  SlicePlan slice;
  bool streams;  // whether results, and gradients, go past the caches (stream.hpp)
  bool linear;   // whether such an x is read from end to end (in_turns of simd.hpp)
  int back_split;
  i64 back_tile, back_tiles, back_units;
  bool spread;       // whether Spread (spread.hpp) serves
  i64 gather;        // rows of gx in a unit where Gather (gather.hpp) serves, else 0
  i64 gather_rows;   // of all planes
  i64 gather_terms;  // the most windows that see one element
  const Target* targets;  // table by offset, or null where it would be too long

  const Beside* beside;  // where small planes are pooled side by side; units are groups of planes then

  MedianPlan median;
  BlurPlan blur;
  const Filter* filters;  // of a blur, one per axis
};

// The arrays of one call.
struct Call {
  const void* x;
  void* y;
  void* offsets;
  const void* gy;
  void* gx;
  int* overflow;  // set to 1 when a sum does not fit the output dtype
};

// Runs units begin..end-1. Called with scratch == nullptr it only returns the bytes of scratch that it needs.
using UnitFn = i64 (*)(const Problem&, const Call&, i64 begin, i64 end, char* scratch);

// How small planes are pooled side by side (kernels/beside.cpp): `lanes` of them as the channels of one, and of those as many at
// once as `together` has planes.
struct Beside {
  i64 lanes;
  const Problem* together;
  struct {
    bool values, offsets, gradients;
  } pays;
  UnitFn values, offsets, gradients;
};

// Compact offsets to public flat indices, for rows begin..end-1 of outputs of the last axis. Both arrays are dense, as y.
using IndicesFn = void (*)(const Problem&, const void* offsets, i64* indices, i64 begin, i64 end);

// Each returns null where the operator or dtype has no such kernel.
struct Kernels {
  const char* name;
  UnitFn (*forward)(const Problem&, bool with_offsets);
  UnitFn (*backward_select)(const Problem&);
  UnitFn (*backward_select_signed)(const Problem&);
  UnitFn (*backward_linear)(const Problem&);
  UnitFn (*backward_lp)(const Problem&);
  UnitFn (*middles)(const Problem&);  // writes to `offsets` where in x the lower and the upper middle element lie
  UnitFn (*backward_middles)(const Problem&);
  UnitFn beside;
  IndicesFn indices;
};

// Where the window of an output would begin were it as the uniform ones are.
[[maybe_unused]] static i64 form_start(const Axis& axis, i64 o) { return axis.base + axis.stride * (o - axis.first); }

static inline Window window_at(const Axis& axis, i64 i) {
  if (i >= axis.first && i < axis.last) return {axis.base + axis.stride * (i - axis.first), axis.window, 0};
  return axis.edge[i < axis.first ? i : i - (axis.last - axis.first)];
}

// A window's share, along its axis, of what an average divides by.
[[maybe_unused]] static i64 divisor_of(const Problem& pb, const Window& w) {
  return w.count + (pb.count_padding ? w.padded : 0);
}

static inline i64 last_position(const Axis& axis, const Window& w) { return w.start + axis.step * (w.count - 1); }

// Whether all windows are whole and evenly spaced as far as they lie inside the array.
[[maybe_unused]] static bool has_one_form(const Axis& axis) {
  if (axis.first >= axis.last) return false;
  for (i64 o = 0; o < axis.n_out; o = o + 1 == axis.first ? axis.last : o + 1) {
    const Window w = window_at(axis, o);
    const i64 start = form_start(axis, o), end = start + axis.window;
    if (w.start != (start < 0 ? 0 : start) || w.start + w.count != (end < axis.size_in ? end : axis.size_in)) return false;
  }
  return true;
}

// Windows without gaps, evenly spaced and cut by the ends of the array at most.
[[maybe_unused]] static bool evenly_cut(const Axis& axis) { return axis.step == 1 && axis.last - axis.first >= 2 && has_one_form(axis); }

// Starts and ends of windows rise with the output, except that the ends of the array can cut a dilated window at any of
// its `step` phases: they may fall back by up to step - 1 (checked in plan.cpp). So these two, which bound the outputs
// that touch a range of positions, allow for that; whether a window really contains a position is the caller's check.

// No window from w on starts before, and none up to w ends at or after.
[[maybe_unused]] static i64 lowest_from(const Axis& axis, const Window& w) {
  return w.start < axis.step ? 0 : w.start - (axis.step - 1);
}
[[maybe_unused]] static i64 end_up_to(const Axis& axis, const Window& w) {
  const i64 end = last_position(axis, w) + axis.step;
  return end < axis.size_in ? end : axis.size_in;
}

// No output before the one returned ends at or after p.
[[maybe_unused]] static i64 first_reaching(const Axis& axis, i64 p) {
  i64 lo = 0, hi = axis.n_out;
  while (lo < hi) {
    const i64 mid = lo + (hi - lo) / 2;
    if (last_position(axis, window_at(axis, mid)) < p - (axis.step - 1)) lo = mid + 1; else hi = mid;
  }
  return lo;
}

// No output from the one returned on starts before p.
[[maybe_unused]] static i64 first_starting(const Axis& axis, i64 p) {
  i64 lo = 0, hi = axis.n_out;
  while (lo < hi) {
    const i64 mid = lo + (hi - lo) / 2;
    if (window_at(axis, mid).start < p + (axis.step - 1)) lo = mid + 1; else hi = mid;
  }
  return lo;
}

[[maybe_unused]] static Target decoded(const Problem& pb, i64 offset) {
  Target t{0, 0, 0};
  for (int a = pb.n_axes - 1; a >= pb.back_split; --a) {
    const Axis& axis = pb.axes[a];
    const i64 j = offset % axis.radix;
    offset /= axis.radix;
    t.shift += j * axis.step * axis.in_block;
    if (a == pb.back_split) t.row = j * axis.step;
  }
  t.prefix = offset;
  return t;
}

[[maybe_unused]] static int dtype_bytes(Dtype t) {
  switch (t) {
    case Dtype::boolean: case Dtype::u8: case Dtype::i8: return 1;
    case Dtype::u16: case Dtype::i16: case Dtype::f16: case Dtype::bf16: return 2;
    case Dtype::u32: case Dtype::i32: case Dtype::f32: return 4;
    default: return 8;
  }
}

[[maybe_unused]] static bool is_float(Dtype t) {
  return t == Dtype::f16 || t == Dtype::bf16 || t == Dtype::f32 || t == Dtype::f64;
}

// Whether planes lie one behind the other.
[[maybe_unused]] static bool in_one_piece(const Problem& pb) {
  i64 behind = pb.axes[0].size_in * pb.axes[0].stride_in;
  for (int a = pb.n_batch - 1; a >= 0; --a) {
    if (pb.batch[a].size == 1) continue;
    if (pb.batch[a].stride != behind) return false;
    behind *= pb.batch[a].size;
  }
  return true;
}

// Sums in 128 bits have no vectors: one walk is enough for them. (Those of int64 as such are made in two parts.)
[[maybe_unused]] static bool walks_only(const Problem& pb) {
  if (pb.op != Op::avg && pb.op != Op::sum) return false;
  return pb.in == Dtype::u64 || (pb.in == Dtype::i64 && (pb.out != pb.in || pb.offset_count > kMostParted));
}

// The last two axes of more, as SlicePlan cuts them.
[[maybe_unused]] static Problem last_two(const Problem& pb) {
  Problem slice = pb;
  slice.n_axes = 2;
  for (int a = 0; a < 2; ++a) slice.axes[a] = pb.axes[pb.n_axes - 2 + a];
  slice.strip = pb.slice.strip;
  slice.slots = pb.slice.slots;
  slice.block = pb.slice.block;
  slice.streams = false;  // what it makes is combined with other planes
  return slice;
}

// Whether a norm is a root of squares in a type whose squares, and quotients, all are doubles.
[[maybe_unused]] static bool is_euclidean(const Problem& pb) { return pb.op == Op::lp && pb.p == 2; }

[[maybe_unused]] static i64 batch_offset(const Problem& pb, i64 plane) {
  i64 offset = 0;
  for (int a = pb.n_batch - 1; a >= 0; --a) {
    offset += plane % pb.batch[a].size * pb.batch[a].stride;
    plane /= pb.batch[a].size;
  }
  return offset;
}

}  // namespace poolwise
