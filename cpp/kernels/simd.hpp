// Vectors as the compiler's own extension: one text for every instruction set, widths chosen here.
//
// Everything under kernels/ is in an anonymous namespace, uses raw pointers and compiler builtins, and calls no inline
// function of the standard library: the linker may keep any one copy of such a function, and the AVX-512 copy would
// crash a machine without it.
#pragma once

#include "problem.hpp"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace poolwise {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

using i128 = __int128;

inline i64 min_of(i64 a, i64 b) { return a < b ? a : b; }
inline i64 max_of(i64 a, i64 b) { return a > b ? a : b; }

template <class L, int Bytes>
struct VectorOf {
  typedef L type __attribute__((vector_size(Bytes)));
};
template <class L, int Bytes>
using Vector = typename VectorOf<L, Bytes>::type;

template <class A, class B>
constexpr bool same = false;
template <class A>
constexpr bool same<A, A> = true;

template <bool First, class A, class B>
struct Choose {
  using type = A;
};
template <class A, class B>
struct Choose<false, A, B> {
  using type = B;
};

template <int... I>
struct Indices {};
template <int N, int... I>
struct CountTo : CountTo<N - 1, N - 1, I...> {};
template <int... I>
struct CountTo<0, I...> {
  using type = Indices<I...>;
};

// A vector with as many lanes of L as V has (or L itself if V is a scalar).
template <class L, class V, class Lane>
struct LikeOf {
  static constexpr int lanes = sizeof(V) / sizeof(Lane);
  using type = Vector<L, static_cast<int>(lanes * sizeof(L))>;
};
template <class L, class Lane>
struct LikeOf<L, Lane, Lane> {
  using type = L;
};
template <class L, class V, class Lane>
using Like = typename LikeOf<L, V, Lane>::type;

template <class V, class L>
inline __attribute__((always_inline)) V load(const L* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

template <class V, class L>
inline __attribute__((always_inline)) void store(L* p, V v) {
  __builtin_memcpy(p, &v, sizeof v);
}

// Lanes 0, S, 2S, ... of the concatenation of S vectors: lane l of the result comes from vector S*l / lanes.
template <int S, int Step, class V, int... I>
inline __attribute__((always_inline)) V merge_strided(V so_far, V next, Indices<I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(so_far, next, (S * I < Step * n ? (Step == 1 ? S * I : I) : (S * I < (Step + 1) * n ? n + S * I - Step * n : I))...);
}

// Lanes 0, S, 2S, ... of a sequence whose last vector was read S-1 elements early.
template <int S, int Step, class V, int... I>
inline __attribute__((always_inline)) V merge_strided_last(V so_far, V next, Indices<I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(so_far, next, (S * I < Step * n ? (Step == 1 ? S * I : I) : n + S * I - Step * n + S - 1)...);
}

// V of every S-th element from p. Reads S whole vectors, the last one S-1 elements early, so that nothing is read beyond
// the last lane: every tail can be a vector.
template <int S, class V, class L>
inline __attribute__((always_inline)) V load_strided(const L* p) {
  if constexpr (same<V, L>) {
    return *p;
  } else if constexpr (S == 1) {
    return load<V>(p);
  } else {
    constexpr int n = sizeof(V) / sizeof(L);
    using I = typename CountTo<n>::type;
    // Two lanes are closer to their end than the third of four vectors would reach.
    if constexpr (n == 2) return V{p[0], p[S]};
    V v = load<V>(p);
    if constexpr (S >= 3) v = merge_strided<S, 1>(v, load<V>(p + n), I{});
    if constexpr (S >= 4) v = merge_strided<S, 2>(v, load<V>(p + 2 * n), I{});
    return merge_strided_last<S, S - 1>(v, load<V>(p + (S - 1) * (n - 1)), I{});
  }
}

// Calls f.operator()<V>(i) so that every i < n is covered: whole vectors of lanes L, 16-byte ones where those do not fit,
// scalars where those do not either. With `again` the last vector is moved back to end at n, and visits some i twice;
// without, the tail is narrower vectors, then scalars. Only scalars if !kVectors.
template <class L, bool kVectors, class F>
inline __attribute__((always_inline)) void sweep(i64 n, bool again, F&& f) {
  i64 i = 0;
  if constexpr (kVectors && sizeof(L) <= 8) {
    constexpr i64 big = kVectorBytes / sizeof(L), small = 16 / sizeof(L);
    if (n >= big) {
      for (;;) {
        f.template operator()<Vector<L, kVectorBytes>>(i);
        i += big;
        if (i + big <= n) continue;
        if (i == n) return;
        if (!again) break;
        i = n - big;
      }
    }
    if constexpr (big > small) {
      if (n - i >= small) {
        for (;;) {
          f.template operator()<Vector<L, 16>>(i);
          i += small;
          if (i + small <= n) continue;
          if (i == n) return;
          if (!again) break;
          i = n - small;
        }
      }
    }
  }
  for (; i < n; ++i) f.template operator()<L>(i);
}

// Half of a vector's lanes, the lower (0) or the upper (1).
template <int Half, class V, int... I>
inline __attribute__((always_inline)) auto half_of(V v, Indices<I...>) {
  return __builtin_shufflevector(v, v, (Half * static_cast<int>(sizeof...(I)) + I)...);
}
template <int Half, class L, class V>
inline __attribute__((always_inline)) auto half_of(V v) {
  return half_of<Half>(v, typename CountTo<sizeof(V) / sizeof(L) / 2>::type{});
}

template <int By, class V, int... I>
inline __attribute__((always_inline)) V rotated(V v, Indices<I...>) {
  return __builtin_shufflevector(v, v, ((I + By) % static_cast<int>(sizeof...(I)))...);
}

// The lanes of v from number `from` on, those of `other` before. `from` fits a lane.
template <class L, class V, int... I>
inline __attribute__((always_inline)) V lanes_from(i64 from, V v, V other, Indices<I...>) {
  using Narrow = typename Choose<sizeof(L) == 2, std::int16_t, std::int8_t>::type;
  using Index = typename Choose<sizeof(L) == 8, i64, typename Choose<sizeof(L) == 4, std::int32_t, Narrow>::type>::type;
  const Vector<Index, sizeof(V)> index{I...};
  return index >= static_cast<Index>(from) ? v : other;
}
template <class L, class V>
inline __attribute__((always_inline)) V lanes_from(i64 from, V v, V other) {
  return lanes_from<L>(from, v, other, typename CountTo<sizeof(V) / sizeof(L)>::type{});
}

// Whether any bit of a vector or number is set.
template <class V>
inline __attribute__((always_inline)) bool any_bit(V v) {
  if constexpr (sizeof(V) <= 8) return v != 0;
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64) return _mm512_test_epi64_mask((__m512i)v, (__m512i)v) != 0;
#endif
#if defined(__AVX2__)
  if constexpr (sizeof(V) == 32) return !_mm256_testz_si256((__m256i)v, (__m256i)v);
#endif
  if constexpr (sizeof(V) == 16) {
    const auto words = (Vector<u64, 16>)v;
    return (words[0] | words[1]) != 0;
  }
  return false;
}

// Calls f.operator()<V, K>(at) with the starts of K vectors, until every i < n is covered: kMost at a time, so that each has
// something to do while another waits. With `again` the last is moved back to end at n, and visits some i twice.
template <class L, int kMost, class F>
inline __attribute__((always_inline)) void cover(i64 n, bool again, F&& f) {
  constexpr i64 lanes = kVectorBytes / sizeof(L);
  using V = Vector<L, kVectorBytes>;
  i64 i = 0;
  for (const i64 full = n < lanes ? 0 : again ? n : n / lanes * lanes; i < full;) {
    const i64 left = (full - i + lanes - 1) / lanes;
    i64 at[kMost];
    for (i64 k = 0; k < kMost; ++k) at[k] = min_of(i + k * lanes, full - lanes);
    // Where nothing may be visited twice no group may be larger than what is left.
    const i64 spare = again ? 1 : 0;
    if (kMost == 8 && left >= 8 - spare) f.template operator()<V, kMost>(at), i += kMost * lanes;
    else if (left >= 4 - spare) f.template operator()<V, 4>(at), i += 4 * lanes;
    else if (left >= 2) f.template operator()<V, 2>(at), i += 2 * lanes;
    else f.template operator()<V, 1>(at), i += lanes;
  }
  if (i < n)
    sweep<L, true>(n - i, again, [&]<class Part>(i64 k) __attribute__((always_inline)) {
      const i64 at = i + k;
      f.template operator()<Part, 1>(&at);
    });
}

// Bump allocator over one block of scratch; with a null base it only counts.
struct Scratch {
  char* base;
  u64 used = 0;

  template <class T>
  T* take(i64 n) {
    const u64 at = used;
    used += (static_cast<u64>(n) * sizeof(T) + 63) / 64 * 64;
    return base ? reinterpret_cast<T*>(base + at) : nullptr;
  }
};

}  // namespace
}  // namespace poolwise
