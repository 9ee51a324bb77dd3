// Windows that share little and hold many elements, without a step per element: planes that are one window, and windows of
// many rows.
//
// Here elements are not met in scan order. Sums may be added in any one order; the greatest element is the same element in
// any order, but for NaN and zeros of different signs, which the family finds again.
#pragma once

#include "direct.hpp"

namespace poolwise {
namespace {

constexpr i64 kPlanes = 64;    // outputs that Planes finishes at once
constexpr i64 kCopied = 1024;  // elements that it copies at once
constexpr i64 kNear = 16 << 10;  // bytes of x that stay in the first-level cache until they are read

// The vectors of a window: rows of columns, this far apart.
struct Grid {
  i64 rows, row_pitch, columns, column_pitch;

  // All places but the first, in scan order.
  template <class L, class Visit>
  inline __attribute__((always_inline)) void rest(const L* p, Visit&& visit) const {
    i64 c = 1;
    for (i64 r = 0; r < rows; ++r, p += row_pitch, c = 0)
      for (const L* q = p + c * column_pitch; c < columns; ++c, q += column_pitch) visit(q);
  }
};

// Planes that are one window: a plane of 7x7 took 400 cycles, most of them around its 49 elements.
template <class F>
class Planes {
  using Lane = typename F::Lane;
  using Element = typename F::Element;

 public:
  Planes(const Problem& pb, F& family, Scratch& scratch) : pb_(pb), family_(family) {
    if (family.prepares()) prepared_ = scratch.take<Lane>(min_of(pb.whole, kCopied));
    // How far apart planes are, if always as far.
    for (int a = 0; a < pb.n_batch; ++a)
      if (pb.batch[a].size > 1) pitch_ = pb.batch[a].stride;
    i64 expected = pitch_;
    for (int a = pb.n_batch - 1; a >= 0; --a) {
      if (pb.batch[a].size > 1 && pb.batch[a].stride != expected) even_ = false;
      expected *= pb.batch[a].size;
    }
  }

  // As Walk::run, but the finish is told how many planes it gets, and x is the start of all.
  template <class Begin, class End>
  void run(const void* x, i64 begin, i64 end, Begin&& destination, End&& finish) {
    const auto* all = static_cast<const Element*>(x);
    for (i64 plane = begin, n; plane < end; plane += n) {
      n = min_of(end - plane, kPlanes);
      const auto dst = destination(plane);
      for (i64 i = 0; i < n; ++i) {
        const i64 at = even_ ? (plane + i) * pitch_ : batch_offset(pb_, plane + i);
        reduce(all + at * family_.element_size(), dst.at(i));
      }
      finish(all, nullptr, plane, 0, 1, dst, n);
    }
  }

 private:
  void reduce(const Element* from, typename F::Row dst) {
    if constexpr (F::kMayPrepare) {
      if (family_.prepares()) {
        for (i64 at = 0; at < pb_.whole; at += kCopied) {
          const i64 n = min_of(pb_.whole - at, kCopied);
          family_.prepare(from + at * family_.element_size(), n, prepared_);
          family_.segment(prepared_, n, at, dst, at > 0);
        }
        return;
      }
    }
    if constexpr (same<Element, Lane>) family_.segment(from, pb_.whole, 0, dst, false);
  }

  const Problem& pb_;
  F& family_;
  i64 pitch_ = 0;
  bool even_ = true;
  Lane* prepared_ = nullptr;
};

// Two axes. Element by element along each row, a window of 16x16 took as long as reading it ten times; so where elements
// are pooled side by side, each vector of them walks down its window, and where they are not, whole rows of a window are
// combined, a few vectors of columns at a time, before anything is combined along them.
//
// A family has:
//   down(p, grid, n, dst, accumulate, careful)  dst[i] = combination of p[i] over a grid, and of what it holds if
//                                  `accumulate`; in any order unless `careful`
//   fold(row, axis, dst)           combinations of a row's elements in each window of an axis
//   kRowBytes                      of an element of a Row
//   begin_unordered()              what was seen before is forgotten
//   kSettles                       whether there are results that are not right in any order:
//   unsettled(dst, n)              whether some of these may be such
//   settle(p, grid, n, dst)        makes them right
//   kMixesZeros                    whether zeros are such even where each lane meets its elements in scan order
template <class F>
class Blocks {
  using Lane = typename F::Lane;
  using Row = typename F::Row;
  using Element = typename F::Element;

 public:
  Blocks(const Problem& pb, F& family, Scratch& scratch)
      : pb_(pb), family_(family), outer_(pb.axes[0]), last_(pb.axes[1]), row_stride_(outer_.stride_in * family.element_size()),
        width_(last_.in_block * last_.size_in) {
    // What neighbours share is read again, which beats a row of partial results up to a quarter of them; and vectors
    // have to be full.
    side_by_side_ = !family.prepares() && pb.inner * static_cast<i64>(sizeof(Lane)) >= kVectorBytes &&
                    last_.n_out * last_.radix <= last_.size_in + last_.size_in / 4;
    if (!side_by_side_) {
      // Vectors that are read from where others were just written wait for those: a few rows are written first.
      rows_ = max_of(1, min_of(pb.tile, kNear / 2 / max_of(1, width_ * F::kRowBytes)));
      columns_ = family.take_row(scratch, rows_ * width_ + kVectorBytes);
    }
    most_ = max_of(8, kNear / max_of(1, (side_by_side_ ? pb.inner : width_) * static_cast<i64>(sizeof(Lane))));
    if (family.prepares()) prepared_ = scratch.take<Lane>(width_);
  }

  // As Walk::run; tiles are of the first axis.
  template <class Begin, class End>
  void run(const void* x, i64 begin, i64 end, Begin&& destination, End&& finish) {
    const i64 row = last_.n_out * pb_.inner;
    for (i64 unit = begin; unit < end; ++unit) {
      const i64 plane = unit / pb_.tiles, lo = unit % pb_.tiles * pb_.tile, hi = min_of(lo + pb_.tile, outer_.n_out);
      const i64 at = plane * pb_.out_plane + lo * row;
      const Element* base = static_cast<const Element*>(x) + batch_offset(pb_, plane) * family_.element_size();
      const Row dst = destination(at);
      if (side_by_side_)
        for (i64 o = lo; o < hi; ++o) channels(base, window_at(outer_, o), dst.at((o - lo) * row));
      else
        for (i64 o = lo; o < hi; o += rows_) columns(base, o, min_of(o + rows_, hi), dst.at((o - lo) * row));
      finish(base, nullptr, at, lo, hi, dst);
    }
  }

 private:
  void channels(const Element* base, Window w, Row dst) {
    if constexpr (same<Element, Lane>) {
      const i64 inner = pb_.inner;
      for (i64 o = 0; o < last_.n_out; ++o) {
        const Window c = window_at(last_, o);
        const Element* p = base + w.start * row_stride_ + c.start * inner;
        const bool dense = c.count * inner == row_stride_;
        const Grid grid = dense ? Grid{1, 0, w.count * c.count, inner} : Grid{w.count, row_stride_, c.count, inner};
        const Row to = dst.at(o * inner);
        family_.begin_unordered();
        down(p, grid, inner, to, false);
        // Each lane met its elements in scan order.
        if constexpr (F::kSettles) {
          if (family_.nan) down(p, grid, inner, to, true);
          else if (F::kMixesZeros && family_.unsettled(to, inner)) family_.settle(p, grid, inner, to);
        }
      }
    }
  }

  // Outputs lo..hi-1 of the first axis.
  void columns(const Element* base, i64 lo, i64 hi, Row dst) {
    const i64 inner = pb_.inner, row = last_.n_out * inner;
    family_.begin_unordered();
    for (i64 o = lo; o < hi; ++o) {
      const Window w = window_at(outer_, o);
      const Element* from = base + w.start * row_stride_;
      const Row sums = columns_.at((o - lo) * width_);
      if (family_.prepares()) prepared_rows(from, w.count, sums);
      else down(from, Grid{1, 0, w.count, row_stride_}, width_, sums, false);
    }
    for (i64 o = lo; o < hi; ++o) {
      const Row sums = columns_.at((o - lo) * width_), to = dst.at((o - lo) * row);
      if (inner == 1) family_.fold(sums, last_, to);
      else
        for (i64 i = 0; i < last_.n_out; ++i) merge(sums.at(window_at(last_, i).start * inner), window_at(last_, i).count, to.at(i * inner));
    }
    if constexpr (F::kSettles) {
      if (!family_.unsettled(dst, (hi - lo) * row)) return;
      for (i64 o = lo; o < hi; ++o)
        for (i64 i = 0; i < last_.n_out; ++i) {
          const Window w = window_at(outer_, o), c = window_at(last_, i);
          family_.settle(base + w.start * row_stride_ + c.start * inner, Grid{w.count, row_stride_, c.count, inner}, inner,
                         dst.at((o - lo) * row + i * inner));
        }
    }
  }

  void prepared_rows(const Element* from, i64 count, Row to) {
    if constexpr (F::kMayPrepare) {
      const i64 mark = 0;
      for (i64 j = 0; j < count; ++j) {
        family_.prepare(from + j * row_stride_, last_.size_in, prepared_);
        const Lane* row = prepared_;
        family_.template across<1>(&row, &mark, 1, width_, 1, to, j > 0);
      }
    }
  }

  // A few positions at a time where they hold much: the vectors that come later find them in the first-level cache.
  void down(const Element* p, Grid grid, i64 n, Row dst, bool careful) {
    if constexpr (same<Element, Lane>) {
      if (grid.rows * grid.columns <= most_) return family_.down(p, grid, n, dst, false, careful);
      const i64 columns = min_of(grid.columns, most_), rows = max_of(1, min_of(grid.rows, most_ / grid.columns));
      for (i64 r = 0; r < grid.rows; r += rows)
        for (i64 c = 0; c < grid.columns; c += columns) {
          const Grid part{min_of(rows, grid.rows - r), grid.row_pitch, min_of(columns, grid.columns - c), grid.column_pitch};
          family_.down(p + r * grid.row_pitch + c * grid.column_pitch, part, n, dst, r + c > 0, careful);
        }
    }
  }

  void merge(Row from, i64 count, Row to) {
    const i64 marks[kGroup] = {}, inner = pb_.inner;
    Row parts[kGroup];
    for (i64 j = 0, k; j < count; j += k) {
      k = min_of(count - j, kGroup);
      for (i64 r = 0; r < k; ++r) parts[r] = from.at((j + r) * inner);
      family_.merge(parts, marks, static_cast<int>(k), inner, to, j > 0);
    }
  }

  const Problem& pb_;
  F& family_;
  const Axis &outer_, &last_;
  i64 row_stride_;  // of x, in units of Element
  i64 width_;       // of a row, all its channels
  bool side_by_side_;
  i64 rows_ = 1;    // of outputs that are made at once
  i64 most_;        // positions that are combined at once
  Row columns_{};   // rows of x combined, for each of them
  Lane* prepared_ = nullptr;
};

// Calls f with the walk for any number of axes. Planes finds positions too, but not elements again.
template <class F, class Body>
i64 with_general_walk(const Problem& pb, F& family, Scratch& scratch, bool planes, bool blocks, Body&& body) {
  if (pb.whole && planes) {
    Planes<F> walk(pb, family, scratch);
    return body(walk);
  }
  if (pb.blocks && blocks) {
    Blocks<F> walk(pb, family, scratch);
    return body(walk);
  }
  if constexpr (F::kVectors) {
    if (pb.slice.strip) {
      const Problem slice = last_two(pb);
      Direct<F> planes(slice, family, scratch, pb.slice.block);
      Walk<F> walk(pb, family, scratch, &planes);
      return body(walk);
    }
  }
  Walk<F> walk(pb, family, scratch);
  return body(walk);
}

}  // namespace
}  // namespace poolwise
