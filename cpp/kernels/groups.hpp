// Groups of a few elements side by side, as the channels of pixels.
#pragma once

#include "lanes.hpp"

namespace poolwise {
namespace {

// Puts n groups of `size` lanes, `pitch` apart, one behind the other; `to` may be `from`. May read a vector beyond the last.
// pitch >= 2 * size, so that a write that is too long spoils nothing that is still to be read.
template <class L>
__attribute__((noinline)) void pick_groups(const L* from, i64 n, i64 size, i64 pitch, L* to) {
  constexpr i64 item = sizeof(L);
  const i64 bytes = size * item;
  i64 i = 0;
  auto last_for = [&](i64 width) { return n - (width + bytes - 1) / bytes; };  // where so many bytes can be written
  auto copy = [&]<class Word>(Word word) __attribute__((always_inline)) {
    for (const i64 last = last_for(sizeof word); i <= last; ++i) {
      __builtin_memcpy(&word, from + i * pitch, sizeof word);
      __builtin_memcpy(to + i * size, &word, sizeof word);
    }
  };
  // Several groups of one vector at once, where it holds them.
  [[maybe_unused]] auto shuffle = [&]<class V, class Index>(V, Index, auto&& shuffled) __attribute__((always_inline)) {
    constexpr i64 width = sizeof(V), places = width / static_cast<i64>(sizeof(Index)), part = sizeof(Index);
    const i64 many = (width - bytes) / (pitch * item) + 1;
    if (bytes > width || many < 2 || many * pitch * item < width) return;
    Index order[places] = {};
    for (i64 g = 0; g < many; ++g)
      for (i64 l = 0; l < bytes / part; ++l) order[g * bytes / part + l] = static_cast<Index>(g * pitch * item / part + l);
    const V index = load<V>(order);
    for (const i64 last = last_for(width); i <= last; i += many) store(to + i * size, shuffled(load<V>(from + i * pitch), index));
  };
#if defined(__AVX512F__)
  if constexpr (item == 4)
    shuffle(__m512i{}, std::int32_t{}, [](__m512i v, __m512i index) { return _mm512_maskz_permutexvar_epi32(0xffff, index, v); });
#endif
#if defined(__AVX2__)
  if constexpr (item <= 2) shuffle(__m128i{}, std::int8_t{}, [](__m128i v, __m128i index) { return _mm_shuffle_epi8(v, index); });
#endif
  if (bytes <= 4) copy(std::uint32_t{});
  else if (bytes <= 8) copy(u64{});
  else if (bytes <= 16) copy(Vector<u64, 16>{});
  else if (bytes <= 32) copy(Vector<u64, 32>{});
  else if (bytes <= 64) copy(Vector<u64, 64>{});
  for (; i < n; ++i) __builtin_memmove(to + i * size, from + i * pitch, static_cast<u64>(bytes));
}

#if defined(__AVX2__)
// Groups of C bytes that windows take in twos: vectors in which each 16 bytes hold whole groups, and of two neighbours the
// bytes that belong together lie together.
template <int C, class L>
struct BytePairs {
  static_assert(C >= 2 && C <= 4 && sizeof(L) == 1);
  using V = Vector<L, kVectorBytes>;
  using N = Vector<L, kVectorBytes / 2>;
  static constexpr i64 kChannels = C;
  static constexpr i64 kRead = C == 3 ? kVectorBytes / 4 * 3 : kVectorBytes, kMade = kRead / 2;  // bytes
  static constexpr i64 kOutputs = kMade / C;

  static inline __attribute__((always_inline)) V read(const L* p) {
    if constexpr (C != 3) return load<V>(p);
#if defined(__AVX512F__)
    else return load<V>(p, Few{kRead});
#else
    else return (V)_mm256_maskload_epi32(reinterpret_cast<const int*>(p), _mm256_setr_epi32(-1, -1, -1, -1, -1, -1, 0, 0));
#endif
  }

  static inline __attribute__((always_inline)) V arranged(V v) {
    constexpr char none = -1;
    const __m128i order = C == 2   ? _mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15)
                          : C == 3 ? _mm_setr_epi8(0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11, none, none, none, none)
                                   : _mm_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
#if defined(__AVX512F__)
    const __m512i threes = _mm512_setr_epi32(0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11);
    const __m512i apart = C == 3 ? _mm512_maskz_permutexvar_epi32(0xffff, threes, (__m512i)v) : (__m512i)v;
    return (V)_mm512_maskz_shuffle_epi8(~0ull, apart, _mm512_maskz_broadcast_i32x4(0xffff, order));
#else
    const __m256i apart = C == 3 ? _mm256_permutevar8x32_epi32((__m256i)v, _mm256_setr_epi32(0, 1, 2, 2, 3, 4, 5, 5)) : (__m256i)v;
    return (V)_mm256_shuffle_epi8(apart, _mm256_broadcastsi128_si256(order));
#endif
  }

  // Results, one of two neighbours each: of three channels without the room that arranged() left.
  static inline __attribute__((always_inline)) void write(L* p, N v) {
    if constexpr (C != 3) {
      store(p, v);
    } else {
      constexpr char none = -1;
      const __m128i order = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, none, none, none, none);
#if defined(__AVX512F__)
      const __m256i near = _mm256_shuffle_epi8((__m256i)v, _mm256_broadcastsi128_si256(order));
      store(p, (N)_mm256_permutevar8x32_epi32(near, _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 7, 7)), Few{kMade});
#else
      const __m128i near = _mm_shuffle_epi8((__m128i)v, order);
      __builtin_memcpy(p, &near, kMade);
#endif
    }
  }
};

// Calls f(o) so that each of n outputs is one of the Pairs::kOutputs from an o on, some of two; n is no less.
template <class Pairs, class F>
inline __attribute__((always_inline)) void sweep_pairs(i64 n, F&& f) {
  for (i64 o = 0; o < n; o += Pairs::kOutputs) f(min_of(o, n - Pairs::kOutputs));
}

// Calls f.operator()<BytePairs<channels, L>>() if there is such a thing, for n outputs; says whether.
template <class L, class F>
inline __attribute__((always_inline)) bool with_byte_pairs(i64 channels, i64 n, F&& f) {
  auto on = [&]<class Pairs>() __attribute__((always_inline)) {
    if (channels != Pairs::kChannels || n < Pairs::kOutputs) return false;
    f.template operator()<Pairs>();
    return true;
  };
  return on.template operator()<BytePairs<2, L>>() || on.template operator()<BytePairs<3, L>>() || on.template operator()<BytePairs<4, L>>();
}
#endif

}  // namespace
}  // namespace poolwise
