// sum and avg: integers and half types. (Not optimised as hard; see compare_narrow.cpp.)
#include "average.hpp"
#include "kernels.hpp"

namespace poolwise {
namespace {

constexpr i64 kMostBytes = 1 << 14;  // see quotient_lanes
constexpr i64 kFewBytes = 128;       // see byte_quotients
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
template <class Acc, class Out>
void finish_integers(const Problem& pb, const Run& run, const Acc* sum, void* to, int* overflow) {
  Out* y = static_cast<Out*>(to);
  if constexpr (same<Out, float> || same<Out, double>) {
    const double divisor = float_divisor(pb, run);
    for (i64 i = 0; i < run.n; ++i) y[i] = static_cast<Out>(static_cast<double>(sum[i]) / divisor);
  } else {
    constexpr bool has_sign = Out(-1) < Out(0);
    constexpr i128 largest = ((i128)1 << (8 * sizeof(Out) - has_sign)) - 1, smallest = has_sign ? -largest - 1 : 0;
    const i64 divisor = pb.op == Op::sum ? 1 : pb.divisor != 0 ? static_cast<i64>(pb.divisor) : run.divisor;
    bool fits = true;
    for (i64 i = 0; i < run.n; ++i) {
      const Acc value = divisor == 1 ? sum[i] : divide_to_even(sum[i], divisor);
      fits &= value >= smallest && value <= largest;
      y[i] = static_cast<Out>(value);
    }
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

// The largest divisor, or `limit` plus one where it is beyond that.
i64 most_elements(const Problem& pb, i64 limit) {
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

// Averages of bytes as bytes. Of few: int16 lanes; of more: int32 lanes, and a division of floats.
template <class T>  // uint8_t, int8_t
i64 average_bytes(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  using Sum = PlainSum<std::int32_t>;
  if (pb.strip && most_elements(pb, kFewBytes) <= kFewBytes)
    return finished_forward<T, PlainSum<std::int16_t>, Term::plain, false>(
        pb, call, begin, end, memory, true, [](const Run& run) { return static_cast<double>(run.divisor); });
  if (pb.strip)
    return finished_forward<T, Sum, Term::plain, false>(
        pb, call, begin, end, memory, true, [](const Run& run) { return static_cast<double>(run.divisor); });
  return accumulate_forward<SumFamily<T, Sum, Term::plain>>(
      pb, call, begin, end, memory, [](const void*, const Run& run, Sum::Row row, char* to) {
        T* y = reinterpret_cast<T*>(to);
        const float scale = byte_scale(static_cast<double>(run.divisor));
        sweep<std::int32_t, true>(run.n, true, [&]<class V>(i64 i, auto lanes) __attribute__((always_inline)) {
          using F = Like<float, V, std::int32_t>;
          store(y + i, quotient_lanes<T, V, std::int32_t>(load<V>(row.sum + i, lanes), static_cast<F>(F{} + scale)), lanes);
        });
      });
}

bool averages_bytes(const Problem& pb) {
  return pb.op == Op::avg && pb.out == pb.in && pb.divisor == 0 && most_elements(pb, kMostBytes) <= kMostBytes;
}

template <class Acc>
i64 sum_integers(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  const auto finish = finish_for<Acc>(pb.out);
  return accumulate_forward<SumFamily<Copied, PlainSum<Acc>, Term::plain>>(
      pb, call, begin, end, memory, [&](const void*, const Run& run, typename PlainSum<Acc>::Row row, char* y) {
        finish(pb, run, row.sum, y, call.overflow);
      });
}

i64 sum_int32(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  if (!pb.strip || pb.out != pb.in || most_elements(pb, kMostIntegers) > kMostIntegers)
    return sum_integers<i64>(pb, call, begin, end, memory);
  return finished_forward<std::int32_t, PlainSum<i64>, Term::plain, false>(
      pb, call, begin, end, memory, pb.op == Op::avg && pb.divisor == 0, [&](const Run& run) { return float_divisor(pb, run); });
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
    case Dtype::u64:
    case Dtype::i64: return sum_integers<i128>;
    case Dtype::u8: return averages_bytes(pb) ? average_bytes<std::uint8_t> : sum_integers<i64>;
    case Dtype::i8: return averages_bytes(pb) ? average_bytes<std::int8_t> : sum_integers<i64>;
    case Dtype::f16: return sum_halves<F16>;
    case Dtype::bf16: return sum_halves<BF16>;
    case Dtype::i32: return sum_int32;
    default: return sum_integers<i64>;
  }
}

}  // namespace poolwise
