// Small planes: windows that lie apart, wholly inside; of minima and maxima without offsets also others of one form.
//
// A row of 3 results is a fifth of a vector, and each asks for a loop of its own: a plane of 7 x 7 took 8 times as long an
// element as one of 112 x 112. But planes that lie one behind the other are one long row; windows begin at every place of it,
// wherever rows and planes end; and of those results the ones that are wanted are chosen. They are combined along rows
// first, as everywhere. Where windows reach beyond the planes these are copied, with cells between rows and planes that change
// nothing: one cell is the end of one row and the beginning of the next.
#pragma once

#include "tall.hpp"

namespace poolwise {
namespace {

template <class F>
class Small {
  using Lane = typename F::Lane;
  using Row = typename F::Row;
  using Element = typename F::Element;

 public:
  // `grouped`, and what finish gets, as for Direct.
  Small(const Problem& pb, F& family, Scratch& scratch, bool grouped)
      : pb_(pb), family_(family), outer_(pb.axes[0]), last_(pb.axes[1]), group_(grouped ? pb.small : 1), above_(room_before(outer_)),
        left_(room_before(last_)), pitch_(last_.size_in + max_of(left_, room_after(last_))),
        plane_((outer_.size_in + max_of(above_, room_after(outer_))) * pitch_), begin_(above_ * pitch_ + left_) {
    cells_n_ = begin_ + group_ * plane_ + room_after(outer_) * pitch_ + room_after(last_);
    padded_ = plane_ != pb.in_plane;
    if (family.prepares() || padded_) cells_ = scratch.take<Lane>(cells_n_ + kVectorBytes);
    along_ = family.take_row(scratch, cells_n_);
    down_ = family.take_row(scratch, cells_n_ + kVectorBytes);
    chosen_ = family.take_row(scratch, group_ * pb.out_plane + kVectorBytes);
    places_ = scratch.take<std::int32_t>(pb.out_plane);
    marks_ = scratch.take<std::uint16_t>(cells_n_ / kMarked + 2);
  }

  // As Direct::run. Units are planes.
  template <class Begin, class End>
  void run(const void* x, i64 begin, i64 end, Begin&& destination, End&& finish) {
    for (i64 o = 0, i = 0; o < outer_.n_out; ++o)
      for (i64 c = 0; c < last_.n_out; ++c)
        places_[i++] = static_cast<std::int32_t>(begin_ + form_start(outer_, o) * pitch_ + form_start(last_, c));
    // A vector of marks takes as long as four or five places.
    marked_ = F::kChoosesMarked && end - begin >= group_ && 3 * pb_.out_plane >= plane_;
    if (marked_) mark();
    if (padded_)
      for (i64 i = 0; i < cells_n_; ++i) cells_[i] = family_.nothing();
    for (i64 first = begin, n; first < end; first += n) {
      n = min_of(group_, end - first);
      const Element* base = static_cast<const Element*>(x) + batch_offset(pb_, first) * family_.element_size();
      i64 pitch = last_.n_out;
      const auto dst = destination(first * pb_.out_plane, pitch, 0, 0, last_.n_out);
      hand_over(combined(base, n), n, dst);
      finish(base, 0, outer_.n_out, first * pb_.out_plane, 0, last_.n_out, dst, pitch, n);
    }
  }

 private:
  // Cells beside an axis that its windows reach.
  static i64 room_before(const Axis& axis) { return max_of(0, -form_start(axis, 0)); }
  static i64 room_after(const Axis& axis) { return max_of(0, form_start(axis, axis.n_out - 1) + axis.window - axis.size_in); }

  static constexpr i64 kMarked = 16;  // places a word of marks says something about

  // Of all places of a group those that are wanted. They rise with the outputs.
  __attribute__((noinline)) void mark() {
    for (i64 i = 0; i < cells_n_ / kMarked + 2; ++i) marks_[i] = 0;
    for (i64 p = 0; p < group_; ++p)
      for (i64 i = 0; i < pb_.out_plane; ++i) {
        const i64 at = p * plane_ + places_[i];
        marks_[at / kMarked] = static_cast<std::uint16_t>(marks_[at / kMarked] | 1 << at % kMarked);
      }
  }

  // The rows of n planes, with room beside them.
  __attribute__((noinline)) void copy(const Element* from, i64 n) {
    const i64 width = last_.size_in;
    for (i64 p = 0; p < n; ++p)
      for (i64 r = 0; r < outer_.size_in; ++r, from += width * family_.element_size()) {
        Lane* to = cells_ + begin_ + p * plane_ + r * pitch_;
        if constexpr (same<Element, Lane>) {
          if (!family_.prepares()) {
            sweep<Lane, sizeof(Lane) <= 8>(width, true, [&]<class V>(i64 i, auto lanes) __attribute__((always_inline)) {
              if constexpr (same<V, Lane>) to[i] = from[i]; else store(to + i, load<V>(from + i, lanes), lanes);
            });
            continue;
          }
        }
        if constexpr (F::kMayPrepare) family_.prepare(from, width, to);
      }
  }

  // Results at every place of n planes.
  Row combined(const Element* base, i64 n) {
    const i64 whole = n == group_ ? cells_n_ : cells_n_ - (group_ - n) * plane_;
    const Lane* cells = cells_;
    if (padded_) {
      copy(base, n);
    } else {
      if constexpr (same<Element, Lane>) {
        if (!cells_) cells = base;
      }
      if constexpr (F::kMayPrepare) {
        if (cells_) family_.prepare(base, whole, cells_);
      }
    }
    family_.begin();
    if constexpr (F::kInspects) {
      if (family_.plain) family_.inspect(cells, whole, 1, 0);
    }
    const Lane* src[kGroup] = {};
    Row parts[kGroup];
    i64 mark[kGroup] = {};
    for (i64 j = 0; j < last_.window; ++j) {
      src[j] = cells + j;
      mark[j] = j;
    }
    const i64 length = whole - (last_.window - 1), ahead = pb_.linear ? kInTurns : kAhead / static_cast<i64>(sizeof(Lane));
    family_.template across<1>(src, mark, static_cast<int>(last_.window), length, 1, along_, false, Lines{1, 0, 0, padded_ ? 0 : ahead});
    for (i64 r = 0; r < outer_.window; ++r) {
      parts[r] = along_.at(r * pitch_);
      mark[r] = r * outer_.offset_unit;
    }
    family_.merge(parts, mark, static_cast<int>(outer_.window), length - (outer_.window - 1) * pitch_, down_, false);
    return down_;
  }

  template <class Dst>
  void hand_over(Row all, i64 n, Dst dst) {
    Row to = chosen_;
    if constexpr (same<Dst, Row>) to = dst;
    bool chosen = false;
    if constexpr (F::kChoosesMarked) {
      if (marked_) {
        // Vectors are written whole: beside `chosen_` is room, beside y is none.
        F::choose_marked(all, marks_, n * pb_.out_plane, to, same<Dst, Row> ? 0 : kVectorBytes / static_cast<i64>(sizeof(Lane)));
        chosen = true;
      }
    }
    if (!chosen)
      for (i64 p = 0; p < n; ++p) F::choose(all.at(p * plane_), places_, pb_.out_plane, to.at(p * pb_.out_plane));
    if constexpr (!same<Dst, Row>) {
      const i64 row = last_.n_out, zero = 0;
      family_.merge(&to, &zero, 1, row, dst, false, Lines{n * outer_.n_out, row, row});
    }
  }

  const Problem& pb_;
  F& family_;
  const Axis &outer_, &last_;
  i64 group_;  // most planes at once
  i64 above_, left_, pitch_, plane_, begin_, cells_n_;  // cells: the room of the first row and column, of rows, of planes, before and of all
  bool padded_;
  Lane* cells_ = nullptr;  // where they are prepared
  Row along_, down_, chosen_;
  std::int32_t* places_;  // of a plane's results
  std::uint16_t* marks_;
  bool marked_ = false;
};

// Calls f with the walk for one or two axes; see Direct for `grouped`.
template <class F, class Body>
i64 with_walk(const Problem& pb, F& family, Scratch& scratch, i64 block, bool grouped, Body&& body) {
  if (pb.small) {
    Small<F> walk(pb, family, scratch, grouped);
    return body(walk);
  }
  if (pb.tall) {
    Tall<F> walk(pb, family, scratch);
    return body(walk);
  }
  Direct<F> walk(pb, family, scratch, block, grouped);
  return body(walk);
}

}  // namespace
}  // namespace poolwise
