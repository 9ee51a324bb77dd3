// Gradients of blur: the adjoint, in gather form. For each row of x the rows of gy that saw it are summed, then the sum is
// spread along the row, which one thread owns.
#include "blur.hpp"

namespace poolwise {
namespace {

template <class E>
class BlurGradient {
 public:
  BlurGradient(const Problem& pb, const Call& call, Scratch& scratch)
      : pb_(pb), call_(call), depth_(pb.n_axes - 1), last_(pb.axes[depth_]), filter_(pb.filters[depth_]),
        item_(dtype_bytes(pb.in)), narrow_(narrow_for(pb.in)), rows_(pb.in, longest(pb), scratch) {
    i64 most = 1;
    for (int a = 0; a < depth_; ++a) most *= pb.filters[a].most_outputs;
    list_ = scratch.take<WeightedRow>(most);
    runs_ = scratch.take<Run>(last_.window);
    seen_ = scratch.take<double>(longest(pb));
    phase_elements_ = ((pb.blur.back_columns - 1) / stride() + 1) * pb.blur.inner;
    sums_ = scratch.take<double>(stride() * phase_elements_);
    narrowed_ = scratch.take<char>(stride() * phase_elements_ * item_);
  }

  void run(i64 begin, i64 end) {
    if (begin >= end) return;
    Counter at{};
    at.inner_tiles = pb_.blur.inner_tiles;
    at.column_tiles = pb_.blur.back_column_tiles;
    at.axes = depth_;
    for (int a = 0; a < depth_; ++a) at.size[a] = pb_.axes[a].size_in;
    at.start(begin);
    i64 tile = -1, inner = -1;
    for (i64 u = begin; u < end; ++u, at.next()) {
      const Range columns = cut(at.column, pb_.blur.back_columns, last_.size_in);
      const Range lanes = cut(at.inner, pb_.blur.inner, pb_.inner);
      if (at.column != tile || lanes.end - lanes.begin != inner) plan_runs(columns, inner = lanes.end - lanes.begin);
      tile = at.column;
      i64 to = at.plane * pb_.in_plane;
      for (int a = 0; a < depth_; ++a) to += at.index[a] * pb_.axes[a].in_block;
      position_ = at.index;
      row(static_cast<const char*>(call_.gy) + at.plane * pb_.out_plane * item_, to, columns, lanes);
    }
  }

 private:
  // Between the positions that one tap of neighbouring outputs reads: those of one phase, their remainder modulo the
  // stride, are kept together.
  i64 stride_of_last() const { return last_.last - last_.first > 1 ? last_.stride : 1; }
  i64 stride() const { return min_of(stride_of_last(), pb_.blur.back_columns); }

  // Uniform outputs that may read positions of a range.
  static Range touching(const Axis& axis, Range columns) {
    const i64 reach = axis.step * (axis.window - 1), lo = columns.begin - reach - axis.base, hi = columns.end - 1 - axis.base;
    if (axis.first >= axis.last || hi < 0) return {axis.first, axis.first};
    const i64 begin = axis.first + (lo > 0 ? (lo + axis.stride - 1) / axis.stride : 0);
    return {min_of(begin, axis.last), max_of(min_of(begin, axis.last), min_of(axis.first + hi / axis.stride + 1, axis.last))};
  }

  static i64 longest(const Problem& pb) {
    i64 most = 1;
    for (i64 t = 0; t < pb.blur.back_column_tiles; ++t) {
      const Range outputs = touching(pb.axes[pb.n_axes - 1], cut(t, pb.blur.back_columns, pb.axes[pb.n_axes - 1].size_in));
      most = max_of(most, outputs.end - outputs.begin);
    }
    if (pb.blur.back_column_tiles == 1) most = max_of(most, pb.axes[pb.n_axes - 1].n_out);
    return most * pb.blur.inner;
  }

  // The rows of gy whose windows hold the row's positions, in the order of the outputs.
  void list_rows() {
    n_rows_ = 1;
    list_[0] = {0, 1};
    for (int a = 0; a < depth_; ++a) {
      const Axis& axis = pb_.axes[a];
      const Filter& filter = pb_.filters[a];
      const i64 p = position_[a];
      const Tap *tap = filter.by_position, *end = tap + filter.edge_taps;
      for (i64 n = filter.edge_taps; n > 0;) {
        const i64 half = n / 2;
        if (tap[half].at < p) {
          tap += half + 1;
          n -= half + 1;
        } else {
          n = half;
        }
      }
      const Tap* stop = tap;
      while (stop < end && stop->at == p) ++stop;
      const Range uniform = touching(axis, {p, p + 1});
      i64 count = stop - tap;
      auto tap_of = [&](i64 o) { return p - axis.base - axis.stride * (o - axis.first); };
      const bool dense = axis.step == 1;
      auto reads = [&](i64 o) { return dense || tap_of(o) % axis.step == 0; };
      for (i64 o = uniform.begin; o < uniform.end; ++o) count += reads(o);
      for (i64 r = n_rows_ - 1; r >= 0; --r) {
        const WeightedRow before = list_[r];
        WeightedRow* to = list_ + r * count;
        auto put = [&](i64 o, double weight) { *to++ = {before.at + o * axis.out_block, before.weight * weight}; };
        const Tap* t = tap;
        for (; t < stop && t->output < axis.first; ++t) put(t->output, t->weight);
        for (i64 o = uniform.begin; o < uniform.end; ++o)
          if (reads(o)) put(o, filter.weights[dense ? tap_of(o) : tap_of(o) / axis.step]);
        for (; t < stop; ++t) put(t->output, t->weight);
      }
      n_rows_ *= count;
    }
  }

  double* place(i64 offset, i64 inner) { return sums_ + offset % stride_ * phase_elements_ + offset / stride_ * inner; }

  static __attribute__((noinline)) void add(double* __restrict to, const double* __restrict from, double weight, i64 n) {
    for (i64 i = 0; i < n; ++i) to[i] += weight * from[i];
  }

  // What one tap of a whole window adds: outputs from..end-1 to neighbours in memory.
  struct Run {
    i64 from, end, to;
  };

  void plan_runs(Range columns, i64 inner) {
    const i64 n = columns.end - columns.begin, step = stride_of_last();
    stride_ = stride();
    outputs_ = touching(last_, columns);
    first_ = pb_.blur.back_column_tiles == 1 ? 0 : outputs_.begin;
    if (outputs_.begin >= outputs_.end) return;
    for (i64 j = 0; j < last_.window; ++j) {
      const i64 shift = last_.base + last_.step * j - columns.begin;  // position = shift + stride * (o - first)
      Run& run = runs_[j];
      run.from = max_of(outputs_.begin, shift < 0 ? last_.first + (-shift + step - 1) / step : outputs_.begin);
      run.end = min_of(outputs_.end, shift < n ? last_.first + (n - shift + step - 1) / step : outputs_.begin);
      if (run.from < run.end) run.to = place(shift + step * (run.from - last_.first), inner) - sums_;
    }
  }

  void row(const void* gy, i64 at, Range columns, Range inner_range) {
    const i64 inner = inner_range.end - inner_range.begin;
    for (i64 i = 0; i < stride_ * phase_elements_; ++i) sums_[i] = 0;
    list_rows();
    if (n_rows_ > 0) {
      const bool all = pb_.blur.back_column_tiles == 1;  // then edges are summed with the others
      if (all) weighted(gy, 0, last_.n_out, inner_range);
      edges(gy, columns, inner_range, 0, last_.first, all);
      if (outputs_.begin < outputs_.end) {
        if (!all) weighted(gy, outputs_.begin, outputs_.end - outputs_.begin, inner_range);
        for (i64 j = 0; j < last_.window; ++j) {
          const Run& run = runs_[j];
          const double* from = seen_ + (run.from - first_) * inner;
          if (run.from >= run.end) continue;
          if (stride_ == stride_of_last()) {
            add(sums_ + run.to, from, filter_.weights[j], (run.end - run.from) * inner);
          } else {  // a stride beyond the tile: one output each
            const i64 shift = last_.base + last_.step * j - columns.begin;
            for (i64 o = run.from; o < run.end; ++o)
              add(place(shift + last_.stride * (o - last_.first), inner), seen_ + (o - first_) * inner, filter_.weights[j],
                  inner);
          }
        }
      }
      edges(gy, columns, inner_range, last_.last, last_.n_out, all);
    }
    write(at, columns, inner_range);
  }

  // The sum of the listed rows of gy, for outputs from `o` on.
  void weighted(const void* gy, i64 o, i64 count, Range inner_range) {
    rows_.template sum<false>(gy, list_, n_rows_, 1, o * pb_.inner + inner_range.begin, pb_.inner, count,
                              inner_range.end - inner_range.begin, 1, seen_);
  }

  void edges(const void* gy, Range columns, Range inner_range, i64 begin, i64 end, bool all) {
    const i64 inner = inner_range.end - inner_range.begin;
    for (i64 o = begin; o < end; ++o) {
      const i64 row = edge_row(last_, o);
      bool summed = all;
      const double* from = all ? seen_ + o * inner : seen_;
      for (i64 t = filter_.edge_begin[row]; t < filter_.edge_begin[row + 1]; ++t) {
        const Tap& tap = filter_.edge[t];
        if (tap.at < columns.begin || tap.at >= columns.end) continue;
        if (!summed) weighted(gy, o, 1, inner_range);
        summed = true;
        if (inner == 1) *place(tap.at - columns.begin, 1) += tap.weight * *from;
        else add(place(tap.at - columns.begin, inner), from, tap.weight, inner);
      }
    }
  }

  template <class T>
  static void interleave(const void* from, i64 phase_elements, i64 phases, i64 n, i64 inner, void* to) {
    const T* p = static_cast<const T*>(from);
    T* q = static_cast<T*>(to);
    if (phases == 2 && inner == 1) {
      const T *__restrict even = p, *__restrict odd = p + phase_elements;
      T* __restrict out = q;
      for (i64 i = 0; i < n / 2; ++i) {
        out[2 * i] = even[i];
        out[2 * i + 1] = odd[i];
      }
      if (n % 2) out[n - 1] = even[n / 2];
      return;
    }
    for (i64 f = 0; f < phases; ++f)
      for (i64 i = f, m = 0; i < n; i += phases, ++m)
        for (i64 c = 0; c < inner; ++c) q[i * inner + c] = p[f * phase_elements + m * inner + c];
  }

  // Two phases, as one row of float or double.
  template <class T>
  static __attribute__((noinline)) void narrow_two(const double* __restrict even, const double* __restrict odd, i64 n, void* to) {
    T* __restrict out = static_cast<T*>(to);
    for (i64 i = 0; i < n / 2; ++i) {
      out[2 * i] = static_cast<T>(even[i]);
      out[2 * i + 1] = static_cast<T>(odd[i]);
    }
    if (n % 2) out[n - 1] = static_cast<T>(even[n / 2]);
  }

  void write(i64 at, Range columns, Range inner_range) {
    const i64 inner = inner_range.end - inner_range.begin, n = columns.end - columns.begin;
    char* gx = static_cast<char*>(call_.gx);
    const bool whole = inner == pb_.inner;
    const i64 to = at + columns.begin * pb_.inner + inner_range.begin;
    if (whole && stride_ == 1) return narrow_(sums_, n * inner, gx + to * item_);
    if (whole && inner == 1 && stride_ == 2 && item_ >= 4)
      return (item_ == 4 ? narrow_two<float> : narrow_two<double>)(sums_, sums_ + phase_elements_, n, gx + to * item_);
    if (whole && inner == 1) {
      const i64 phase = (n - 1) / stride_ + 1;
      for (i64 f = 0; f < stride_ && f < n; ++f)
        narrow_(sums_ + f * phase_elements_, (n - 1 - f) / stride_ + 1, narrowed_ + f * phase * item_);
      const auto interleaved = item_ == 2 ? interleave<std::uint16_t> : item_ == 4 ? interleave<float> : interleave<double>;
      return interleaved(narrowed_, phase, stride_, n, 1, gx + to * item_);
    }
    for (i64 i = 0; i < n; ++i) narrow_(place(i, inner), inner, gx + (to + i * pb_.inner) * item_);
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
  i64 n_rows_ = 0, phase_elements_ = 0, stride_ = 1;
  double *seen_, *sums_;
  char* narrowed_;
  Run* runs_;
  Range outputs_{};
  i64 first_ = 0;
  const i64* position_ = nullptr;
};

template <class E>
i64 blur_backward(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  Scratch scratch{memory};
  BlurGradient<E> gradient(pb, call, scratch);
  if (memory) gradient.run(begin, end);
  return static_cast<i64>(scratch.used);
}

}  // namespace

UnitFn PW_ISA_NAME(back_blur)(const Problem& pb) { return pb.in == Dtype::f64 ? blur_backward<double> : blur_backward<float>; }

}  // namespace poolwise
