// sum and avg: integers but averages of bytes. (Not optimised as hard; see compare_narrow.cpp.)
#include "average.hpp"
#include "kernels.hpp"

namespace poolwise {
namespace {

constexpr i64 kFewShorts = 128;      // see quotient_lanes
constexpr i64 kMostIntegers = 1 << 19;  // whose sums double holds with room; see whole_to_double

template <class Acc>
Acc divide_to_even(Acc sum, i64 divisor) {
  if (divisor < 0) {
    sum = -sum;
    divisor = -divisor;
  }
  Acc quotient = sum / divisor;
  const i64 rest = static_cast<i64>(sum % divisor);
  const i64 over = rest < 0 ? -rest : rest;
  if (over > divisor - over || (over == divisor - over && (quotient & 1))) quotient += sum < 0 ? -1 : 1;
  return quotient;
}

// Integers: the sum is exact; only the last step rounds, and a result that does not fit is reported, never wrapped.
template <class Out, class Acc>
Out finished_integer(const Problem& pb, const Run& run, Acc sum, bool& fits) {
  constexpr bool has_sign = Out(-1) < Out(0);
  constexpr i128 largest = ((i128)1 << (8 * sizeof(Out) - has_sign)) - 1, smallest = has_sign ? -largest - 1 : 0;
  const i64 divisor = pb.op == Op::sum ? 1 : pb.divisor != 0 ? static_cast<i64>(pb.divisor) : run.divisor;
  const Acc value = divisor == 1 ? sum : divide_to_even(sum, divisor);
  fits &= value >= smallest && value <= largest;
  return static_cast<Out>(value);
}

template <class Acc, class Out>
void finish_integers(const Problem& pb, const Run& run, const Acc* sum, void* to, int* overflow) {
  Out* y = static_cast<Out*>(to);
  if constexpr (same<Out, float> || same<Out, double>) {
    const double divisor = float_divisor(pb, run);
    for (i64 i = 0; i < run.n; ++i) y[i] = static_cast<Out>(static_cast<double>(sum[i]) / divisor);
  } else {
    bool fits = true;
    for (i64 i = 0; i < run.n; ++i) y[i] = finished_integer<Out>(pb, run, sum[i], fits);
    if (!fits) __atomic_store_n(overflow, 1, __ATOMIC_RELAXED);
  }
}

template <class Acc>
auto finish_for(Dtype out) {
  switch (out) {
    case Dtype::f32: return finish_integers<Acc, float>;
    case Dtype::f64: return finish_integers<Acc, double>;
    case Dtype::u8: return finish_integers<Acc, std::uint8_t>;
    case Dtype::i8: return finish_integers<Acc, std::int8_t>;
    case Dtype::u16: return finish_integers<Acc, std::uint16_t>;
    case Dtype::i16: return finish_integers<Acc, std::int16_t>;
    case Dtype::u32: return finish_integers<Acc, std::uint32_t>;
    case Dtype::i32: return finish_integers<Acc, std::int32_t>;
    case Dtype::u64: return finish_integers<Acc, u64>;
    default: return finish_integers<Acc, i64>;
  }
}

template <class Acc>
i64 sum_integers(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  const auto finish = finish_for<Acc>(pb.out);
  return accumulate_forward<SumFamily<Copied, PlainSum<Acc>, Term::plain>>(
      pb, call, begin, end, memory, [&](const void*, const Run& run, typename PlainSum<Acc>::Row row, char* y) {
        finish(pb, run, row.sum, y, call.overflow);
      });
}

// Integers of up to 32 bits as they came.
template <class T>
i64 sum_wholes(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  if (pb.out != pb.in || most_elements(pb, kMostIntegers) > kMostIntegers)
    return sum_integers<i64>(pb, call, begin, end, memory);
  return finished_forward<T, PlainSum<i64>, Term::plain, false>(
      pb, call, begin, end, memory, pb.op == Op::avg && pb.divisor == 0, [&](const Run& run) { return float_divisor(pb, run); });
}

// The same of int64, where sums that are too large to be divided quickly, or to be results, are made again.
i64 sum_int64(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  if (walks_only(pb)) return sum_integers<i128>(pb, call, begin, end, memory);
  int unsure = 0;
  return finished_forward<i64, PartedSum, Term::plain, false>(
      pb, call, begin, end, memory, pb.op == Op::avg && pb.divisor == 0, [&](const Run& run) { return float_divisor(pb, run); },
      &unsure, [&](const i64* x, const Run& run, i64* y) {
        bool fits = true;
        for (i64 i = 0; i < run.n; ++i) {
          i128 sum = 0;
          for_each_place(pb, run, i, [&](i64 at) { sum += x[at]; });
          y[i] = finished_integer<i64>(pb, run, sum, fits);
        }
        if (!fits) __atomic_store_n(call.overflow, 1, __ATOMIC_RELAXED);
      });
}

// Averages of few 16-bit integers as such.
template <class T>  // uint16_t, int16_t
i64 average_shorts(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  return finished_forward<T, PlainSum<std::int32_t>, Term::plain, false>(
      pb, call, begin, end, memory, true, [](const Run& run) { return static_cast<double>(run.divisor); });
}

template <class T>
UnitFn average_or_sum_shorts(const Problem& pb) {
  return averages_as_came(pb, kFewShorts) ? average_shorts<T> : sum_wholes<T>;
}

}  // namespace

UnitFn PW_ISA_NAME(average_integers)(const Problem& pb) {
  switch (pb.in) {
    case Dtype::u64: return sum_integers<i128>;
    case Dtype::i64: return sum_int64;
    case Dtype::u32: return sum_wholes<std::uint32_t>;
    case Dtype::i32: return sum_wholes<std::int32_t>;
    case Dtype::u16: return average_or_sum_shorts<std::uint16_t>(pb);
    case Dtype::i16: return average_or_sum_shorts<std::int16_t>(pb);
    default: return sum_integers<i64>;
  }
}

}  // namespace poolwise
