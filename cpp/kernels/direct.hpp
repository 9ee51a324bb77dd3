// The common case of the walk, with nothing looked up per row: one or two axes, windows without gaps of at most kGroup
// positions an axis. Same order of combination and the same families as Walk (walk.hpp), so the same results.
//
// A unit is a tile of rows, done in strips of columns so narrow that the reduced rows which windows share stay in the
// first-level cache (an NHWC row of 112x64 float32 is 28 KB: a ring of whole rows ran from the second level), and in
// blocks of rows that families combine in one call: one call a row cost 35 ns, as much as 100 outputs.
#pragma once

#include "walk.hpp"

namespace poolwise {
namespace {

template <class F>
class Direct {
  using Lane = typename F::Lane;
  using Row = typename F::Row;
  using Element = typename F::Element;

 public:
  Direct(const Problem& pb, F& family, Scratch& scratch, i64 block)
      : pb_(pb), family_(family), last_(pb.axes[pb.n_axes - 1]), block_(block), position_stride_(last_.stride_in) {
    const Axis& outer = pb.axes[0];
    stride_ = last_.stride_in * family.element_size();
    row_stride_ = outer.stride_in * family.element_size();
    pitch_ = pb.strip * pb.inner;
    if (pb.slots > 0) ring_ = family.take_row(scratch, pb.slots * pitch_);
    if (family.prepares()) {
      i64 longest = 0;
      for (i64 lo = 0; lo < last_.n_out; lo += pb.strip) longest = max_of(longest, span(lo, min_of(lo + pb.strip, last_.n_out)));
      const i64 copies = pb.n_axes == 1 || pb.slots > 0 ? 1 : outer.radix;
      for (i64 r = 0; r < copies; ++r) prepared_[r] = scratch.take<Lane>(longest * pb.inner);
      position_stride_ = pb.inner;
    }
  }

  // destination(at, pitch) is where partial results of elements at, at + 1, ... of y go, and sets how far apart the rows
  // of a block are there; finish(plane of x, first output row, rows, at, lo, hi, row, pitch) completes columns lo..hi-1 of
  // a block of rows.
  template <class Begin, class End>
  void run(const void* x, i64 begin, i64 end, Begin&& destination, End&& finish) {
    const Axis& outer = pb_.axes[0];
    const i64 row_elements = last_.n_out * pb_.inner;
    i64 plane = begin / pb_.tiles, tile = begin % pb_.tiles;
    for (i64 unit = begin; unit < end; ++unit) {
      const i64 lo = tile * pb_.tile, hi = min_of(lo + pb_.tile, outer.n_out);
      const Element* base = static_cast<const Element*>(x) + batch_offset(pb_, plane) * family_.element_size();
      const i64 plane_at = plane * pb_.out_plane;
      if (pb_.n_axes == 1) {
        for (i64 a = lo; a < hi; a += pb_.strip) {
          const i64 b = min_of(a + pb_.strip, hi), at = plane_at + a * pb_.inner, mark = 0;
          i64 pitch = (b - a) * pb_.inner;
          const Row dst = destination(at, pitch);
          rows(&base, &mark, 1, a, b, dst, Lines{1, 0, 0});
          finish(base, 0, 1, at, a, b, dst, pitch);
        }
      } else {
        for (i64 a = 0; a < last_.n_out; a += pb_.strip) {
          const i64 b = min_of(a + pb_.strip, last_.n_out);
          i64 reduced = 0;
          for (i64 o = lo, next; o < hi; o = next) {
            const bool uniform = o >= outer.first && o < outer.last;
            next = uniform ? min_of(min_of(outer.last, hi), o + block_) : o + 1;
            const i64 at = plane_at + o * row_elements + a * pb_.inner;
            i64 pitch = (b - a) * pb_.inner;
            const Row dst = destination(at, pitch);
            if (pb_.slots > 0) shared_block(base, o, next - o, a, b, dst, pitch, reduced);
            else block(base, o, next - o, a, b, dst, pitch);
            finish(base, o, next - o, at, a, b, dst, pitch);
          }
        }
      }
      if (++tile == pb_.tiles) {
        tile = 0;
        ++plane;
      }
    }
  }

 private:
  i64 origin_of(i64 lo) const { return window_at(last_, lo).start; }
  i64 span(i64 lo, i64 hi) const { return last_position(last_, window_at(last_, hi - 1)) + 1 - origin_of(lo); }

  void block(const Element* base, i64 o, i64 lines, i64 a, i64 b, Row dst, i64 pitch) {
    const Axis& outer = pb_.axes[0];
    const Window w = window_at(outer, o);
    const Element* from[kGroup];
    i64 marks[kGroup];
    for (i64 r = 0; r < w.count; ++r) {
      from[r] = base + (w.start + r) * row_stride_;
      marks[r] = r * outer.offset_unit;
    }
    rows(from, marks, static_cast<int>(w.count), a, b, dst, Lines{lines, outer.stride * row_stride_, pitch});
  }

  // Reduced row p is in slot p mod slots; rows before `reduced` are there already.
  void shared_block(const Element* base, i64 o, i64 lines, i64 a, i64 b, Row dst, i64 pitch, i64& reduced) {
    const Axis& outer = pb_.axes[0];
    const Window w = window_at(outer, o);
    const i64 mask = pb_.slots - 1, end = w.start + (lines - 1) * outer.stride + w.count, zero = 0;
    for (i64 p = max_of(reduced, w.start), n; p < end; p += n) {
      n = min_of(end - p, pb_.slots - (p & mask));
      const Element* from = base + p * row_stride_;
      rows(&from, &zero, 1, a, b, ring_.at((p & mask) * pitch_), Lines{n, row_stride_, pitch_});
    }
    reduced = end;
    Row parts[kGroup];
    i64 marks[kGroup];
    for (i64 r = 0; r < w.count; ++r) marks[r] = r * outer.offset_unit;
    for (i64 l = 0, n; l < lines; l += n) {
      const i64 start = w.start + l * outer.stride, room = pb_.slots - (start & mask) - w.count;
      for (i64 r = 0; r < w.count; ++r) parts[r] = ring_.at(((start + r) & mask) * pitch_);
      // Windows that do not run over the end of the ring go together.
      n = room < 0 ? 1 : min_of(lines - l, room / outer.stride + 1);
      family_.merge(parts, marks, static_cast<int>(w.count), (b - a) * pb_.inner, dst.at(l * pitch), false,
                    Lines{n, outer.stride * pitch_, pitch});
    }
  }

  // Outputs lo..hi-1 of the last axis over n rows that start at column 0, for each line.
  __attribute__((noinline)) void rows(const Element* const* from, const i64* marks, int n, i64 lo, i64 hi, Row dst, Lines lines) {
    if constexpr (F::kMayPrepare) {
      if (family_.prepares()) {
        const i64 origin = origin_of(lo), length = span(lo, hi);
        for (i64 l = 0; l < lines.count; ++l) {
          for (int r = 0; r < n; ++r) family_.prepare(from[r] + l * lines.from + origin * stride_, length, prepared_[r]);
          dense(prepared_, marks, n, origin, lo, hi, dst.at(l * lines.to), Lines{1, 0, 0});
        }
        return;
      }
    }
    if constexpr (same<Element, Lane>) dense(from, marks, n, 0, lo, hi, dst, lines);
  }

  inline __attribute__((always_inline)) int gather(const Lane* const* rows, const i64* marks, int n, i64 start, i64 count,
                                                   const Lane** src, i64* mark) const {
    int k = 0;
    for (int r = 0; r < n; ++r)
      for (i64 j = 0; j < count; ++j, ++k) {
        src[k] = rows[r] + start + j * position_stride_;
        mark[k] = marks[r] + j;
      }
    return k;
  }

  void dense(const Lane* const* from, const i64* marks, int n, i64 origin, i64 lo, i64 hi, Row dst, Lines lines) {
    const i64 inner = pb_.inner;
    const i64 a = max_of(lo, min_of(last_.first, hi)), b = max_of(a, min_of(hi, last_.last));
    const Lane* src[kGroup] = {};
    i64 mark[kGroup] = {};
    auto edges = [&](i64 begin, i64 end) {
      for (i64 o = begin; o < end; ++o) {
        const Window w = window_at(last_, o);
        const int k = gather(from, marks, n, (w.start - origin) * position_stride_, w.count, src, mark);
        family_.template across<1>(src, mark, k, inner, 1, dst.at((o - lo) * inner), false, lines);
      }
    };
    // Edges come last: first, they would meet memory in an order that nothing fetches ahead.
    if (a < b) {
      const i64 start = (last_.base + last_.stride * (a - last_.first) - origin) * position_stride_;
      const i64 stride = last_.stride * position_stride_;
      const int k = gather(from, marks, n, start, last_.window, src, mark);
      const Row to = dst.at((a - lo) * inner);
      if (last_.stride == 1 && position_stride_ == inner) {
        family_.template across<1>(src, mark, k, (b - a) * inner, 1, to, false, lines);
      } else if (inner == 1) {
        by_stride(src, mark, k, b - a, stride, to, lines);
      } else {
        for (i64 l = 0; l < lines.count; ++l) {
          family_.template across<1>(src, mark, k, inner, 1, to.at(l * lines.to), false, Lines{b - a, stride, inner});
          for (int s = 0; s < k; ++s) src[s] += lines.from;
        }
      }
    }
    edges(lo, a);
    edges(b, hi);
  }

  inline __attribute__((always_inline)) void by_stride(const Lane* const* src, const i64* mark, int k, i64 n, i64 stride, Row dst,
                                                       Lines lines) {
    if constexpr (F::kVectors) {
      if (stride == 2) return family_.template across<2>(src, mark, k, n, stride, dst, false, lines);
    }
    // Narrower lanes have no shuffle that reaches across three or four vectors: those became element-wise code.
    if constexpr (F::kVectors && sizeof(Lane) >= 4) {
      if (stride == 3) return family_.template across<3>(src, mark, k, n, stride, dst, false, lines);
      if (stride == 4) return family_.template across<4>(src, mark, k, n, stride, dst, false, lines);
    }
    family_.template across<0>(src, mark, k, n, stride, dst, false, lines);
  }

  const Problem& pb_;
  F& family_;
  const Axis& last_;
  i64 block_;                // most rows of outputs at once
  i64 position_stride_;      // of rows as they are read, in lanes
  i64 stride_, row_stride_;  // of x, in units of Element
  i64 pitch_;                // of the ring
  Row ring_ = {};
  Lane* prepared_[kGroup] = {};
};

}  // namespace
}  // namespace poolwise
