// sum and avg: float32 and float64.
#include "average.hpp"
#include "kernels.hpp"

namespace poolwise {
namespace {

// One window of float64 whose running sum left the range: an infinity or NaN among the elements decides as in a plain
// sum; finite elements are added again at a scale where they fit.
inline double sum_again(const Problem& pb, const void* x, const Run& run, i64 k, double divisor) {
  constexpr double scale = 0x1p-64;  // no window has 2^64 elements
  double infinities = 0;
  PairSum::State<double> sum{0, 0};
  for_each_element(pb, x, run, k, [&](double v) {
    if (__builtin_isfinite(v)) sum.add(v * scale); else infinities += v;
  });
  if (infinities != 0) return infinities / divisor;
  return (sum.high + sum.low) / divisor / scale;
}

inline i64 sum_doubles(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  if (pb.out == pb.in) {
    int infinite = 0;
    return finished_forward<double, PairSum, Term::plain, false>(
        pb, call, begin, end, memory, pb.op == Op::avg && pb.divisor == 0, [&](const Run& run) { return float_divisor(pb, run); },
        &infinite, [&](const double* x, const Run& run, double* y) {
          for (i64 i = 0; i < run.n; ++i)
            if (y[i] - y[i] != 0) y[i] = sum_again(pb, x, run, i, float_divisor(pb, run));
        });
  }
  return accumulate_forward<SumFamily<double, PairSum, Term::plain>>(
      pb, call, begin, end, memory, [&](const void* x, const Run& run, PairSum::Row row, char* to) {
        const double divisor = float_divisor(pb, run);
        double* y = reinterpret_cast<double*>(to);
        bool finite = true;
        for (i64 i = 0; i < run.n; ++i) {
          finite &= row.high[i] - row.high[i] == 0;
          y[i] = (row.high[i] + row.low[i]) / divisor;
        }
        if (finite) return;
        for (i64 i = 0; i < run.n; ++i)
          if (row.high[i] - row.high[i] != 0) y[i] = sum_again(pb, x, run, i, divisor);
      });
}

}  // namespace

UnitFn PW_ISA_NAME(average)(const Problem& pb) {
  if (pb.in == Dtype::f32) return sum_narrow_floats<float>;
  if (pb.in == Dtype::f64) return sum_doubles;
  return PW_ISA_NAME(average_narrow)(pb);
}

}  // namespace poolwise
