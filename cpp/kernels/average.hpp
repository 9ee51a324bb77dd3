// What sums and averages of several kinds of dtypes share.
#pragma once

#include "accumulate.hpp"

namespace poolwise {
namespace {

inline double float_divisor(const Problem& pb, const Run& run) {
  if (pb.op == Op::sum) return 1;
  return pb.divisor != 0 ? pb.divisor : static_cast<double>(run.divisor);
}

// The largest divisor, or `limit` plus one where it is beyond that.
inline i64 most_elements(const Problem& pb, i64 limit) {
  i64 elements = pb.fold.count;
  for (int a = 0; a < pb.n_axes; ++a) {
    i64 most = pb.axes[a].radix;
    for (i64 o = 0; o < pb.axes[a].n_out - (pb.axes[a].last - pb.axes[a].first); ++o)
      most = max_of(most, divisor_of(pb, pb.axes[a].edge[o]));
    if (most > limit / elements) return limit + 1;
    elements *= most;
  }
  return elements;
}

// Averages of what comes out as it went in, of up to so many elements.
inline bool averages_as_came(const Problem& pb, i64 most) {
  return pb.op == Op::avg && pb.out == pb.in && pb.divisor == 0 && most_elements(pb, most) <= most;
}

// float16, bfloat16 and float32: the double sum cannot overflow. A division is 16 cycles for 8 lanes, more than all
// else together; the reciprocal is off by 2^-52, which float32 does not see but in a tie.
template <class T>  // float, F16, BF16
i64 sum_narrow_floats(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  if (pb.out == pb.in)
    return finished_forward<T, PlainSum<double>, Term::plain, false>(
        pb, call, begin, end, memory, pb.op == Op::avg && pb.divisor == 0,
        [&](const Run& run) { return float_divisor(pb, run); });
  const NarrowFn narrow = narrow_for(pb.out);
  const bool exact = pb.out == Dtype::f64;
  return accumulate_forward<SumFamily<T, PlainSum<double>, Term::plain>>(
      pb, call, begin, end, memory,
      [&](const void*, const Run& run, PlainSum<double>::Row row, char*) {
        const double divisor = float_divisor(pb, run);
        if (divisor == 1) return;
        if (exact) {
          for (i64 i = 0; i < run.n; ++i) row.sum[i] /= divisor;
          return;
        }
        const double factor = 1 / divisor;
        for (i64 i = 0; i < run.n; ++i) row.sum[i] *= factor;
      },
      [&](PlainSum<double>::Row row, i64 n, char* y) { narrow(row.sum, n, y); });
}

}  // namespace
}  // namespace poolwise
