// Blur: weighted means, axis by axis. For each row of outputs the rows of x that it sees are summed first, which is
// contiguous work, then the sum's columns. Everything in double; float64, for which products round, adds up differences
// from the first element of a window, so that equal elements come back to the bit.
#include "blur.hpp"

namespace poolwise {
namespace {

template <class E>
class Blur {
 public:
  static constexpr bool kShift = same<E, double>;

  Blur(const Problem& pb, const Call& call, Scratch& scratch)
      : pb_(pb), call_(call), depth_(pb.n_axes - 1), last_(pb.axes[depth_]), filter_(pb.filters[depth_]),
        item_(dtype_bytes(pb.in)), narrow_(narrow_for(pb.out)), rows_(pb.in, longest(pb), scratch) {
    i64 most = 1;
    for (int a = 0; a < depth_; ++a) most *= pb.filters[a].most_taps;
    list_ = scratch.take<WeightedRow>(most);
    reduced_ = scratch.take<double>(longest(pb));
    out_ = scratch.take<double>(pb.blur.columns * pb.blur.inner);
  }

  void run(i64 begin, i64 end) {
    if (begin >= end) return;
    Counter at{};
    at.inner_tiles = pb_.blur.inner_tiles;
    at.column_tiles = pb_.blur.column_tiles;
    at.axes = depth_;
    for (int a = 0; a < depth_; ++a) at.size[a] = pb_.axes[a].n_out;
    at.start(begin);
    i64 plane = -1, tile = -1;
    const char* x = nullptr;
    for (i64 u = begin; u < end; ++u, at.next()) {
      if (at.plane != plane) x = static_cast<const char*>(call_.x) + batch_offset(pb_, plane = at.plane) * item_;
      if (at.column != tile) {
        columns_ = cut(tile = at.column, pb_.blur.columns, last_.n_out);
        span_ = spanned(pb_, columns_);
      }
      i64 y = plane * pb_.out_plane;
      for (int a = 0; a < depth_; ++a) y += at.index[a] * pb_.axes[a].out_block;
      output_ = at.index;
      row(x, y, columns_, cut(at.inner, pb_.blur.inner, pb_.inner));
    }
  }

 private:
  // Positions from the first to the last that outputs read.
  static Range spanned(const Problem& pb, Range outputs) {
    const Axis& last = pb.axes[pb.n_axes - 1];
    const Filter& filter = pb.filters[pb.n_axes - 1];
    Range span{last.size_in, 0};
    auto include = [&](i64 lo, i64 hi) { span = {min_of(span.begin, lo), max_of(span.end, hi + 1)}; };
    const i64 a = max_of(outputs.begin, min_of(last.first, outputs.end)), b = max_of(a, min_of(outputs.end, last.last));
    if (a < b)
      include(last.base + last.stride * (a - last.first),
              last.base + last.stride * (b - 1 - last.first) + last.step * (last.window - 1));
    auto edge = [&](i64 from, i64 to) {
      if (from >= to) return;
      const i64 row = edge_row(last, from);
      for (i64 t = filter.edge_begin[row]; t < filter.edge_begin[row + to - from]; ++t)
        include(filter.edge[t].at, filter.edge[t].at);
    };
    edge(outputs.begin, a);
    edge(b, outputs.end);
    return span;
  }

  static i64 longest(const Problem& pb) {
    i64 most = 1;
    for (i64 t = 0; t < pb.blur.column_tiles; ++t) {
      const Range span = spanned(pb, cut(t, pb.blur.columns, pb.axes[pb.n_axes - 1].n_out));
      most = max_of(most, span.end - span.begin);
    }
    return most * pb.blur.inner;
  }

  // The rows of x that a row of outputs sees; what their weights add up to.
  double list_rows() {
    n_rows_ = 1;
    list_[0] = {0, 1};
    double inside = 1;
    for (int a = 0; a < depth_; ++a) {
      const Axis& axis = pb_.axes[a];
      const Filter& filter = pb_.filters[a];
      const i64 o = output_[a], row = edge_row(axis, o);
      const bool edge = is_edge(axis, o);
      const i64 count = edge ? filter.edge_begin[row + 1] - filter.edge_begin[row] : axis.window;
      if (edge) inside *= filter.inside[row];
      for (i64 r = n_rows_ - 1; r >= 0; --r) {
        const WeightedRow before = list_[r];
        for (i64 j = count - 1; j >= 0; --j) {
          const Tap* tap = filter.edge + (edge ? filter.edge_begin[row] + j : 0);
          const i64 at = edge ? tap->at : axis.base + axis.stride * (o - axis.first) + axis.step * j;
          list_[r * count + j] = {before.at + at * axis.stride_in, before.weight * (edge ? tap->weight : filter.weights[j])};
        }
      }
      n_rows_ *= count;
    }
    return inside;
  }

  void row(const void* x, i64 y, Range columns, Range inner_range) {
    const i64 inner = inner_range.end - inner_range.begin, shift = inner_range.begin * pb_.inner_stride;
    const double inside = list_rows();
    const Range span = span_;
    rows_.template sum<kShift>(x, list_, n_rows_, inside, span.begin * last_.stride_in + shift, last_.stride_in,
                               span.end - span.begin, inner, pb_.inner_stride, reduced_);
    const i64 a = max_of(columns.begin, min_of(last_.first, columns.end)), b = max_of(a, min_of(columns.end, last_.last));
    for (i64 o = columns.begin; o < a; ++o) edge(o, span.begin, inner, out_ + (o - columns.begin) * inner);
    if (a < b)
      across(last_.base + last_.stride * (a - last_.first) - span.begin, b - a, inner, out_ + (a - columns.begin) * inner);
    for (i64 o = b; o < columns.end; ++o) edge(o, span.begin, inner, out_ + (o - columns.begin) * inner);
    const i64 n = columns.end - columns.begin;
    if (kShift) mend(x, columns, inner, shift);
    char* to = static_cast<char*>(call_.y);
    if (inner == pb_.inner) return narrow_(out_, n * inner, to + (y + columns.begin * inner) * item_);
    for (i64 o = 0; o < n; ++o)
      narrow_(out_ + o * inner, inner, to + (y + (columns.begin + o) * pb_.inner + inner_range.begin) * item_);
  }

  void edge(i64 o, i64 begin, i64 inner, double* to) const {
    const i64 row = edge_row(last_, o);
    const Tap *tap = filter_.edge + filter_.edge_begin[row], *end = filter_.edge + filter_.edge_begin[row + 1];
    const double* base = reduced_ + (tap->at - begin) * inner;
    if (inner == 1) {
      double sum = kShift ? *base * filter_.inside[row] : 0;
      for (; tap < end; ++tap) sum += tap->weight * (kShift ? reduced_[tap->at - begin] - *base : reduced_[tap->at - begin]);
      *to = sum;
      return;
    }
    for (i64 c = 0; c < inner; ++c) to[c] = kShift ? base[c] * filter_.inside[row] : 0;
    for (; tap < end; ++tap) {
      const double* from = reduced_ + (tap->at - begin) * inner;
      for (i64 c = 0; c < inner; ++c) to[c] += tap->weight * (kShift ? from[c] - base[c] : from[c]);
    }
  }

  // S: elements between one result's and the next; 0 for any.
  template <int S, class K>
  static __attribute__((noinline)) void weigh(const double* from, const double* weights, K window, i64 step, i64 stride, i64 n,
      double* __restrict to) {
    auto body = [&]<class V>(i64 i, auto lanes) __attribute__((always_inline)) {
      auto at = [&](i64 j) __attribute__((always_inline)) {
        return load_strided<S == 0 ? 1 : S, V>(from + i * (S == 0 ? stride : S) + step * j, lanes);
      };
      const V base = kShift ? at(0) : V{};
      V sum = base;
      for (i64 j = 0; j < window; ++j) sum += weights[j] * (kShift ? at(j) - base : at(j));
      store(to + i, sum, lanes);
    };
    sweep<double, S != 0>(n, false, body);
  }

  struct Three {
    constexpr operator i64() const { return 3; }
  };
  struct Five {
    constexpr operator i64() const { return 5; }
  };

  template <int S>
  void weigh_any(const double* from, i64 step, i64 stride, i64 n, double* to) const {
    if (last_.window == 3) return weigh<S>(from, filter_.weights, Three{}, step, stride, n, to);
    if (last_.window == 5) return weigh<S>(from, filter_.weights, Five{}, step, stride, n, to);
    weigh<S>(from, filter_.weights, last_.window, step, stride, n, to);
  }

  // Whole windows of n neighbours.
  void across(i64 start, i64 n, i64 inner, double* to) const {
    const double* from = reduced_ + start * inner;
    const i64 step = last_.step * inner;
    if (last_.stride == 1 || n == 1) return weigh_any<1>(from, step, 1, n * inner, to);
    if (inner > 1) {
      for (i64 o = 0; o < n; ++o) weigh_any<1>(from + o * last_.stride * inner, step, 1, inner, to + o * inner);
    } else if (last_.stride == 2) {
      weigh_any<2>(from, step, 2, n, to);
    } else {
      weigh_any<0>(from, step, last_.stride, n, to);
    }
  }

  // Differences of infinities, and of numbers too far apart, are no numbers: such results are summed as they are.
  void mend(const void* x, Range columns, i64 inner, i64 shift) {
    const double* from = static_cast<const double*>(x) + shift;
    for (i64 i = 0; i < (columns.end - columns.begin) * inner; ++i) {
      if (out_[i] - out_[i] == 0) continue;
      const i64 o = columns.begin + i / inner, row = edge_row(last_, o);
      const bool edge = is_edge(last_, o);
      const i64 count = edge ? filter_.edge_begin[row + 1] - filter_.edge_begin[row] : last_.window;
      double sum = 0;
      for (i64 r = 0; r < n_rows_; ++r)
        for (i64 j = 0; j < count; ++j) {
          const Tap* tap = filter_.edge + (edge ? filter_.edge_begin[row] + j : 0);
          const i64 at = edge ? tap->at : last_.base + last_.stride * (o - last_.first) + last_.step * j;
          sum += list_[r].weight * (edge ? tap->weight : filter_.weights[j]) * from[list_[r].at + at * last_.stride_in +
              i % inner * pb_.inner_stride];
        }
      out_[i] = sum;
    }
  }

  const Problem& pb_;
  const Call& call_;
  int depth_;
  const Axis& last_;
  const Filter& filter_;
  i64 item_;
  NarrowFn narrow_;
  Rows<E> rows_;
  WeightedRow* list_;
  i64 n_rows_ = 0;
  double *reduced_, *out_;
  const i64* output_ = nullptr;
  Range columns_{}, span_{};
};

template <class E>
i64 blur_forward(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  Scratch scratch{memory};
  Blur<E> blur(pb, call, scratch);
  if (memory) blur.run(begin, end);
  return static_cast<i64>(scratch.used);
}

}  // namespace

UnitFn PW_ISA_NAME(blur)(const Problem& pb) { return pb.in == Dtype::f64 ? blur_forward<double> : blur_forward<float>; }

}  // namespace poolwise
