// Small planes whose windows lie apart, wholly inside.
//
// A row of 3 results is a fifth of a vector, and each asks for a loop of its own: a plane of 7 x 7 took 8 times as long an
// element as one of 112 x 112. But planes that lie one behind the other are one long row; windows begin at every place of it,
// wherever rows and planes end; and of those results the ones that are wanted are chosen. They are combined along rows
// first, as everywhere.
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
      : pb_(pb), family_(family), outer_(pb.axes[0]), last_(pb.axes[1]), group_(grouped ? pb.small : 1) {
    const i64 cells = group_ * pb.in_plane;
    if (family.prepares()) cells_ = scratch.take<Lane>(cells);
    along_ = family.take_row(scratch, cells);
    down_ = family.take_row(scratch, cells);
    chosen_ = family.take_row(scratch, group_ * pb.out_plane);
    places_ = scratch.take<std::int32_t>(pb.out_plane);
  }

  // As Direct::run. Units are planes.
  template <class Begin, class End>
  void run(const void* x, i64 begin, i64 end, Begin&& destination, End&& finish) {
    for (i64 o = 0, i = 0; o < outer_.n_out; ++o)
      for (i64 c = 0; c < last_.n_out; ++c)
        places_[i++] = static_cast<std::int32_t>(form_start(outer_, o) * last_.size_in + form_start(last_, c));
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
  // Results at every place of n planes.
  Row combined(const Element* base, i64 n) {
    i64 length = n * pb_.in_plane;
    const Lane* cells = cells_;
    if constexpr (same<Element, Lane>) {
      if (!cells_) cells = base;
    }
    if constexpr (F::kMayPrepare) {
      if (cells_) family_.prepare(base, length, cells_);
    }
    family_.begin();
    if constexpr (F::kInspects) {
      if (family_.plain) family_.inspect(cells, length, 1, 0);
    }
    const Lane* src[kGroup] = {};
    Row parts[kGroup];
    i64 mark[kGroup] = {};
    for (i64 j = 0; j < last_.window; ++j) {
      src[j] = cells + j;
      mark[j] = j;
    }
    length -= last_.window - 1;
    family_.template across<1>(src, mark, static_cast<int>(last_.window), length, 1, along_, false,
                               Lines{1, 0, 0, pb_.linear ? kInTurns : kAhead / static_cast<i64>(sizeof(Lane))});
    for (i64 r = 0; r < outer_.window; ++r) {
      parts[r] = along_.at(r * last_.size_in);
      mark[r] = r * outer_.offset_unit;
    }
    family_.merge(parts, mark, static_cast<int>(outer_.window), length - (outer_.window - 1) * last_.size_in, down_, false);
    return down_;
  }

  template <class Dst>
  void hand_over(Row all, i64 n, Dst dst) {
    Row to = chosen_;
    if constexpr (same<Dst, Row>) to = dst;
    for (i64 p = 0; p < n; ++p) F::choose(all.at(p * pb_.in_plane), places_, pb_.out_plane, to.at(p * pb_.out_plane));
    if constexpr (!same<Dst, Row>) {
      const i64 row = last_.n_out, zero = 0;
      family_.merge(&to, &zero, 1, row, dst, false, Lines{n * outer_.n_out, row, row});
    }
  }

  const Problem& pb_;
  F& family_;
  const Axis &outer_, &last_;
  i64 group_;              // most planes at once
  Lane* cells_ = nullptr;  // where they are prepared
  Row along_, down_, chosen_;
  std::int32_t* places_;  // of a plane's results
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
