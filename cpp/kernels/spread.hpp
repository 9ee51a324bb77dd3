// Gradients of averages and sums over small planes.
//
// Rows of 7 elements fill no vectors, and what windows beyond their ends would send has to be left out. So what outputs send
// is written to rows with room for it, each at the last position of its window, zeros between: then an element is sent the
// sum of as many neighbours as a window has, wherever it lies, and the rows of many planes are one. Rows of windows that
// see an element are added as they are written.
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
        pitch_(last_.size_in + last_.window - 1) {
    const i64 cells = pb.spread * outer_.n_out * pitch_;
    cells_ = scratch.take<double>(cells);
    along_ = scratch.take<double>(cells);
    sent_ = scratch.take<double>(pb.out_plane);
    shares_ = scratch.take<double>(pb.out_plane);
    places_ = scratch.take<std::int32_t>(pb.out_plane);
    rows_ = scratch.take<Span>(outer_.size_in);
    if (!scratch.base) return;
    cover(outer_, rows_);
    for (i64 i = 0; i < cells; ++i) cells_[i] = 0;
    auto counted = [&](const Axis& axis, i64 o) {
      const Window w = window_at(axis, o);
      return static_cast<double>(w.count + (pb.count_padding ? w.padded : 0));
    };
    for (i64 o = 0, i = 0; o < outer_.n_out; ++o)
      for (i64 c = 0; c < last_.n_out; ++c, ++i) {
        places_[i] = static_cast<std::int32_t>(o * pitch_ + form_start(last_, c) + last_.window - 1);
        shares_[i] = pb.op == Op::sum ? 1 : 1 / (pb.divisor != 0 ? pb.divisor : counted(outer_, o) * counted(last_, c));
      }
  }

  // Planes begin..end-1.
  void run(i64 begin, i64 end) const {
    const i64 plane = outer_.n_out * pitch_;
    for (i64 first = begin, n; first < end; first += n) {
      n = min_of(pb_.spread, end - first);
      for (i64 p = 0; p < n; ++p) send(gy_ + (first + p) * pb_.out_plane, cells_ + p * plane);
      add_along(n * plane - (last_.window - 1));
      for (i64 p = 0; p < n; ++p) add_down(along_ + p * plane, gx_ + (first + p) * pb_.in_plane);
    }
  }

 private:
  __attribute__((noinline)) void send(const Lane* gy, double* cells) const {
    const bool side_by_side = last_.stride == 1;
    const i64 rows = side_by_side ? outer_.n_out : 1, n = pb_.out_plane / rows;
    for (i64 r = 0; r < rows; ++r) {
      double* to = side_by_side ? cells + places_[r * n] : sent_;
      sweep<double, true>(n, true, [&]<class V>(i64 i, auto lanes) __attribute__((always_inline)) {
        const auto g = load<Like<Lane, V, double>>(gy + r * n + i, lanes);
        V wide;
        if constexpr (same<T, double>) wide = g; else wide = widen_lanes<T, V, double>(g);
        store(to + i, wide * load<V>(shares_ + r * n + i, lanes), lanes);
      });
    }
    if (side_by_side) return;
#pragma GCC unroll 4
    for (i64 i = 0; i < n; ++i) cells[places_[i]] = sent_[i];
  }

  __attribute__((noinline)) void add_along(i64 n) const {
    const i64 k = last_.window;
    sweep<double, true>(n, true, [&]<class V>(i64 i, auto lanes) __attribute__((always_inline)) {
      V sum = load<V>(cells_ + i, lanes);
      for (i64 j = 1; j < k; ++j) sum += load<V>(cells_ + i + j, lanes);
      store(along_ + i, sum, lanes);
    });
  }

  __attribute__((noinline)) void add_down(const double* along, Lane* gx) const {
    for (i64 p = 0; p < outer_.size_in; ++p, gx += last_.size_in) {
      const double *from = along + rows_[p].begin * pitch_, *end = along + rows_[p].end * pitch_;
      sweep<double, true>(last_.size_in, true, [&]<class V>(i64 i, auto lanes) __attribute__((always_inline)) {
        V sum{};
        for (const double* row = from; row < end; row += pitch_) sum += load<V>(row + i, lanes);
        if constexpr (same<T, double>) store(gx + i, sum, lanes);
        else store(gx + i, narrow_lanes<T, V, double>(sum), lanes);
      });
    }
  }

  const Problem& pb_;
  const Axis &outer_, &last_;
  const Lane* gy_;
  Lane* gx_;
  i64 pitch_;  // of a row with the room at its ends
  double *cells_, *along_, *sent_, *shares_;
  std::int32_t* places_;  // of a plane's outputs
  Span* rows_;            // of outputs that see each row of gx
};

template <class T>
i64 spread_backward(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  Scratch scratch{memory};
  const Spread<T> spread(pb, call, scratch);
  if (memory) spread.run(begin, end);
  return static_cast<i64>(scratch.used);
}

}  // namespace
}  // namespace poolwise
