// sum and avg: bytes and half types. (Not optimised as hard; see compare_narrow.cpp.)
#include "average.hpp"
#include "kernels.hpp"

namespace poolwise {
namespace {

constexpr i64 kMostBytes = 1 << 14;  // see quotient_lanes
constexpr i64 kFewBytes = 128;       // see byte_quotients

// Averages of bytes as bytes. Of few: int16 lanes; of more: int32 lanes, and a division of floats.
template <class T>  // uint8_t, int8_t
i64 average_bytes(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  auto divisor = [](const Run& run) { return static_cast<double>(run.divisor); };
  if (most_elements(pb, kFewBytes) <= kFewBytes)
    return finished_forward<T, PlainSum<std::int16_t>, Term::plain, false>(pb, call, begin, end, memory, true, divisor);
  return finished_forward<T, PlainSum<std::int32_t>, Term::plain, false>(pb, call, begin, end, memory, true, divisor);
}

// Sums and averages of few elements of half types; those of which the two bounds do not agree are made again.
template <class T>  // F16, BF16
i64 sum_halves(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
#if defined(__AVX512F__)
  constexpr i64 most = same<T, F16> ? 16 : 32;  // bounds of more are apart too often
  if (pb.strip && pb.out == pb.in && pb.divisor == 0 && most_elements(pb, most) <= most) {
    int unsure = 0;
    return finished_forward<T, EnclosedSum, Term::plain, false>(
        pb, call, begin, end, memory, pb.op == Op::avg, [&](const Run& run) { return float_divisor(pb, run); }, &unsure,
        [&](const Storage<T>* x, const Run& run, Storage<T>* y) {
          const double divisor = float_divisor(pb, run);
          for (i64 i = 0; i < run.n; ++i) {
            if (y[i] != T::kUnsure) continue;
            double sum = -0.0;
            for_each_element(pb, x, run, i, [&](double v) { sum += v; });
            y[i] = T::round(sum / divisor).bits;
          }
        });
  }
#endif
  return sum_narrow_floats<T>(pb, call, begin, end, memory);
}

}  // namespace

UnitFn PW_ISA_NAME(average_narrow)(const Problem& pb) {
  switch (pb.in) {
    case Dtype::f16: return sum_halves<F16>;
    case Dtype::bf16: return sum_halves<BF16>;
    case Dtype::u8:
      if (averages_as_came(pb, kMostBytes)) return average_bytes<std::uint8_t>;
      break;
    case Dtype::i8:
      if (averages_as_came(pb, kMostBytes)) return average_bytes<std::int8_t>;
      break;
    default: break;
  }
  return PW_ISA_NAME(average_integers)(pb);
}

}  // namespace poolwise
