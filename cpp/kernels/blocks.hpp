// Windows that share little and hold many rows, over two axes: rows of a window are combined whole, a vector of columns at
// a time, before anything is combined along them. Element by element along each row, a window of 16x16 took as long as
// reading it ten times; one row after the other, a window of a whole plane spent half its time on the ends of rows.
//
// This is not scan order. Sums may be added in any one order; the greatest element is the same element in any order, but
// for NaN and zeros of different signs: where a family sees such, the tile is left to Walk.
#pragma once

#include "walk.hpp"

namespace poolwise {
namespace {

template <class F>
class Blocks {
  using Lane = typename F::Lane;
  using Row = typename F::Row;
  using Element = typename F::Element;

 public:
  Blocks(const Problem& pb, F& family, Scratch& scratch)
      : pb_(pb), family_(family), walk_(pb, family, scratch), outer_(pb.axes[0]), last_(pb.axes[1]),
        row_stride_(outer_.stride_in * family.element_size()), columns_(family.take_row(scratch, last_.in_block * last_.size_in)) {
    if (family.prepares()) prepared_ = scratch.take<Lane>(last_.in_block * last_.size_in);
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
      family_.begin_unordered();
      bool done = true;
      for (i64 o = lo; done && o < hi; ++o) done = output_row(base, window_at(outer_, o), dst.at((o - lo) * row));
      if (done) finish(base, nullptr, at, lo, hi, dst);
      else walk_.run(x, unit, unit + 1, destination, finish);
    }
  }

 private:
  // False where order matters.
  bool output_row(const Element* base, Window w, Row dst) {
    const i64 inner = pb_.inner, n = last_.size_in * inner;
    const i64 marks[kGroup] = {};
    const int most = family_.prepares() ? 1 : kGroup;
    for (i64 j = 0, k; j < w.count; j += k) {
      k = min_of(w.count - j, most);
      const Lane* rows[kGroup];
      for (i64 r = 0; r < k; ++r) {
        const Element* from = base + (w.start + j + r) * row_stride_;
        if (family_.prepares()) {
          family_.prepare(from, last_.size_in, prepared_);
          rows[r] = prepared_;
        } else {
          if constexpr (same<Element, Lane>) rows[r] = from;
        }
        if (!family_.unordered(rows[r], n)) return false;
      }
      family_.template across<1>(rows, marks, static_cast<int>(k), n, 1, columns_, j > 0);
    }
    for (i64 o = 0; o < last_.n_out; ++o) {
      const Window c = window_at(last_, o);
      const Row from = columns_.at(c.start * inner), to = dst.at(o * inner);
      if (inner == 1) {
        family_.fold(from, c.count, to);
        continue;
      }
      Row parts[kGroup];
      for (i64 j = 0, k; j < c.count; j += k) {
        k = min_of(c.count - j, kGroup);
        for (i64 r = 0; r < k; ++r) parts[r] = from.at((j + r) * inner);
        family_.merge(parts, marks, static_cast<int>(k), inner, to, j > 0);
      }
    }
    return true;
  }

  const Problem& pb_;
  F& family_;
  Walk<F> walk_;
  const Axis &outer_, &last_;
  i64 row_stride_;  // of x, in units of Element
  Row columns_;     // one row of x, or several combined
  Lane* prepared_ = nullptr;
};

// Calls f with the walk for any number of axes.
template <class F, class Body>
i64 with_general_walk(const Problem& pb, F& family, Scratch& scratch, bool in_scan_order, Body&& body) {
  if (pb.blocks && !in_scan_order) {
    Blocks<F> walk(pb, family, scratch);
    return body(walk);
  }
  Walk<F> walk(pb, family, scratch);
  return body(walk);
}

}  // namespace
}  // namespace poolwise
