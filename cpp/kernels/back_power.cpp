// Gradients of lp: each element of each window gets its own weight. With p = 2 that is gathered like the gradient of a sum.
#include "back.hpp"
#include "gather.hpp"
#include "kernels.hpp"

namespace poolwise {
namespace {

class LpGradient {
 public:
  LpGradient(const Problem& pb, const Call& call, Scratch& scratch)
      : pb_(pb), call_(call), item_(dtype_bytes(pb.in)), depth_(pb.n_axes - 1), widen_(widen_for(pb.in)) {
    const i64 tile = pb.back_tile * pb.axes[pb.back_split].in_block, row = longest_row(pb) * pb.inner;
    x_ = scratch.take<double>(tile);
    sums_ = scratch.take<double>(tile);
    y_ = scratch.take<double>(row);
    gy_ = scratch.take<double>(row);
  }

  const double* run(const BackUnit& unit) {
    widen_(static_cast<const char*>(call_.x) + unit.at * item_, unit.n, x_);
    for (i64 i = 0; i < unit.n; ++i) sums_[i] = 0;
    const Range range = touching(pb_, unit);
    for_each_covering(pb_, unit, 0, Covering{unit.plane * pb_.out_plane, 0, 1, 1}, [&](const Covering& cover) {
      pairs(pb_.back_split, cover.y_at, cover.count, range, unit.lo, unit.hi, 0);
    });
    return sums_;
  }

 private:
  void pairs(int level, i64 y_at, i64 count, Range range, i64 lo, i64 hi, i64 x_at) {
    const Axis& axis = pb_.axes[level];
    if (level == depth_) return row(y_at, count, range, lo, hi, x_at);
    const Axis& next = pb_.axes[level + 1];
    for (i64 o = range.begin; o < range.end; ++o) {
      const Window w = window_at(axis, o);
      for (i64 j = 0; j < w.count; ++j) {
        const i64 p = w.start + axis.step * j;
        if (p >= lo && p < hi)
          pairs(level + 1, y_at + o * axis.out_block, count * w.count, Range{0, next.n_out}, 0, next.size_in,
                x_at + (p - lo) * axis.in_block);
      }
    }
  }

  void row(i64 y_at, i64 count, Range range, i64 lo, i64 hi, i64 x_at) {
    const Axis& axis = pb_.axes[depth_];
    const i64 inner = pb_.inner, n = (range.end - range.begin) * inner;
    if (n <= 0) return;
    const i64 from = (y_at + range.begin * inner) * item_;
    widen_(static_cast<const char*>(call_.y) + from, n, y_);
    widen_(static_cast<const char*>(call_.gy) + from, n, gy_);
    for (i64 o = range.begin; o < range.end; ++o) {
      const Window w = window_at(axis, o);
      const double factor = pb_.rescale != 0 ? pb_.rescale / static_cast<double>(count * w.count) : 1;
      const double *y = y_ + (o - range.begin) * inner, *gy = gy_ + (o - range.begin) * inner;
      for (i64 j = 0; j < w.count; ++j) {
        const i64 p = w.start + axis.step * j;
        if (p < lo || p >= hi) continue;
        const i64 at = x_at + (p - lo) * inner;
        for (i64 c = 0; c < inner; ++c) sums_[at + c] += term(x_[at + c], y[c], gy[c], factor);
      }
    }
  }

  // gy * d y / d x. Written with the ratio |x| / y, which is about 1, so that no power leaves the range.
  double term(double x, double y, double gy, double factor) const {
    if (pb_.is_signed && pb_.p == 1) return gy * factor;  // a sum, whatever the values
    if (x != x || y != y) return x + y;
    if (x == 0 || y == 0) return gy * 0;
    const double g = pb_.is_signed || x > 0 ? gy : -gy;
    // An infinite element is all of its window's norm.
    if (pb_.p == 1 || x - x != 0) return g * factor;
    const double ratio = __builtin_fabs(x / y);
    return g * (pb_.p == 2 ? ratio : pb_.p == 3 ? ratio * ratio : __builtin_pow(ratio, pb_.p - 1)) * factor;
  }

  const Problem& pb_;
  const Call& call_;
  i64 item_;
  int depth_;
  WidenFn widen_;
  double *x_, *sums_, *y_, *gy_;
};

inline i64 lp_backward(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  Scratch scratch{memory};
  LpGradient gradient(pb, call, scratch);
  if (!memory) return static_cast<i64>(scratch.used);
  const NarrowFn narrow = narrow_for(pb.in);
  char* gx = static_cast<char*>(call.gx);
  for_each_back_unit(pb, begin, end, [&](const BackUnit& unit) {
    narrow(gradient.run(unit), unit.n, gx + unit.at * dtype_bytes(pb.in));
  });
  return 0;
}

}  // namespace

UnitFn PW_ISA_NAME(back_power)(const Problem& pb) {
  if (!pb.gather && !(is_euclidean(pb) && in_rows(pb))) return lp_backward;
  if (pb.in == Dtype::f64) return gather_backward<GatherNorms, double>;
  if (pb.in == Dtype::f32) return gather_backward<GatherNorms, float>;
  return pb.in == Dtype::f16 ? gather_backward<GatherNorms, F16> : gather_backward<GatherNorms, BF16>;
}

}  // namespace poolwise
