// Gradients of sum and avg: the adjoint, axis by axis from the innermost out, as the forward walk.
#include "back.hpp"
#include "spread.hpp"
#include "kernels.hpp"

namespace poolwise {
namespace {

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
      spread(level + 1, y_at + o * axis.out_block, divisor * divisor_of(pb_, w),
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
      divide(from, inner, divisor * divisor_of(pb_, w));
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

UnitFn spread_fn(const Problem& pb) {
  if (pb.in == Dtype::f64) return spread_backward<double>;
  return pb.in == Dtype::f32 ? spread_backward<float> : PW_ISA_NAME(gather_narrow)(pb, false);
}

UnitFn gather_fn(const Problem& pb) {
  if (pb.in == Dtype::f64) return gather_backward<GatherShares, double>;
  return pb.in == Dtype::f32 ? gather_backward<GatherShares, float> : PW_ISA_NAME(gather_narrow)(pb, false);
}

}  // namespace

UnitFn PW_ISA_NAME(back_linear)(const Problem& pb) { return pb.spread ? spread_fn(pb) : pb.gather || in_rows(pb) ? gather_fn(pb) : linear_backward; }

}  // namespace poolwise
