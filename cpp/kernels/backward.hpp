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
                               so_far.count * w.count, so_far.divisor * (w.count + (pb.count_padding ? w.padded : 0))},
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

inline Target target_of(const Problem& pb, i64 offset) {
  if (pb.targets) return pb.targets[offset];
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

// max, min and lp with p = inf: each output sends its gradient to one element.

#if defined(__AVX2__)
// GCC 12 converts vectors of bytes one element at a time.
template <class Wide, int lanes>
inline __attribute__((always_inline)) Wide widen_bytes(const void* p) {
  __m128i bytes{};
  __builtin_memcpy(&bytes, p, lanes);
#if defined(__AVX512F__)
  if constexpr (lanes == 8) return (Wide)_mm512_maskz_cvtepu8_epi64(0xff, bytes);
  else return (Wide)_mm512_maskz_cvtepu8_epi32(0xffff, bytes);
#else
  if constexpr (lanes == 4) return (Wide)_mm256_cvtepu8_epi64(bytes);
  else return (Wide)_mm256_cvtepu8_epi32(bytes);
#endif
}
#endif

// A: the type in which gradients are added. Where each element belongs to at most one window nothing is added up and
// A is the array's own type, in place; else double in a buffer.
template <class A, class Offset, bool kSigned>
struct Selection {
  const Problem& pb;
  const Offset* offsets;
  const double* signs;  // x of the tile, for its sign
  A* sums;
  i64 n;

  // Adds to a run of inputs what the outputs over them that chose `offset` have.
  static __attribute__((noinline)) void add_chosen(A* __restrict to, const A* __restrict g, const Offset* __restrict chosen, Offset offset, i64 count) {
    i64 i = 0;
    // Left to itself the compiler takes a vector of offsets at a time, and the rest of a row one by one.
#if defined(__AVX2__)
    if constexpr (sizeof(Offset) == 1) {
      constexpr int lanes = kVectorBytes / sizeof(A);
      using V = Vector<A, kVectorBytes>;
      using Wide = Vector<typename Choose<sizeof(A) == 8, i64, std::int32_t>::type, kVectorBytes>;
      for (; i + lanes <= count; i += lanes) {
        const Wide same_offset = widen_bytes<Wide, lanes>(chosen + i) == offset;
        store(to + i, load<V>(to + i) + (same_offset ? load<V>(g + i) : V{}));
      }
    }
#endif
    for (; i < count; ++i) to[i] += chosen[i] == offset ? g[i] : A(0);
  }

  // Outputs o_begin..o_end-1 of one row. Small windows compare each offset with every position of the window, a vector of
  // outputs at a time: 9 such passes for 3x3 cost a tenth of looking up where each output goes.
  void row(const BackUnit& unit, i64 mark, const A* g, i64 at, i64 o_begin, i64 o_end, i64 row0, i64 base) const {
    const Axis& last = pb.axes[pb.n_axes - 1];
    const i64 inner = pb.inner;
    if constexpr (!kSigned && sizeof(Offset) == 1) {
      const bool flat = last.stride == 1;
      if (pb.back_split < pb.n_axes - 1 && pb.targets && pb.offset_count <= 32 && (flat || inner >= 8)) {
        const i64 a = max_of(o_begin, min_of(last.first, o_end)), b = max_of(a, min_of(o_end, last.last));
        const i64 length = flat ? (b - a) * inner : inner;
        one_by_one(unit, mark, g, at, o_begin, a, row0, base);
        for (i64 o = a; o < b; o += flat ? b - a : 1) {
          const i64 from = (o - o_begin) * inner, start = base + (last.base + last.stride * (o - last.first)) * inner;
          // For a given input a falling j is a rising output: scan order.
          for (i64 j = last.window - 1; j >= 0; --j)
            for (i64 offset = j; offset < pb.offset_count; offset += last.radix) {
              const Target t = pb.targets[offset];
              const i64 to = start + t.shift;
              if (t.prefix != mark || static_cast<u64>(row0 + t.row) >= static_cast<u64>(unit.hi - unit.lo) || to < 0 || to + length > n) continue;
              add_chosen(sums + to, g + from, offsets + at + from, static_cast<Offset>(offset), length);
            }
        }
        return one_by_one(unit, mark, g + (b - o_begin) * inner, at + (b - o_begin) * inner, b, o_end, row0, base);
      }
    }
    one_by_one(unit, mark, g, at, o_begin, o_end, row0, base);
  }

  void one_by_one(const BackUnit& unit, i64 mark, const A* g, i64 at, i64 o_begin, i64 o_end, i64 row0, i64 base) const {
    const Axis& last = pb.axes[pb.n_axes - 1];
    const bool last_is_split = pb.back_split == pb.n_axes - 1;
    const u64 rows = static_cast<u64>(unit.hi - unit.lo);
    for (i64 o = o_begin; o < o_end; ++o) {
      const i64 start = window_at(last, o).start;
      const i64 first_row = last_is_split ? start - unit.lo : row0;
      const i64 first = last_is_split ? (start - unit.lo) * pb.inner : base + start * pb.inner;
      for (i64 c = 0; c < pb.inner; ++c, ++at, ++g) {
        const u64 offset = static_cast<u64>(offsets[at]);
        if (offset >= static_cast<u64>(pb.offset_count)) continue;
        const Target t = target_of(pb, static_cast<i64>(offset));
        if (t.prefix != mark || static_cast<u64>(first_row + t.row) >= rows) continue;
        const i64 to = first + c + t.shift;
        // Offsets are the caller's data: one that points outside the tile must not write there.
        if (static_cast<u64>(to) >= static_cast<u64>(n)) continue;
        if constexpr (kSigned) {
          const double x = signs[to];
          sums[to] += x == 0 ? *g * A(0) : x < 0 ? -*g : *g;
        } else {
          sums[to] += *g;
        }
      }
    }
  }
};

template <class A, class Offset, bool kSigned>
i64 select_backward(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  const WidenFn widen = widen_for(pb.in);
  const bool in_place = sizeof(A) == 4 || pb.in == Dtype::f64;
  const int depth = pb.n_axes - 1;
  const i64 tile = pb.back_tile * pb.axes[pb.back_split].in_block;
  Scratch scratch{memory};
  A* buffer = in_place ? nullptr : scratch.take<A>(tile);
  double* wide_row = in_place ? nullptr : scratch.take<double>(longest_row(pb) * pb.inner);
  double* signs = kSigned ? scratch.take<double>(tile) : nullptr;
  if (!memory) return static_cast<i64>(scratch.used);
  const i64 item = dtype_bytes(pb.in);
  const char *gy = static_cast<const char*>(call.gy), *x = static_cast<const char*>(call.x);
  char* gx = static_cast<char*>(call.gx);
  for_each_back_unit(pb, begin, end, [&](const BackUnit& unit) {
    A* sums = in_place ? reinterpret_cast<A*>(gx + unit.at * item) : buffer;
    for (i64 i = 0; i < unit.n; ++i) sums[i] = 0;
    if constexpr (kSigned) widen(x + unit.at * item, unit.n, signs);
    const Selection<A, Offset, kSigned> selection{pb, static_cast<const Offset*>(call.offsets), signs, sums, unit.n};
    auto row = [&](i64 mark, i64 at, i64 o_begin, i64 o_end, i64 row0, i64 base) {
      const A* g;
      if (in_place) {
        g = reinterpret_cast<const A*>(gy + at * item);
      } else {
        widen(gy + at * item, (o_end - o_begin) * pb.inner, wide_row);
        g = reinterpret_cast<const A*>(wide_row);
      }
      selection.row(unit, mark, g, at, o_begin, o_end, row0, base);
    };
    const Range range = touching(pb, unit);
    for_each_covering(pb, unit, 0, Covering{unit.plane * pb.out_plane, 0, 1, 1}, [&](const Covering& cover) {
      const Axis& split = pb.axes[pb.back_split];
      if (pb.back_split == depth)
        return row(cover.mark, cover.y_at + range.begin * pb.inner, range.begin, range.end, 0, 0);
      i64 o[kMaxAxes] = {};
      o[pb.back_split] = range.begin;
      i64 at = cover.y_at + range.begin * split.out_block;
      const i64 row_elements = pb.axes[depth].n_out * pb.inner;
      if (range.begin >= range.end || row_elements == 0) return;
      for (;; at += row_elements) {
        const i64 row0 = window_at(split, o[pb.back_split]).start - unit.lo;
        i64 base = row0 * split.in_block;
        for (int a = pb.back_split + 1; a < depth; ++a) base += window_at(pb.axes[a], o[a]).start * pb.axes[a].in_block;
        row(cover.mark, at, 0, pb.axes[depth].n_out, row0, base);
        int a = depth - 1;
        for (; a >= pb.back_split; --a) {
          if (++o[a] < (a == pb.back_split ? range.end : pb.axes[a].n_out)) break;
          o[a] = 0;
        }
        if (a < pb.back_split) return;
      }
    });
    if (!in_place) narrow_for(pb.in)(reinterpret_cast<const double*>(sums), unit.n, gx + unit.at * item);
  });
  return 0;
}

template <class A, bool kSigned>
UnitFn select_for_offsets(const Problem& pb) {
  switch (pb.offset_bytes) {
    case 1: return select_backward<A, std::uint8_t, kSigned>;
    case 2: return select_backward<A, std::uint16_t, kSigned>;
    case 4: return select_backward<A, std::int32_t, kSigned>;
    default: return select_backward<A, i64, kSigned>;
  }
}

template <bool kSigned>
UnitFn select_fn(const Problem& pb) {
  if (!is_float(pb.in) || pb.in != pb.out) return nullptr;
  bool shared = false;
  for (int a = 0; a < pb.n_axes; ++a) shared |= pb.axes[a].ring > 0;
  if (pb.in == Dtype::f32 && !shared) return select_for_offsets<float, kSigned>(pb);
  return select_for_offsets<double, kSigned>(pb);
}

// sum and avg: the adjoint, axis by axis from the innermost out, as the forward walk.

class Adjoint {
 public:
  Adjoint(const Problem& pb, const void* gy, Scratch& scratch)
      : pb_(pb), widen_(widen_for(pb.out)), gy_(static_cast<const char*>(gy)), item_(dtype_bytes(pb.out)),
        depth_(pb.n_axes - 1) {
    gradients_ = scratch.take<double>(longest_row(pb) * pb.inner);
    sums_ = scratch.take<double>(pb.back_tile * pb.axes[pb.back_split].in_block);
    for (int a = pb.back_split; a < depth_; ++a) block_[a] = scratch.take<double>(pb.axes[a].in_block);
  }

  const double* run(const BackUnit& unit) {
    zero(sums_, unit.n);
    const Range range = touching(pb_, unit);
    for_each_covering(pb_, unit, 0, Covering{unit.plane * pb_.out_plane, 0, 1, 1}, [&](const Covering& cover) {
      spread(pb_.back_split, cover.y_at, cover.divisor, range, unit.lo, unit.hi, sums_);
    });
    return sums_;
  }

 private:
  static void zero(double* p, i64 n) {
    for (i64 i = 0; i < n; ++i) p[i] = 0;
  }

  static void add(double* to, const double* from, i64 n) {
    for (i64 i = 0; i < n; ++i) to[i] += from[i];
  }

  // Adds what the outputs of `range` on axis `level` (and all on later axes) send to positions lo..hi-1 of that axis.
  void spread(int level, i64 y_at, i64 divisor, Range range, i64 lo, i64 hi, double* to) {
    const Axis& axis = pb_.axes[level];
    if (level == depth_) return spread_row(y_at, divisor, range, lo, hi, to);
    const i64 block = axis.in_block;
    for (i64 o = range.begin; o < range.end; ++o) {
      const Window w = window_at(axis, o);
      const Axis& next = pb_.axes[level + 1];
      zero(block_[level], block);
      spread(level + 1, y_at + o * axis.out_block, divisor * (w.count + (pb_.count_padding ? w.padded : 0)),
             Range{0, next.n_out}, 0, next.size_in, block_[level]);
      for (i64 j = 0; j < w.count; ++j) {
        const i64 p = w.start + axis.step * j;
        if (p >= lo && p < hi) add(to + (p - lo) * block, block_[level], block);
      }
    }
  }

  void divide(double* g, i64 n, i64 divisor) const {
    if (pb_.op == Op::sum) return;
    const double d = pb_.divisor != 0 ? pb_.divisor : static_cast<double>(divisor);
    if (d == 1) return;
    for (i64 i = 0; i < n; ++i) g[i] /= d;
  }

  void spread_row(i64 y_at, i64 divisor, Range range, i64 lo, i64 hi, double* to) {
    const Axis& axis = pb_.axes[depth_];
    const i64 inner = pb_.inner;
    if (range.begin >= range.end) return;
    widen_(gy_ + (y_at + range.begin * inner) * item_, (range.end - range.begin) * inner, gradients_);
    double* g = gradients_;
    const i64 a = max_of(range.begin, min_of(axis.first, range.end)), b = max_of(a, min_of(range.end, axis.last));
    auto edge = [&](i64 o) {
      const Window w = window_at(axis, o);
      double* from = g + (o - range.begin) * inner;
      divide(from, inner, divisor * (w.count + (pb_.count_padding ? w.padded : 0)));
      for (i64 j = 0; j < w.count; ++j) {
        const i64 p = w.start + axis.step * j;
        if (p >= lo && p < hi) add(to + (p - lo) * inner, from, inner);
      }
    };
    for (i64 o = range.begin; o < a; ++o) edge(o);
    if (a < b) {
      divide(g + (a - range.begin) * inner, (b - a) * inner, divisor * axis.window);
      // For a given position a falling j is a rising output: scan order.
      for (i64 j = axis.window - 1; j >= 0; --j) {
        const i64 shift = axis.base + axis.step * j;  // position = shift + stride * (o - first)
        const i64 from = max_of(a, lo > shift ? axis.first + (lo - shift + axis.stride - 1) / axis.stride : a);
        const i64 end = min_of(b, hi > shift ? axis.first + (hi - shift + axis.stride - 1) / axis.stride : a);
        if (from >= end) continue;
        double* dst = to + (shift + axis.stride * (from - axis.first) - lo) * inner;
        const double* src = g + (from - range.begin) * inner;
        const i64 n = end - from;
        if (axis.stride == 1) {
          add(dst, src, n * inner);
        } else if (inner == 1) {
          for (i64 i = 0; i < n; ++i) dst[i * axis.stride] += src[i];
        } else {
          for (i64 i = 0; i < n; ++i) add(dst + i * axis.stride * inner, src + i * inner, inner);
        }
      }
    }
    for (i64 o = b; o < range.end; ++o) edge(o);
  }

  const Problem& pb_;
  WidenFn widen_;
  const char* gy_;
  i64 item_;
  int depth_;
  double *gradients_, *sums_;
  double* block_[kMaxAxes] = {};
};

inline i64 linear_backward(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  Scratch scratch{memory};
  Adjoint adjoint(pb, call.gy, scratch);
  if (!memory) return static_cast<i64>(scratch.used);
  const NarrowFn narrow = narrow_for(pb.in);
  char* gx = static_cast<char*>(call.gx);
  for_each_back_unit(pb, begin, end, [&](const BackUnit& unit) {
    narrow(adjoint.run(unit), unit.n, gx + unit.at * dtype_bytes(pb.in));
  });
  return 0;
}

// lp: each element of each window gets its own weight.

class LpGradient {
 public:
  LpGradient(const Problem& pb, const Call& call, Scratch& scratch)
      : pb_(pb), call_(call), item_(dtype_bytes(pb.in)), depth_(pb.n_axes - 1), widen_(widen_for(pb.in)) {
    const i64 tile = pb.back_tile * pb.axes[pb.back_split].in_block, row = longest_row(pb) * pb.inner;
    x_ = scratch.take<double>(tile);
    sums_ = scratch.take<double>(tile);
    y_ = scratch.take<double>(row);
    gy_ = scratch.take<double>(row);
  }

  const double* run(const BackUnit& unit) {
    widen_(static_cast<const char*>(call_.x) + unit.at * item_, unit.n, x_);
    for (i64 i = 0; i < unit.n; ++i) sums_[i] = 0;
    const Range range = touching(pb_, unit);
    for_each_covering(pb_, unit, 0, Covering{unit.plane * pb_.out_plane, 0, 1, 1}, [&](const Covering& cover) {
      pairs(pb_.back_split, cover.y_at, cover.count, range, unit.lo, unit.hi, 0);
    });
    return sums_;
  }

 private:
  void pairs(int level, i64 y_at, i64 count, Range range, i64 lo, i64 hi, i64 x_at) {
    const Axis& axis = pb_.axes[level];
    if (level == depth_) return row(y_at, count, range, lo, hi, x_at);
    const Axis& next = pb_.axes[level + 1];
    for (i64 o = range.begin; o < range.end; ++o) {
      const Window w = window_at(axis, o);
      for (i64 j = 0; j < w.count; ++j) {
        const i64 p = w.start + axis.step * j;
        if (p >= lo && p < hi)
          pairs(level + 1, y_at + o * axis.out_block, count * w.count, Range{0, next.n_out}, 0, next.size_in,
                x_at + (p - lo) * axis.in_block);
      }
    }
  }

  void row(i64 y_at, i64 count, Range range, i64 lo, i64 hi, i64 x_at) {
    const Axis& axis = pb_.axes[depth_];
    const i64 inner = pb_.inner, n = (range.end - range.begin) * inner;
    if (n <= 0) return;
    const i64 from = (y_at + range.begin * inner) * item_;
    widen_(static_cast<const char*>(call_.y) + from, n, y_);
    widen_(static_cast<const char*>(call_.gy) + from, n, gy_);
    for (i64 o = range.begin; o < range.end; ++o) {
      const Window w = window_at(axis, o);
      const double factor = pb_.rescale != 0 ? pb_.rescale / static_cast<double>(count * w.count) : 1;
      const double *y = y_ + (o - range.begin) * inner, *gy = gy_ + (o - range.begin) * inner;
      for (i64 j = 0; j < w.count; ++j) {
        const i64 p = w.start + axis.step * j;
        if (p < lo || p >= hi) continue;
        const i64 at = x_at + (p - lo) * inner;
        for (i64 c = 0; c < inner; ++c) sums_[at + c] += term(x_[at + c], y[c], gy[c], factor);
      }
    }
  }

  // gy * d y / d x. Written with the ratio |x| / y, which is about 1, so that no power leaves the range.
  double term(double x, double y, double gy, double factor) const {
    if (pb_.is_signed && pb_.p == 1) return gy * factor;  // a sum, whatever the values
    if (x != x || y != y) return x + y;
    if (x == 0 || y == 0) return gy * 0;
    const double g = pb_.is_signed || x > 0 ? gy : -gy;
    // An infinite element is all of its window's norm.
    if (pb_.p == 1 || x - x != 0) return g * factor;
    const double ratio = __builtin_fabs(x / y);
    return g * (pb_.p == 2 ? ratio : pb_.p == 3 ? ratio * ratio : __builtin_pow(ratio, pb_.p - 1)) * factor;
  }

  const Problem& pb_;
  const Call& call_;
  i64 item_;
  int depth_;
  WidenFn widen_;
  double *x_, *sums_, *y_, *gy_;
};

inline i64 lp_backward(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  Scratch scratch{memory};
  LpGradient gradient(pb, call, scratch);
  if (!memory) return static_cast<i64>(scratch.used);
  const NarrowFn narrow = narrow_for(pb.in);
  char* gx = static_cast<char*>(call.gx);
  for_each_back_unit(pb, begin, end, [&](const BackUnit& unit) {
    narrow(gradient.run(unit), unit.n, gx + unit.at * dtype_bytes(pb.in));
  });
  return 0;
}

}  // namespace
}  // namespace poolwise
