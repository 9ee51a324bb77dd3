// The finish of lp: the p-th root, and the windows that must be summed again because a power left double's range.
#include "kernels.hpp"
#include "norms.hpp"

namespace poolwise {
namespace {

inline double root(const Problem& pb, double sum) {
  const double a = __builtin_fabs(sum);
  double r;
  if (pb.p == 1) r = a;
  else if (pb.p == 2) r = __builtin_sqrt(a);
  else if (pb.p == 3) r = __builtin_cbrt(a);
  else r = __builtin_pow(a, 1 / pb.p);
  return sum < 0 ? -r : r;
}

inline double norm_again(const Problem& pb, const void* x, const Run& run, i64 k, double factor) {
  double largest = 0, infinities = 0;
  bool nan = false;
  for_each_element(pb, x, run, k, [&](double w) {
    const double a = __builtin_fabs(w);
    if (a != a) nan = true;
    else if (a - a != 0) infinities += pb.is_signed ? w : a;
    else if (a > largest) largest = a;
  });
  if (nan) return __builtin_nan("");
  if (infinities != 0) return infinities;
  if (largest == 0) return 0;
  const Power power(pb);
  double sum = 0;
  for_each_element(pb, x, run, k, [&](double v) { sum += power(v / largest); });
  return root(pb, sum * factor) * largest;
}

inline i64 lp_forward(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  const NarrowFn narrow = narrow_for(pb.out);
  return accumulate_forward<SumFamily<Copied, PlainSum<double>, Term::power>>(
      pb, call, begin, end, memory, [&](const void* x, const Run& run, PlainSum<double>::Row row, char* y) {
        const double factor = factor_of(pb, run.count);
        // Small magnitudes, and up to the 6th power of even the smallest float32, are exact enough as they stand.
        const double smallest = pb.p == 1 || (pb.in != Dtype::f64 && pb.p > 1 && pb.p <= 6) ? 0 : 1e-290, largest = 1e290;
        auto safe = [&](double sum) {
          const double size = __builtin_fabs(sum);
          return size >= smallest && size <= largest;
        };
        bool all = pb.p == 2;
        for (i64 i = 0; i < run.n; ++i) all &= safe(row.sum[i]);
        if (all) {
          for (i64 i = 0; i < run.n; ++i) row.sum[i] = __builtin_sqrt(row.sum[i] * factor);
        } else {
          for (i64 i = 0; i < run.n; ++i)
            row.sum[i] = safe(row.sum[i]) ? root(pb, row.sum[i] * factor) : norm_again(pb, x, run, i, factor);
        }
        narrow(row.sum, run.n, y);
      });
}

}  // namespace

UnitFn PW_ISA_NAME(power)(const Problem& pb) {
  if (!is_euclidean(pb) || pb.in == Dtype::f64) return lp_forward;
  return pb.in == Dtype::f32 ? roots_of_sums<float> : PW_ISA_NAME(power_narrow)(pb);
}

}  // namespace poolwise
