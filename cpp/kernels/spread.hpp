// Gradients of averages and sums over small planes.
//
// Rows of 7 elements fill no vectors, and what windows beyond their ends would send has to be left out. So what outputs send
// to a row of gx goes to a row with room for it, each at the last position of its window, zeros between: then an element is
// sent the sum of as many neighbours as a window has, wherever it lies. A plane's rows are all made before any is read:
// vectors that are read across two that were just written wait for both. The order of additions, and so every bit, is that of
// GatherSums.
#pragma once

#include "gather.hpp"

namespace poolwise {
namespace {

template <class T>
class Spread {
  using Lane = Storage<T>;

 public:
  Spread(const Problem& pb, const Call& call, Scratch& scratch)
      : pb_(pb), outer_(pb.axes[0]), last_(pb.axes[1]), gy_(static_cast<const Lane*>(call.gy)), gx_(static_cast<Lane*>(call.gx)),
        pitch_(last_.size_in + last_.window - 1), first_(form_start(last_, 0) + last_.window - 1) {
    const bool shared = pb.op == Op::avg && pb.divisor == 0;
    cells_ = scratch.take<double>(outer_.size_in * pitch_);
    sent_ = scratch.take<double>(last_.n_out);
    inverse_ = scratch.take<double>(outer_.n_out);
    rows_ = scratch.take<RowOf>(outer_.size_in);
    double* shares = scratch.take<double>((outer_.size_in + 1) * last_.n_out);
    Span* seen = scratch.take<Span>(outer_.size_in);
    if (!scratch.base) return;
    for (i64 i = 0; i < outer_.size_in * pitch_; ++i) cells_[i] = 0;
    cover(outer_, seen);
    auto divisor = [&](const Axis& axis, i64 o) { return divisor_of(pb, window_at(axis, o)); };
    auto fill = [&](i64 others, double* to) {
      for (i64 c = 0; c < last_.n_out; ++c)
        to[c] = shared ? 1 / static_cast<double>(others * divisor(last_, c)) : pb.op == Op::avg ? 1 / pb.divisor : 1;
      return to;
    };
    const double* alone = fill(1, shares);
    i64 of = 0;
    for (i64 o = 0; o < outer_.n_out; ++o) inverse_[o] = 1 / static_cast<double>(divisor(outer_, o));
    for (i64 p = 0; p < outer_.size_in; ++p) {
      RowOf& row = rows_[p] = {seen[p], alone, false};
      if (!shared || row.seen.begin == row.seen.end) continue;
      const i64 others = divisor(outer_, row.seen.begin);
      for (i64 o = row.seen.begin; o < row.seen.end; ++o) row.weighted |= divisor(outer_, o) != others;
      if (row.weighted) continue;
      // Rows that follow each other mostly have the same.
      if (others != of) fill(of = others, shares += last_.n_out);
      row.share = shares;
    }
  }

  void plane(i64 number) const {
    const Lane* gy = gy_ + number * pb_.out_plane;
    for (i64 p = 0; p < outer_.size_in; ++p)
      if (rows_[p].weighted) send<true>(gy, rows_[p], cells_ + p * pitch_);
      else send<false>(gy, rows_[p], cells_ + p * pitch_);
    receive(gx_ + number * pb_.in_plane);
  }

 private:
  struct RowOf {
    Span seen;            // by which rows of outputs
    const double* share;  // of each column of outputs
    bool weighted;        // whether rows share by different numbers
  };

  template <bool kWeighted>
  __attribute__((noinline)) void send(const Lane* gy, const RowOf& row, double* cells) const {
    const i64 n = last_.n_out, s = last_.stride, begin = row.seen.begin, end = row.seen.end;
    const double *share = row.share, *inverse = inverse_;
    double* to = s == 1 ? cells + first_ : sent_;
    sweep<double, true>(n, true, [&]<class V>(i64 i, auto lanes) __attribute__((always_inline)) {
      V total{};
      const Lane* from = gy + begin * n + i;
      for (i64 o = begin; o < end; ++o, from += n) {
        const auto g = load<Like<Lane, V, double>>(from, lanes);
        V term;
        if constexpr (same<T, double>) term = g; else term = widen_lanes<T, V, double>(g);
        if constexpr (kWeighted) term *= inverse[o];
        total += term;
      }
      store(to + i, total * load<V>(share + i, lanes), lanes);
    });
    if (s == 1) return;
    cells += first_;
#pragma GCC unroll 4
    for (i64 c = 0; c < n; ++c) cells[c * s] = to[c];
  }

  __attribute__((noinline)) void receive(Lane* gx) const {
    const i64 k = last_.window, n = last_.size_in;
    const double* cells = cells_;
    for (i64 p = 0; p < outer_.size_in; ++p, gx += n, cells += pitch_)
      sweep<double, true>(n, true, [&]<class V>(i64 i, auto lanes) __attribute__((always_inline)) {
        V sum{};
        for (i64 j = 0; j < k; ++j) sum += load<V>(cells + i + j, lanes);
        if constexpr (same<T, double>) store(gx + i, sum, lanes);
        else store(gx + i, narrow_lanes<T, V, double>(sum), lanes);
      });
  }

  const Problem& pb_;
  const Axis &outer_, &last_;
  const Lane* gy_;
  Lane* gx_;
  i64 pitch_, first_;  // of a row with the room at its ends, and where its first output goes
  double *cells_, *sent_, *inverse_;
  RowOf* rows_;  // of gx
};

template <class T>
i64 spread_backward(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  Scratch scratch{memory};
  const Spread<T> spread(pb, call, scratch);
  if (memory)
    for (i64 plane = begin; plane < end; ++plane) spread.plane(plane);
  return static_cast<i64>(scratch.used);
}

}  // namespace
}  // namespace poolwise
