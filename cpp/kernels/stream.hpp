// Results that are written past the caches.
//
// A store into a line that no cache holds reads it from memory first: a third of a copy's traffic, and nearly half of a
// gradient's. Where a call touches more than the caches are good for (pb.streams), whole lines are written there as they are
// made, by stores that nothing is read for. Rows that begin or end within a line are written as usual: gathered on a stage
// first they gained nothing, and a line that is stored partly so and partly so waits for memory twice.
#pragma once

#include "simd.hpp"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace poolwise {
namespace {

// Whether n elements from p on are whole lines, and are wanted there.
template <class L>
inline __attribute__((always_inline)) bool whole_lines(bool past, const L* p, i64 n) {
#if defined(__SSE2__)
  return past && (reinterpret_cast<u64>(p) | static_cast<u64>(n) * sizeof(L)) % kLine == 0;
#else
  return false;
#endif
}

// A store, past the caches where the row is of whole lines.
template <class V, class L, class Lanes>
inline __attribute__((always_inline)) void put(L* p, V v, Lanes lanes, [[maybe_unused]] bool past) {
#if defined(__SSE2__)
  if constexpr (same<Lanes, All> && sizeof(V) >= 16) {
    if (past) {
#if defined(__AVX512F__)
      if constexpr (sizeof(V) == 64) return _mm512_stream_si512(reinterpret_cast<__m512i*>(p), (__m512i)v);
#endif
#if defined(__AVX2__)
      if constexpr (sizeof(V) == 32) return _mm256_stream_si256(reinterpret_cast<__m256i*>(p), (__m256i)v);
#endif
      if constexpr (sizeof(V) == 16) return _mm_stream_si128(reinterpret_cast<__m128i*>(p), (__m128i)v);
    }
  }
#endif
  store(p, v, lanes);
}

// Two vectors as one.
template <class V, int... I>
inline __attribute__((always_inline)) auto joined(V a, V b, Indices<I...>) {
  return __builtin_shufflevector(a, b, I...);
}

// Puts vectors where they follow each other: as few stores as there can be, since a line that is put together by several may be
// sent half full.
template <class L, int N, class V>
inline __attribute__((always_inline)) void put_all(L* p, const V* v, bool past) {
  if constexpr (N > 1 && 2 * sizeof(V) <= kVectorBytes) {
    using Wide = decltype(joined(v[0], v[0], typename CountTo<2 * sizeof(V) / sizeof(L)>::type{}));
    Wide wide[N / 2];
#pragma GCC unroll 8
    for (int i = 0; i < N / 2; ++i) wide[i] = joined(v[2 * i], v[2 * i + 1], typename CountTo<2 * sizeof(V) / sizeof(L)>::type{});
    put_all<L, N / 2>(p, wide, past);
  } else {
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) put(p + i * static_cast<i64>(sizeof(V) / sizeof(L)), v[i], All{}, past);
  }
}

// Orders what was written so before all that this thread writes from here on: that it is done, for one.
inline void end_stream([[maybe_unused]] bool past) {
#if defined(__SSE2__)
  if (past) _mm_sfence();
#endif
}

}  // namespace
}  // namespace poolwise
