// Vectors of elements as they are stored to vectors of the type that they are summed in, and back.
//
// GCC 12 takes conversions between lanes of different widths apart, some into single elements: those that matter are
// instructions by name. (Masked forms: the plain ones warn about their own undefined operand.)
#pragma once

#include "half.hpp"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace poolwise {
namespace {

// How an element lies in memory.
template <class T>
struct StorageOf {
  using type = T;
};
template <int M, int E>
struct StorageOf<HalfFormat<M, E>> {
  using type = std::uint16_t;
};
template <class T>
using Storage = typename StorageOf<T>::type;

template <class T>
constexpr bool is_half = same<T, F16> || same<T, BF16>;

// V: double, int64 or int16 lanes, float lanes of half types, or one of them as a scalar.
template <class T, class V, class Acc>
inline __attribute__((always_inline)) V widen_lanes(Like<Storage<T>, V, Acc> v) {
  if constexpr (same<V, Acc>) {
    if constexpr (is_half<T>) return static_cast<Acc>(T{v}.widen()); else return static_cast<Acc>(v);
  } else {
#if defined(__AVX512F__)
    if constexpr (sizeof(V) == 64 && same<Acc, float>) {
      if constexpr (same<T, F16>) return (V)_mm512_maskz_cvtph_ps(0xffff, (__m256i)v);
      if constexpr (same<T, BF16>) return (V)_mm512_maskz_slli_epi32(0xffff, _mm512_maskz_cvtepu16_epi32(0xffff, (__m256i)v), 16);
    }
    if constexpr (sizeof(V) == 64 && !same<Acc, float>) {
      if constexpr (same<T, float>) return (V)_mm512_maskz_cvtps_pd(0xff, (__m256)v);
      if constexpr (same<T, F16>) return (V)_mm512_maskz_cvtps_pd(0xff, _mm256_cvtph_ps((__m128i)v));
      if constexpr (same<T, BF16>)
        return (V)_mm512_maskz_cvtps_pd(0xff, (__m256)_mm256_slli_epi32(_mm256_cvtepu16_epi32((__m128i)v), 16));
      if constexpr (same<T, std::uint8_t> && same<Acc, std::int16_t>) return (V)_mm512_maskz_cvtepu8_epi16(~0u, (__m256i)v);
      else if constexpr (same<T, std::int8_t> && same<Acc, std::int16_t>) return (V)_mm512_maskz_cvtepi8_epi16(~0u, (__m256i)v);
      else if constexpr (same<T, std::uint8_t>) return (V)_mm512_maskz_cvtepu8_epi32(0xffff, (__m128i)v);
      else if constexpr (same<T, std::int8_t>) return (V)_mm512_maskz_cvtepi8_epi32(0xffff, (__m128i)v);
      if constexpr (same<T, std::uint16_t> && same<Acc, std::int32_t>) return (V)_mm512_maskz_cvtepu16_epi32(0xffff, (__m256i)v);
      else if constexpr (same<T, std::int16_t> && same<Acc, std::int32_t>) return (V)_mm512_maskz_cvtepi16_epi32(0xffff, (__m256i)v);
      else if constexpr (same<T, std::uint16_t>) return (V)_mm512_maskz_cvtepu16_epi64(0xff, (__m128i)v);
      else if constexpr (same<T, std::int16_t>) return (V)_mm512_maskz_cvtepi16_epi64(0xff, (__m128i)v);
      if constexpr (same<T, std::uint32_t>) return (V)_mm512_maskz_cvtepu32_epi64(0xff, (__m256i)v);
      if constexpr (same<T, std::int32_t>) return (V)_mm512_maskz_cvtepi32_epi64(0xff, (__m256i)v);
    }
#endif
#if defined(__AVX2__)
    if constexpr (sizeof(V) == 32 && same<Acc, float>) {
      if constexpr (same<T, F16>) return (V)_mm256_cvtph_ps((__m128i)v);
      if constexpr (same<T, BF16>) return (V)_mm256_slli_epi32(_mm256_cvtepu16_epi32((__m128i)v), 16);
    }
    if constexpr (sizeof(V) == 32 && !same<Acc, float>) {
      __m128i low{};
      __builtin_memcpy(&low, &v, sizeof v < 16 ? sizeof v : 16);
      if constexpr (same<T, float>) return (V)_mm256_cvtps_pd((__m128)v);
      if constexpr (same<T, F16>) return (V)_mm256_cvtps_pd(_mm_cvtph_ps(low));
      if constexpr (same<T, BF16>) return (V)_mm256_cvtps_pd((__m128)_mm_slli_epi32(_mm_cvtepu16_epi32(low), 16));
      if constexpr (same<T, std::uint8_t> && same<Acc, std::int16_t>) return (V)_mm256_cvtepu8_epi16(low);
      else if constexpr (same<T, std::int8_t> && same<Acc, std::int16_t>) return (V)_mm256_cvtepi8_epi16(low);
      else if constexpr (same<T, std::uint8_t>) return (V)_mm256_cvtepu8_epi32(low);
      else if constexpr (same<T, std::int8_t>) return (V)_mm256_cvtepi8_epi32(low);
      if constexpr (same<T, std::uint16_t> && same<Acc, std::int32_t>) return (V)_mm256_cvtepu16_epi32(low);
      else if constexpr (same<T, std::int16_t> && same<Acc, std::int32_t>) return (V)_mm256_cvtepi16_epi32(low);
      else if constexpr (same<T, std::uint16_t>) return (V)_mm256_cvtepu16_epi64(low);
      else if constexpr (same<T, std::int16_t>) return (V)_mm256_cvtepi16_epi64(low);
      if constexpr (same<T, std::uint32_t>) return (V)_mm256_cvtepu32_epi64(low);
      if constexpr (same<T, std::int32_t>) return (V)_mm256_cvtepi32_epi64(low);
    }
#endif
    if constexpr (is_half<T>) {
      V wide{};
      for (u64 l = 0; l < sizeof(V) / sizeof(Acc); ++l) wide[l] = T{v[l]}.widen();
      return wide;
    } else {
      return __builtin_convertvector(v, V);
    }
  }
}

// Sums of neighbours, T as it lies in memory: bytes to 16 bits.
#if defined(__AVX2__)
template <class T, class V>
inline __attribute__((always_inline)) V byte_pairs(V bytes) {
  constexpr bool has_sign = T(-1) < T(0);
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64) {
    const __m512i v = (__m512i)bytes, ones = _mm512_set1_epi8(1);
    return (V)(has_sign ? _mm512_maskz_maddubs_epi16(~0u, ones, v) : _mm512_maskz_maddubs_epi16(~0u, v, ones));
  }
#endif
  if constexpr (sizeof(V) == 32) {
    const __m256i v = (__m256i)bytes, ones = _mm256_set1_epi8(1);
    return (V)(has_sign ? _mm256_maddubs_epi16(ones, v) : _mm256_maddubs_epi16(v, ones));
  }
  if constexpr (sizeof(V) == 16) {
    const __m128i v = (__m128i)bytes, ones = _mm_set1_epi8(1);
    return (V)(has_sign ? _mm_maddubs_epi16(ones, v) : _mm_maddubs_epi16(v, ones));
  }
}
#endif

// Doubles as the bits of floats whose last bit says whether anything was cut off: rounded once more they are as if rounded once.
#if defined(__AVX512F__)
inline __attribute__((always_inline)) __m256i round_to_odd(__m512d v) {
  const __m256 cut = _mm512_maskz_cvt_roundpd_ps(0xff, v, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
  const __mmask8 inexact = _mm512_cmp_pd_mask(_mm512_maskz_cvtps_pd(0xff, cut), v, _CMP_NEQ_OQ);
  return _mm256_mask_or_epi32((__m256i)cut, inexact, (__m256i)cut, _mm256_set1_epi32(1));
}
#elif defined(__AVX2__)
inline __attribute__((always_inline)) __m128i round_to_odd(__m256d v) {
  const __m128 nearest = _mm256_cvtpd_ps(v);
  const __m256d back = _mm256_cvtps_pd(nearest), sign = _mm256_set1_pd(-0.0);
  auto narrow = [](__m256d mask) __attribute__((always_inline)) {
    return (__m128i)_mm_shuffle_ps((__m128)_mm256_castpd256_pd128(mask), (__m128)_mm256_extractf128_pd(mask, 1), 0x88);
  };
  const __m128i inexact = narrow(_mm256_cmp_pd(back, v, _CMP_NEQ_OQ));
  // Those that went away from zero go back by one: masks are -1.
  const __m128i away = narrow(_mm256_cmp_pd(_mm256_andnot_pd(sign, back), _mm256_andnot_pd(sign, v), _CMP_GT_OQ));
  return _mm_or_si128(_mm_add_epi32((__m128i)nearest, away), _mm_and_si128(inexact, _mm_set1_epi32(1)));
}
#endif

#if defined(__AVX2__)
// The bits of floats to those of a half type, ties to even.
template <class T, class U>
inline __attribute__((always_inline)) auto halves_of(U floats) {
  if constexpr (same<T, F16>) {
#if defined(__AVX512F__)
    if constexpr (sizeof(U) == 64) return _mm512_maskz_cvtps_ph(0xffff, (__m512)floats, _MM_FROUND_TO_NEAREST_INT);
#endif
    if constexpr (sizeof(U) == 32) return _mm256_cvtps_ph((__m256)floats, _MM_FROUND_TO_NEAREST_INT);
    if constexpr (sizeof(U) == 16) return _mm_cvtps_ph((__m128)floats, _MM_FROUND_TO_NEAREST_INT);
  } else {
    using Bits = Vector<std::uint32_t, sizeof(U)>;
    const Bits bits = (Bits)floats, high = bits >> 16, up = (bits + 0x7fff + (high & 1)) >> 16;
    const auto nan = (Vector<std::int32_t, sizeof(U)>)(bits & 0x7fffffff) > 0x7f800000;
    const Bits v = nan ? (high & 0x8000) | 0x7fc0 : up;
#if defined(__AVX512F__)
    if constexpr (sizeof(U) == 64) return _mm512_maskz_cvtepi32_epi16(0xffff, (__m512i)v);
    if constexpr (sizeof(U) == 32) return _mm256_cvtepi32_epi16((__m256i)v);
    if constexpr (sizeof(U) == 16) return _mm_cvtepi32_epi16((__m128i)v);
#else
    if constexpr (sizeof(U) == 32) return _mm_packus_epi32(_mm256_castsi256_si128((__m256i)v), _mm256_extracti128_si256((__m256i)v, 1));
    if constexpr (sizeof(U) == 16) return _mm_packus_epi32((__m128i)v, (__m128i)v);
#endif
  }
}
#endif

// Each element rounded once.
template <class T, class V, class Acc>
inline __attribute__((always_inline)) Like<Storage<T>, V, Acc> narrow_lanes(V v) {
  using N = Like<Storage<T>, V, Acc>;
  if constexpr (same<V, Acc>) {
#if defined(__AVX2__)
    if constexpr (is_half<T> && same<Acc, float>) return static_cast<N>(_mm_cvtsi128_si32((__m128i)halves_of<T>(_mm_set_ss(v))));
#endif
    if constexpr (is_half<T>) return T::round(v).bits; else return static_cast<N>(v);
  } else {
#if defined(__AVX2__)
    if constexpr (is_half<T> && (same<Acc, float> || sizeof(V) == kVectorBytes)) {
      auto halves = [&]() __attribute__((always_inline)) {
        if constexpr (same<Acc, float>) return halves_of<T>(v);
#if defined(__AVX512F__)
        else return halves_of<T>(round_to_odd((__m512d)v));
#else
        else return halves_of<T>(round_to_odd((__m256d)v));
#endif
      }();
      N narrow;
      __builtin_memcpy(&narrow, &halves, sizeof narrow);
      return narrow;
    }
#endif
#if defined(__AVX512F__)
    if constexpr (sizeof(V) == 64 && same<T, float>) return (N)_mm512_maskz_cvtpd_ps(0xff, (__m512d)v);
#endif
#if defined(__AVX2__)
    if constexpr (sizeof(V) == 32 && same<T, float>) return (N)_mm256_cvtpd_ps((__m256d)v);
#endif
    if constexpr (is_half<T>) {
      N narrow{};
      for (u64 l = 0; l < sizeof(V) / sizeof(Acc); ++l) narrow[l] = T::round(v[l]).bits;
      return narrow;
    } else {
      return __builtin_convertvector(v, N);
    }
  }
}

template <class V, class L>
inline __attribute__((always_inline)) V square_roots(V v) {
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64 && same<L, double>) return (V)_mm512_maskz_sqrt_pd(0xff, (__m512d)v);
#endif
#if defined(__AVX2__)
  if constexpr (sizeof(V) == 32 && same<L, double>) return (V)_mm256_sqrt_pd((__m256d)v);
  if constexpr (sizeof(V) == 32 && same<L, float>) return (V)_mm256_sqrt_ps((__m256)v);
  if constexpr (sizeof(V) == 16 && same<L, double>) return (V)_mm_sqrt_pd((__m128d)v);
  if constexpr (sizeof(V) == 16 && same<L, float>) return (V)_mm_sqrt_ps((__m128)v);
#endif
  for (u64 l = 0; l < sizeof(V) / sizeof(L); ++l) v[l] = static_cast<L>(__builtin_sqrt(v[l]));
  return v;
}

// Square roots of sums of squares, to float or a half type, V: double lanes or one. A root in float of the rounded sum is off
// by 3/4 of an ulp at most and takes a quarter of the time; sums that float does not hold as well are taken in double.
template <class T, class V>
inline __attribute__((always_inline)) Like<Storage<T>, V, double> root_lanes(V sum) {
  using F = Like<float, V, double>;
  constexpr double low = 0x1p-100, high = 0x1p100;
  const F rounded = narrow_lanes<float, V, double>(sum);
  F root;
  if constexpr (same<V, double>) {
    root = rounded >= low && rounded <= high ? __builtin_sqrtf(rounded) : static_cast<float>(__builtin_sqrt(sum));
    return narrow_lanes<T, double, double>(root);
  } else {
    root = square_roots<F, float>(rounded);
    if (any_bit(~(((sum >= low) & (sum <= high)) | (sum == 0)))) {
      const F other = narrow_lanes<float, V, double>(square_roots<V, double>(sum));
      root = (rounded >= static_cast<float>(low)) & (rounded <= static_cast<float>(high)) ? root : other;
    }
    if constexpr (same<T, float>) return root;
    else return narrow_lanes<T, V, double>(widen_lanes<float, V, double>(root));
  }
}

// Lanes of int64 that hold less than 2^51 as doubles, and doubles that do rounded to integers, ties to even. (2^52 plus such a
// number has its bits behind the point cut off.)
constexpr double kIntegers = 0x1.8p52;
template <class V>
inline __attribute__((always_inline)) Like<double, V, i64> whole_to_double(V v) {
  return __builtin_bit_cast(Like<double, V, i64>, static_cast<V>(v + __builtin_bit_cast(i64, kIntegers))) - kIntegers;
}
template <class D>
inline __attribute__((always_inline)) Like<i64, D, double> rounded_to_whole(D v) {
  using V = Like<i64, D, double>;
  const D shifted = v + kIntegers;
  return __builtin_bit_cast(V, shifted) - __builtin_bit_cast(i64, kIntegers);
}

// int64 lanes as narrower integers, without what does not fit.
template <class T, class V>
inline __attribute__((always_inline)) Like<T, V, i64> low_part(V v) {
  using N = Like<T, V, i64>;
  if constexpr (same<V, i64>) {
    return static_cast<N>(v);
  } else {
#if defined(__AVX512F__)
    if constexpr (sizeof(V) == 64 && sizeof(T) == 4) return (N)_mm512_maskz_cvtepi64_epi32(0xff, (__m512i)v);
    if constexpr (sizeof(V) == 64 && sizeof(T) == 2) return (N)_mm512_maskz_cvtepi64_epi16(0xff, (__m512i)v);
#endif
    return __builtin_convertvector(v, N);
  }
}

#if defined(__AVX512F__)
// Floats added with another rounding than the nearest.
template <int kRounding, class V>
inline __attribute__((always_inline)) V add_rounded(V a, V b) {
  constexpr int how = kRounding | _MM_FROUND_NO_EXC;
  if constexpr (sizeof(V) == 64) return (V)_mm512_maskz_add_round_ps(0xffff, (__m512)a, (__m512)b, how);
  else if constexpr (sizeof(V) == 4) return _mm_cvtss_f32(_mm_maskz_add_round_ss(1, _mm_set_ss(a), _mm_set_ss(b), how));
  else {
    __m512 x{}, y{};
    __builtin_memcpy(&x, &a, sizeof a);
    __builtin_memcpy(&y, &b, sizeof b);
    const __m512 sum = add_rounded<kRounding>(x, y);
    V v;
    __builtin_memcpy(&v, &sum, sizeof v);
    return v;
  }
}

// Floats over whole numbers up to 2^11 as half types; `factor` is the divisor's reciprocal. A division is 16 cycles for 16 lanes:
// a product and what it leaves, which is exact, are the nearest float but for 2^-20 of a unit. That it is rounded twice does no
// harm: a quotient that is not on a tie of the half type is further from it than half a unit, as sum - divisor * tie is a whole
// number of units of the sum.
template <class T, class V>
inline __attribute__((always_inline)) Like<Storage<T>, V, float> half_quotients(V sum, V factor, V divisor) {
  V q = sum * factor;
  if constexpr (same<V, float>) {
    const float rest = __builtin_fmaf(-q, divisor, sum);
    if (rest == rest) q = __builtin_fmaf(rest, factor, q);
  } else {
    static_assert(sizeof(V) == 64);
    const __m512 rest = _mm512_fnmadd_ps((__m512)q, (__m512)divisor, (__m512)sum);
    // Of infinities nothing is left that is a number.
    q = (V)_mm512_mask3_fmadd_ps(rest, (__m512)factor, (__m512)q, _mm512_cmp_ps_mask(rest, rest, _CMP_ORD_Q));
  }
  return narrow_lanes<T, V, float>(q);
}

// Whether any of two vectors' floats are not equal.
template <class V>
inline __attribute__((always_inline)) bool any_unequal(V a, V b) {
  if constexpr (same<V, float>) return a != b;
  else return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_NEQ_UQ) != 0;
}
#endif

// How sums of up to 128 bytes, in 16 bits, are divided: by a product's upper half. Where all divisors are one, `shift` is how far
// that is shifted, and the product is exact; else it is -1, and the quotient may be one too small.
struct ByteDivision {
  int shift = -1;
  bool ties = true;  // whether a quotient may lie in the middle of two integers
  bool binary = false;  // whether the divisor is twice `shift` doubled: then the sum is shifted, with no product

  static ByteDivision of(i64 divisor) {
    if (divisor == 1) return {};
    int shift = 0;
    while ((i64{2} << shift) < divisor) ++shift;
    return {shift, divisor % 2 == 0, i64{2} << shift == divisor};
  }
  std::uint16_t factor(i64 divisor) const {
    if (shift < 0) return static_cast<std::uint16_t>(divisor == 1 ? 65535 : 65536 / divisor);
    return static_cast<std::uint16_t>(((i64{65536} << shift) + divisor - 1) / divisor);
  }
};

// The upper halves of products of unsigned 16-bit lanes.
template <class U>
inline __attribute__((always_inline)) U upper_products(U a, U b) {
#if defined(__AVX512F__)
  if constexpr (sizeof(U) == 64) return (U)_mm512_maskz_mulhi_epu16(~0u, (__m512i)a, (__m512i)b);
#endif
#if defined(__AVX2__)
  if constexpr (sizeof(U) == 32) return (U)_mm256_mulhi_epu16((__m256i)a, (__m256i)b);
#endif
#if defined(__SSE2__)
  if constexpr (sizeof(U) == 16) return (U)_mm_mulhi_epu16((__m128i)a, (__m128i)b);
#endif
  if constexpr (sizeof(U) == 2) {
    return static_cast<U>(static_cast<std::uint32_t>(a) * b >> 16);
  } else {
    for (u64 l = 0; l < sizeof(U) / 2; ++l) a[l] = static_cast<std::uint16_t>(static_cast<std::uint32_t>(a[l]) * b[l] >> 16);
    return a;
  }
}

// The low bytes of 16-bit lanes.
template <class N, class U>
inline __attribute__((always_inline)) N low_bytes(U v) {
#if defined(__AVX512F__)
  if constexpr (sizeof(U) == 64) return (N)_mm512_maskz_cvtepi16_epi8(~0u, (__m512i)v);
#endif
#if defined(__AVX2__)
  if constexpr (sizeof(U) == 32)
    return (N)_mm_packus_epi16(_mm256_castsi256_si128((__m256i)(v & 0xff)), _mm256_extracti128_si256((__m256i)(v & 0xff), 1));
#endif
  return __builtin_convertvector(v, N);
}

// Sums of up to 128 bytes in 16 bits to their quotients, ties to even. In what is divided half a divisor is added, to round, and
// for bytes with a sign 128 divisors more, so that it is below 2^15 and not negative.
template <class T, class V>
inline __attribute__((always_inline)) Like<Storage<T>, V, std::int16_t> byte_quotients(V sum, Like<std::uint16_t, V, std::int16_t> factor,
                                                                                     Like<std::uint16_t, V, std::int16_t> divisor, ByteDivision by) {
  using U = Like<std::uint16_t, V, std::int16_t>;
  using N = Like<Storage<T>, V, std::int16_t>;
  constexpr bool has_sign = T(-1) < T(0);
  auto u16 = [](auto v) __attribute__((always_inline)) { return (U)v; };  // of scalars, which become ints
  U dividend = u16(u16(sum) + u16(divisor >> 1));
  if constexpr (has_sign) dividend = u16(dividend + u16(divisor << 7));
  U q;
  if (by.binary) {
    // Half a divisor more than the sum is one too much where the quotient, rounded down, is even.
    const U even = u16(u16(u16(dividend - u16(divisor >> 1)) >> (by.shift + 1)) & 1);
    q = u16(u16(dividend + u16(even - 1)) >> (by.shift + 1));
  } else if (by.shift >= 0) {
    q = u16(upper_products(dividend, factor) >> by.shift);
    if (by.ties) q = u16(q - u16(u16(u16(q * divisor) == dividend) & q & 1));
  } else {
    q = upper_products(dividend, factor);
    U rest = u16(dividend - u16(q * divisor));
    const U more = u16(u16(rest >= divisor) & 1);
    q = u16(q + more);
    rest = u16(rest - u16(more * divisor));
    q = u16(q - u16(u16(rest == 0) & ~divisor & q & 1));
  }
  if constexpr (has_sign) q = u16(q ^ 128);
  if constexpr (same<V, std::int16_t>) return static_cast<N>(q); else return low_bytes<N>(q);
}

// What a quotient of more bytes, or of a few 16-bit integers, is made with. Multiplying is a tenth of dividing, and where no
// quotient is near a tie, or all are exact, as good: averages by an odd number, of up to 2^13 bytes or 2^5 others, or a power of two.
template <class T>
float quotient_scale(double divisor) {
  constexpr i64 most = sizeof(T) == 1 ? 1 << 13 : 1 << 5;
  const i64 whole = divisor <= 0x1p13 ? static_cast<i64>(divisor) : 0;
  const bool multiplies = (whole <= most && whole % 2 != 0) || (whole != 0 && (whole & (whole - 1)) == 0);
  return static_cast<float>(multiplies ? 1 / divisor : -divisor);
}

// int32 to T, rounded from a quotient of floats to the nearest, ties to even; a positive scale multiplies, a negative one divides.
// Sums below 2^23 are further from a tie than float is inexact: of up to 2^14 bytes, or of up to 2^7 16-bit integers.
template <class T, class V, class Acc>
inline __attribute__((always_inline)) Like<Storage<T>, V, Acc> quotient_lanes(V sum, Like<float, V, Acc> scale) {
  using N = Like<Storage<T>, V, Acc>;
  constexpr float shift = 0x1.8p23f;  // what is added to it is rounded to an integer
  if constexpr (same<V, Acc>) {
    const float whole = static_cast<float>(sum), q = (scale < 0 ? whole / -scale : whole * scale) + shift;
    return static_cast<N>(__builtin_bit_cast(std::int32_t, q));
  } else {
    using F = Like<float, V, Acc>;
    const F whole = __builtin_convertvector(sum, F);
    F q = whole * scale;
    if (any_bit(scale < 0)) q = scale < 0 ? whole / -scale : q;
    const V bits = (V)(q + shift);
#if defined(__AVX512F__)
    if constexpr (sizeof(V) == 64 && sizeof(T) == 1) return (N)_mm512_maskz_cvtepi32_epi8(0xffff, (__m512i)bits);
    if constexpr (sizeof(V) == 64 && sizeof(T) == 2) return (N)_mm512_maskz_cvtepi32_epi16(0xffff, (__m512i)bits);
#endif
#if defined(__AVX2__)
    if constexpr (sizeof(V) == 32 && sizeof(T) == 2) {
      const auto low = (__m256i)(bits & 0xffff);
      return (N)_mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
    }
#endif
    return __builtin_convertvector(bits, N);
  }
}

}  // namespace
}  // namespace poolwise
