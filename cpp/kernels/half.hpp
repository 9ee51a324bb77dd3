// float16 and bfloat16 as 16-bit patterns: exact widening, and one correct rounding from double.
#pragma once

#include "simd.hpp"

namespace poolwise {
namespace {

template <int MantissaBits, int ExponentBits>
struct HalfFormat {
  std::uint16_t bits;

  static constexpr int kBias = (1 << (ExponentBits - 1)) - 1;
  static constexpr int kInfinity = ((1 << ExponentBits) - 1) << MantissaBits;
  static constexpr std::uint16_t kUnsure = kInfinity | 1 << (MantissaBits - 1) | 5;  // one NaN of many, where a result is to be made again

  inline __attribute__((always_inline)) float widen() const {
    if constexpr (ExponentBits == 8) {
      const std::uint32_t u = static_cast<std::uint32_t>(bits) << 16;
      return __builtin_bit_cast(float, u);
    } else {
      // Shift the fields into place and repair the exponent by an exact multiplication, which normalises subnormals.
      const std::uint32_t magnitude = static_cast<std::uint32_t>(bits & 0x7fff) << 13;
      const float scaled = __builtin_bit_cast(float, magnitude) * 0x1p112f;
      std::uint32_t u = __builtin_bit_cast(std::uint32_t, scaled);
      u = (bits & 0x7fff) >= kInfinity ? magnitude | 0x7f800000u : u;
      u |= static_cast<std::uint32_t>(bits & 0x8000) << 16;
      return __builtin_bit_cast(float, u);
    }
  }

  // Going through float would round twice: 1 + 2^-11 + 2^-40 is not a tie for float16, but its float is.
  static inline __attribute__((always_inline)) HalfFormat round(double d) {
    const u64 u = __builtin_bit_cast(u64, d);
    const u64 magnitude = u & 0x7fffffffffffffffull;
    const std::uint16_t sign = static_cast<std::uint16_t>(u >> 48 & 0x8000);
    constexpr int drop = 52 - MantissaBits;
    const u64 nearest = magnitude + ((1ull << (drop - 1)) - 1) + (magnitude >> drop & 1);
    const i64 normal = static_cast<i64>(nearest >> drop) - (static_cast<i64>(1023 - kBias) << MantissaBits);
    // Below the smallest normal number the quantum is fixed: adding this constant makes double's own rounding do it.
    constexpr double quantum_shift = 0x1.8p52 * Power2<1 - kBias - MantissaBits>::value;
    const double shifted = __builtin_bit_cast(double, magnitude) + quantum_shift;
    const u64 subnormal = __builtin_bit_cast(u64, shifted) & ((1ull << (MantissaBits + 2)) - 1);
    const bool small = magnitude < (static_cast<u64>(1023 - kBias + 1) << 52);
    i64 result = small ? static_cast<i64>(subnormal) : (normal > kInfinity ? kInfinity : normal);
    result = magnitude > 0x7ff0000000000000ull ? kInfinity | 1 << (MantissaBits - 1) : result;
    return {static_cast<std::uint16_t>(result | sign)};
  }

 private:
  template <int E, bool Negative = (E < 0)>
  struct Power2 {
    static constexpr double value = 2 * Power2<E - 1>::value;
  };
  template <int E>
  struct Power2<E, true> {
    static constexpr double value = Power2<E + 1>::value / 2;
  };
  template <bool N>
  struct Power2<0, N> {
    static constexpr double value = 1;
  };
};

using F16 = HalfFormat<10, 5>;
using BF16 = HalfFormat<7, 8>;

inline double widen(double v) { return v; }
inline double widen(float v) { return v; }
inline double widen(F16 v) { return v.widen(); }
inline double widen(BF16 v) { return v.widen(); }

template <class T>
inline __attribute__((always_inline)) T narrow(double v) {
  if constexpr (same<T, F16> || same<T, BF16>) return T::round(v); else return static_cast<T>(v);
}

// Rows to and from double, by dtype.
template <class T>
void widen_row(const void* from, i64 n, double* to) {
  const T* p = static_cast<const T*>(from);
  for (i64 i = 0; i < n; ++i) to[i] = widen(p[i]);
}

template <class T>
void narrow_row(const double* from, i64 n, void* to) {
  T* p = static_cast<T*>(to);
  for (i64 i = 0; i < n; ++i) p[i] = narrow<T>(from[i]);
}

using WidenFn = void (*)(const void*, i64, double*);
using NarrowFn = void (*)(const double*, i64, void*);

inline WidenFn widen_for(Dtype t) {
  return t == Dtype::f16 ? widen_row<F16> : t == Dtype::bf16 ? widen_row<BF16> : t == Dtype::f32 ? widen_row<float> : widen_row<double>;
}

inline NarrowFn narrow_for(Dtype t) {
  return t == Dtype::f16 ? narrow_row<F16> : t == Dtype::bf16 ? narrow_row<BF16> : t == Dtype::f32 ? narrow_row<float> : narrow_row<double>;
}

}  // namespace
}  // namespace poolwise
