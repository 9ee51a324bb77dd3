// lp with p = 2 of all dtypes but float64, whose squares no double fails to hold.
#pragma once

#include "accumulate.hpp"

namespace poolwise {
namespace {

inline double factor_of(const Problem& pb, i64 count) { return pb.rescale != 0 ? pb.rescale / static_cast<double>(count) : 1; }

template <class T>  // float, F16, BF16
i64 roots_of_sums(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  if (pb.out == pb.in)
    return finished_forward<T, PlainSum<double>, Term::square, true>(
        pb, call, begin, end, memory, pb.rescale != 0,
        [&](const Run& run) { return 1 / factor_of(pb, run.count); });
  const NarrowFn narrow = narrow_for(pb.out);
  return accumulate_forward<SumFamily<T, PlainSum<double>, Term::square>>(
      pb, call, begin, end, memory, [&](const void*, const Run& run, PlainSum<double>::Row row, char* y) {
        const double factor = factor_of(pb, run.count);
        sweep<double, true>(run.n, false, [&]<class V>(i64 i, auto lanes) __attribute__((always_inline)) {
          store(row.sum + i, widen_lanes<float, V, double>(root_lanes<float, V>(load<V>(row.sum + i, lanes) * factor)), lanes);
        });
        narrow(row.sum, run.n, y);
      });
}

}  // namespace
}  // namespace poolwise
