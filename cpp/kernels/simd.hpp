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

// Which lanes of a vector are read or written: all, or, where instructions can tell lanes apart, the first few.
struct All {};
struct Few {
  i64 count;
};

template <class V, class L>
inline __attribute__((always_inline)) V load(const L* p, All) { return load<V>(p); }
template <class V, class L>
inline __attribute__((always_inline)) void store(L* p, V v, All) { store(p, v); }

#if defined(__AVX512F__)
inline __attribute__((always_inline)) u64 mask_of(Few few) { return few.count >= 64 ? ~0ull : few.count <= 0 ? 0 : (1ull << few.count) - 1; }

// Nothing is there in the other lanes, which are zero.
template <class V, class L>
inline __attribute__((always_inline)) V load(const L* p, Few few) {
  const u64 mask = mask_of(few);
  if constexpr (sizeof(V) == 64) {
    if constexpr (sizeof(L) == 1) return (V)_mm512_maskz_loadu_epi8(mask, p);
    if constexpr (sizeof(L) == 2) return (V)_mm512_maskz_loadu_epi16(static_cast<__mmask32>(mask), p);
    if constexpr (sizeof(L) == 4) return (V)_mm512_maskz_loadu_epi32(static_cast<__mmask16>(mask), p);
    if constexpr (sizeof(L) == 8) return (V)_mm512_maskz_loadu_epi64(static_cast<__mmask8>(mask), p);
  } else if constexpr (sizeof(V) == 32) {
    if constexpr (sizeof(L) == 1) return (V)_mm256_maskz_loadu_epi8(static_cast<__mmask32>(mask), p);
    if constexpr (sizeof(L) == 2) return (V)_mm256_maskz_loadu_epi16(static_cast<__mmask16>(mask), p);
    if constexpr (sizeof(L) == 4) return (V)_mm256_maskz_loadu_epi32(static_cast<__mmask8>(mask), p);
  } else {
    __m128i v{};
    if constexpr (sizeof(L) == 1) v = _mm_maskz_loadu_epi8(static_cast<__mmask16>(mask), p);
    if constexpr (sizeof(L) == 2) v = _mm_maskz_loadu_epi16(static_cast<__mmask8>(mask), p);
    V few_lanes;
    __builtin_memcpy(&few_lanes, &v, sizeof few_lanes);
    return few_lanes;
  }
}

template <class V, class L>
inline __attribute__((always_inline)) void store(L* p, V v, Few few) {
  const u64 mask = mask_of(few);
  if constexpr (sizeof(V) == 64) {
    if constexpr (sizeof(L) == 1) _mm512_mask_storeu_epi8(p, mask, (__m512i)v);
    if constexpr (sizeof(L) == 2) _mm512_mask_storeu_epi16(p, static_cast<__mmask32>(mask), (__m512i)v);
    if constexpr (sizeof(L) == 4) _mm512_mask_storeu_epi32(p, static_cast<__mmask16>(mask), (__m512i)v);
    if constexpr (sizeof(L) == 8) _mm512_mask_storeu_epi64(p, static_cast<__mmask8>(mask), (__m512i)v);
  } else if constexpr (sizeof(V) == 32) {
    if constexpr (sizeof(L) == 1) _mm256_mask_storeu_epi8(p, static_cast<__mmask32>(mask), (__m256i)v);
    if constexpr (sizeof(L) == 2) _mm256_mask_storeu_epi16(p, static_cast<__mmask16>(mask), (__m256i)v);
    if constexpr (sizeof(L) == 4) _mm256_mask_storeu_epi32(p, static_cast<__mmask8>(mask), (__m256i)v);
  } else {
    __m128i wide{};
    __builtin_memcpy(&wide, &v, sizeof v);
    if constexpr (sizeof(L) == 1) _mm_mask_storeu_epi8(p, static_cast<__mmask16>(mask), wide);
    if constexpr (sizeof(L) == 2) _mm_mask_storeu_epi16(p, static_cast<__mmask8>(mask), wide);
  }
}
#endif

// Every second lane of two vectors: of the first the even ones, or with kOddFirst the odd ones, of the second so with kOddSecond.
template <bool kOddFirst, bool kOddSecond, class V, int... I>
inline __attribute__((always_inline)) V halved(V first, V second, Indices<I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(first, second, (2 * I < n ? 2 * I + kOddFirst : 2 * I + kOddSecond)...);
}
template <class L, bool kOddFirst, bool kOddSecond, class V>
inline __attribute__((always_inline)) V halved(V first, V second) {
  // Bytes: GCC 12 moves them by words and puts masks together. Two bytes: its one instruction is three to the processor.
#if defined(__AVX512F__)
  const __m512i in_order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  if constexpr (sizeof(V) == 64 && sizeof(L) == 1) {
    auto taken = [](bool odd, V v) __attribute__((always_inline)) {
      return odd ? _mm512_maskz_srli_epi16(~0u, (__m512i)v, 8) : _mm512_and_si512((__m512i)v, _mm512_set1_epi16(0xff));
    };
    return (V)_mm512_maskz_permutexvar_epi64(0xff, in_order, _mm512_packus_epi16(taken(kOddFirst, first), taken(kOddSecond, second)));
  }
  if constexpr (sizeof(V) == 64 && sizeof(L) == 2) {
    auto taken = [](bool odd, V v) __attribute__((always_inline)) {
      return odd ? _mm512_maskz_srli_epi32(0xffff, (__m512i)v, 16) : _mm512_and_si512((__m512i)v, _mm512_set1_epi32(0xffff));
    };
    return (V)_mm512_maskz_permutexvar_epi64(0xff, in_order, _mm512_packus_epi32(taken(kOddFirst, first), taken(kOddSecond, second)));
  }
#endif
#if defined(__AVX2__)
  if constexpr (sizeof(V) == 32 && sizeof(L) == 1) {
    auto taken = [](bool odd, V v) __attribute__((always_inline)) {
      return odd ? _mm256_srli_epi16((__m256i)v, 8) : _mm256_and_si256((__m256i)v, _mm256_set1_epi16(0xff));
    };
    return (V)_mm256_permute4x64_epi64(_mm256_packus_epi16(taken(kOddFirst, first), taken(kOddSecond, second)), 0xd8);
  }
  if constexpr (sizeof(V) == 32 && sizeof(L) == 2) {
    auto taken = [](bool odd, V v) __attribute__((always_inline)) {
      return odd ? _mm256_srli_epi32((__m256i)v, 16) : _mm256_and_si256((__m256i)v, _mm256_set1_epi32(0xffff));
    };
    return (V)_mm256_permute4x64_epi64(_mm256_packus_epi32(taken(kOddFirst, first), taken(kOddSecond, second)), 0xd8);
  }
#endif
  return halved<kOddFirst, kOddSecond>(first, second, typename CountTo<sizeof(V) / sizeof(L)>::type{});
}

// Every second lane of a sequence of two vectors, the last of which was read an element early.
template <class L, class V>
inline __attribute__((always_inline)) V every_second(V first, V last) { return halved<L, false, true>(first, last); }

// The even lanes of a sequence of two vectors, or the odd ones.
template <int Odd, class L, class V>
inline __attribute__((always_inline)) V every_other(V first, V second) { return halved<L, Odd, Odd>(first, second); }

// Of n lanes those that one part of a sequence of vectors has, `lanes` each, or all.
inline __attribute__((always_inline)) All part_of(All, i64, i64) { return {}; }
inline __attribute__((always_inline)) Few part_of(Few few, i64 part, i64 lanes) { return {few.count - part * lanes}; }
inline __attribute__((always_inline)) All twice(All) { return {}; }
inline __attribute__((always_inline)) Few twice(Few few) { return {2 * few.count}; }

// V of every element from p (S = 1), of every second (S = 2), or one element. Of every second, two vectors are read, the last
// an element early, so that nothing is read beyond the last lane: every tail can be a vector.
template <int S, class V, class L, class Lanes = All>
inline __attribute__((always_inline)) V load_strided(const L* p, [[maybe_unused]] Lanes lanes = {}) {
  static_assert(S <= 2);
  constexpr i64 n = sizeof(V) / sizeof(L);
  if constexpr (same<V, L>) {
    return *p;
  } else if constexpr (S == 1) {
    return load<V>(p, lanes);
  } else if constexpr (same<Lanes, Few>) {
    const i64 wanted = S * (lanes.count - 1) + 1;
    return every_second<L>(load<V>(p, Few{min_of(wanted, n)}), load<V>(p + n - 1, Few{wanted - (n - 1)}));
  } else if constexpr (n == 2) {
    return V{p[0], p[S]};
  } else {
    return every_second<L>(load<V>(p), load<V>(p + n - 1));
  }
}

// Calls f.operator()<V>(i, lanes) so that every i < n is covered: whole vectors of lanes L, then the first few lanes of one;
// or, where no instruction does that, 16-byte ones, then scalars. With `again` the last of several vectors is moved back to
// end at n, and visits some i twice. Only scalars if !kVectors.
template <class L, bool kVectors, class F>
inline __attribute__((always_inline)) void sweep(i64 n, bool again, F&& f) {
  i64 i = 0;
  if constexpr (kVectors && sizeof(L) <= 8) {
    if (n == 1) return f.template operator()<L>(0, All{});  // an edge
    constexpr i64 big = kVectorBytes / sizeof(L);
    if (n >= big) {
      for (;;) {
        f.template operator()<Vector<L, kVectorBytes>>(i, All{});
        i += big;
        if (i + big <= n) continue;
        if (i == n) return;
        if (!again) break;
        i = n - big;
      }
    }
#if defined(__AVX512F__)
    if (i < n) f.template operator()<Vector<L, kVectorBytes>>(i, Few{n - i});
#else
    constexpr i64 small = 16 / sizeof(L);
    if constexpr (big > small) {
      if (n - i >= small) {
        for (;;) {
          f.template operator()<Vector<L, 16>>(i, All{});
          i += small;
          if (i + small <= n) continue;
          if (i == n) return;
          if (!again) break;
          i = n - small;
        }
      }
    }
    for (; i < n; ++i) f.template operator()<L>(i, All{});
#endif
  } else {
    for (; i < n; ++i) f.template operator()<L>(i, All{});
  }
}

// The greater of two, lane by lane. (Written as a choice it is a comparison and a choice to GCC 12.)
template <class L, class V>
inline __attribute__((always_inline)) V greater_of(V a, V b) {
  [[maybe_unused]] constexpr bool has_sign = L(-1) < L(0);
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64) {
    const auto x = (__m512i)a, y = (__m512i)b;
    if constexpr (sizeof(L) == 1) return (V)(has_sign ? _mm512_maskz_max_epi8(~0ull, x, y) : _mm512_maskz_max_epu8(~0ull, x, y));
    if constexpr (sizeof(L) == 2) return (V)(has_sign ? _mm512_maskz_max_epi16(~0u, x, y) : _mm512_maskz_max_epu16(~0u, x, y));
    if constexpr (sizeof(L) == 4) return (V)(has_sign ? _mm512_maskz_max_epi32(0xffff, x, y) : _mm512_maskz_max_epu32(0xffff, x, y));
    if constexpr (sizeof(L) == 8) return (V)(has_sign ? _mm512_maskz_max_epi64(0xff, x, y) : _mm512_maskz_max_epu64(0xff, x, y));
  }
#endif
#if defined(__AVX2__)
  if constexpr (sizeof(V) == 32 && sizeof(L) <= 4) {
    const auto x = (__m256i)a, y = (__m256i)b;
    if constexpr (sizeof(L) == 1) return (V)(has_sign ? _mm256_max_epi8(x, y) : _mm256_max_epu8(x, y));
    if constexpr (sizeof(L) == 2) return (V)(has_sign ? _mm256_max_epi16(x, y) : _mm256_max_epu16(x, y));
    if constexpr (sizeof(L) == 4) return (V)(has_sign ? _mm256_max_epi32(x, y) : _mm256_max_epu32(x, y));
  }
#endif
  if constexpr (same<V, L>) {
    return b > a ? b : a;
  } else {
    using U = Vector<L, sizeof(V)>;
    const U x = (U)a, y = (U)b;
    return (V)(y > x ? y : x);
  }
}

constexpr i64 kLine = 64;  // bytes of a line of the caches

// What is asked for where memory is read from end to end, when the line at p is: a line of the next 16 KiB, of its four pages by
// turns, so that each is asked for once. A processor looks ahead within pages, in each that it sees reads in, and four of
// them together keep its memory busier than one: a fifth to a quarter more bytes a second.
inline __attribute__((always_inline)) const char* in_turns(const void* p) {
  constexpr u64 page = 4096, pages = 4, line = kLine, lines = page / line * pages;
  const u64 at = reinterpret_cast<u64>(p), number = at / line % lines;
  return reinterpret_cast<const char*>(at / (page * pages) * (page * pages) + page * pages + number % pages * page + number / pages * line);
}

// Asks so where a vector is about to be read from p; vectors of less than a line ask at its first.
template <class V, class L>
inline __attribute__((always_inline)) void fetch_in_turns(const L* p) {
  if constexpr (sizeof(V) >= 16)
    if (sizeof(V) >= kLine || reinterpret_cast<u64>(p) % kLine < sizeof(V)) __builtin_prefetch(in_turns(p));
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

// Left to itself the compiler keeps each p + c, of constants c or of rows, in a register of its own, and runs out of them.
template <class L>
inline __attribute__((always_inline)) L* at_hand(L* p) {
  asm("" : "+r"(p));
  return p;
}

// Calls f.operator()<V, K>(at, lanes) with the starts of K vectors, until every i < n is covered: kMost at a time, so that each has
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
    if (kMost == 8 && left >= 8 - spare) f.template operator()<V, kMost>(at, All{}), i += kMost * lanes;
    else if (left >= 4 - spare) f.template operator()<V, 4>(at, All{}), i += 4 * lanes;
    else if (left >= 2) f.template operator()<V, 2>(at, All{}), i += 2 * lanes;
    else f.template operator()<V, 1>(at, All{}), i += lanes;
  }
  if (i < n)
    sweep<L, true>(n - i, again, [&]<class Part>(i64 k, auto lanes) __attribute__((always_inline)) {
      const i64 at = i + k;
      f.template operator()<Part, 1>(&at, lanes);
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
