// max and min: which of two elements a window keeps, with or without its position.
#pragma once

#include "blocks.hpp"
#include "groups.hpp"
#include "tall.hpp"

namespace poolwise {
namespace {

// Compiling each of max, min, signed, unsigned, magnitude for each dtype took minutes, so one family per lane type
// serves them all: elements are masked as they are read, (x & keep) ^ flip, so that the greatest is wanted; and
// masked back as they are written.
//   integers  flip all bits for min (complement reverses the order), and the sign bit too where unsigned
//   floats    flip the sign bit for min; keep all but the sign bit for the greatest magnitude
struct Masks {
  u64 keep, flip;
  int infinity;  // of a 16-bit float format
};

inline Masks masks_for(const Problem& pb) {
  const u64 sign = 1ull << (8 * dtype_bytes(pb.in) - 1);
  Masks m{~0ull, 0, pb.in == Dtype::f16 ? F16::kInfinity : BF16::kInfinity};
  if (is_float(pb.in)) {
    if (pb.op == Op::lp) m.keep = ~sign;
    if (pb.op == Op::min) m.flip = sign;
  } else {
    const bool has_sign = pb.in == Dtype::i8 || pb.in == Dtype::i16 || pb.in == Dtype::i32 || pb.in == Dtype::i64;
    if (pb.op == Op::min) m.flip = ~0ull;
    if (!has_sign) m.flip ^= sign;
  }
  return m;
}

// An Order says whether `x` replaces `kept`, an earlier element of the window. The comparison is strict, so the first
// of equal elements stays (and with it the sign of zero); a NaN replaces anything but an earlier NaN. The same text
// serves scalars and vectors.
//
// Most arrays hold nothing special: no NaN, and for half types, or where columns come first, no negative zero. There one
// instruction takes the greater (kHasPlain): inspect() looks at each row first, which costs a tenth of what it saves.
template <class L>
struct IntegerOrder {
  using Lane = L;
  using Bits = L;
  using Narrow = typename Choose<sizeof(L) == 1, std::uint8_t, std::uint16_t>::type;
  using Wide = typename Choose<sizeof(L) == 4, std::uint32_t, u64>::type;
  using Unsigned = typename Choose<sizeof(L) <= 2, Narrow, Wide>::type;
  static constexpr bool kHasPlain = false, kZeroIsSpecial = false;
  template <class V>
  static inline __attribute__((always_inline)) V greater(V kept, V x) { return greater_of<L>(kept, x); }
  static inline __attribute__((always_inline)) auto replaces(auto kept, auto x, int) { return x > kept; }
  static Bits least(int) { return static_cast<Bits>(1ull << (8 * sizeof(L) - 1)); }
  static L nan(int) { return L{}; }  // there is none
};

template <class L, class B>
struct FloatOrder {
  using Lane = L;
  using Bits = B;
  static constexpr bool kHasPlain = true, kZeroIsSpecial = false;
  // The machine's max is `x > kept ? x : kept`: the first of two equal zeros stays.
  template <class V>
  static inline __attribute__((always_inline)) V greater(V kept, V x) {
#if defined(__AVX512F__)
    if constexpr (sizeof(V) == 64 && sizeof(L) == 4) return (V)_mm512_maskz_max_ps(0xffff, (__m512)x, (__m512)kept);
    else if constexpr (sizeof(V) == 64) return (V)_mm512_maskz_max_pd(0xff, (__m512d)x, (__m512d)kept);
    else
#endif
#if defined(__AVX2__)
    if constexpr (sizeof(V) == 32 && sizeof(L) == 4) return (V)_mm256_max_ps((__m256)x, (__m256)kept);
    else if constexpr (sizeof(V) == 32) return (V)_mm256_max_pd((__m256d)x, (__m256d)kept);
    else
#endif
    return x > kept ? x : kept;
  }
  template <class V>
  static inline __attribute__((always_inline)) V plain(V v) { return v; }
  // `least` is that of signed numbers with these bits, of which a negative zero is the least there is; or 0.
  static bool special(Bits largest, Bits least, int) {
    constexpr Bits infinity = sizeof(L) == 4 ? static_cast<Bits>(0x7f800000) : static_cast<Bits>(0x7ff0000000000000);
    return largest > infinity || least == static_cast<Bits>(1ull << (8 * sizeof(L) - 1));
  }
  static Bits least(int) { return __builtin_bit_cast(Bits, static_cast<L>(-__builtin_inf())); }
  static L nan(int) { return static_cast<L>(__builtin_nan("")); }
  static inline __attribute__((always_inline)) auto replaces(auto kept, auto x, int) { return (!(x <= kept)) & (kept == kept); }
};

// Half types compare as 16-bit integers: no conversion, and twice the lanes of float. The key is the signed magnitude
// (so both zeros are 0), and one value above everything for all NaN.
struct HalfOrder {
  using Lane = std::int16_t;
  using Bits = std::int16_t;
  static constexpr bool kHasPlain = true, kZeroIsSpecial = true;
  template <class V>
  static inline __attribute__((always_inline)) V greater(V kept, V x) { return greater_of<Lane>(kept, x); }
  // Integers in the order of the numbers, and back.
  template <class V>
  static inline __attribute__((always_inline)) V plain(V v) { return v ^ ((v >> 15) & 0x7fff); }
  static bool special(Bits largest, Bits least, int infinity) { return largest > infinity || least == -0x8000; }
  static Bits least(int infinity) { return static_cast<Bits>(infinity | 0x8000); }
  static Lane nan(int infinity) { return static_cast<Lane>(infinity | 1); }
  static inline __attribute__((always_inline)) auto key(auto v, int infinity) {
    using V = decltype(v);
    const V magnitude = v & 0x7fff;
    const V negative = v >> 15;
    const V value = (magnitude ^ negative) - negative;
    const V nan = magnitude | 0x7fff;
    return magnitude > static_cast<Lane>(infinity) ? nan : value;
  }
  static inline __attribute__((always_inline)) auto replaces(auto kept, auto x, int infinity) {
    return key(x, infinity) > key(kept, infinity);
  }
};

// How two elements are compared: by the definition whatever they are; by one instruction where nothing special is near; or so
// as they lie in memory, unmasked: the greatest number, or the greatest of integers without a sign.
enum class Mode { exact, plain, bare };

struct NoPosition {};

// P: the lane type in which positions are kept while reducing, as wide as the value's lanes, so that one comparison mask
// serves both; or NoPosition. With AVX-512, where masks have no width, positions of float32 may be bytes.
template <class Order, class P>
struct CompareFamily {
  using Lane = typename Order::Lane;
  using Element = Lane;
  static constexpr bool kPositions = !same<P, NoPosition>, kBytePositions = kPositions && sizeof(P) < sizeof(Lane);
  static constexpr bool kVectors = true;
  static constexpr bool kMayPrepare = true;
  static constexpr i64 kLongWindow = 32;
  // By columns the first of equal elements need not stay: only where all equals have the same bits.
  static constexpr bool kByColumns = !kPositions, kPairs = !kPositions;
  static constexpr bool kRepeats = true;  // an element may be combined twice
  static constexpr i64 kFarthestPick = 2 * kVectorBytes / sizeof(Lane);

  struct Row {
    static constexpr bool runs() { return true; }  // rows that follow each other may be taken as one
    Lane* value;
    P* position;
    Row at(i64 n) const {
      if constexpr (kPositions) return {value + n, position + n}; else return {value + n, nullptr};
    }
    Row line(i64 n) const { return at(n); }
    bool is(Row other) const { return value == other.value; }
  };

  explicit CompareFamily(const Problem& pb) : pb(pb), masks(masks_for(pb)), inspects(kInspects && worth_inspecting()) {
    gathers = pb.inner_stride != 1 || (pb.inner == 1 && pb.axes[pb.n_axes - 1].stride_in != 1);
    bare = masks.keep == ~0ull && masks.flip == (Order::kHasPlain ? 0 : 1ull << (8 * sizeof(Lane) - 1));
  }

  // What loses against everything but its own equal.
  Lane nothing() const {
    using Bits = typename Order::Bits;
    if (pb.op == Op::lp) return Lane{};
    const Bits least = Order::least(masks.infinity);
    return __builtin_bit_cast(Lane, static_cast<Bits>(least ^ static_cast<Bits>(masks.flip)));
  }

  // Whether an element has the bits of a result.
  bool same_bits(Lane x, Lane result) const {
    using Bits = typename Order::Bits;
    return __builtin_bit_cast(Bits, seen(x)) == __builtin_bit_cast(Bits, flipped(result));
  }

  Row take_row(Scratch& scratch, i64 n) const {
    Row row{scratch.take<Lane>(n), nullptr};
    if constexpr (kPositions) row.position = scratch.take<P>(n);
    return row;
  }

  void clear(Row row, i64 n) const {
    for (i64 i = 0; i < n; ++i) row.value[i] = nothing();
  }
  static void pick(Row from, i64 n, i64 size, i64 pitch, Row to) {
    pick_groups(from.value, n, size, pitch, to.value);
    if constexpr (kPositions) pick_groups(from.position, n, size, pitch, to.position);
  }

  static i64 element_size() { return 1; }
  bool prepares() const { return gathers; }

  __attribute__((noinline)) void prepare(const Element* from, i64 positions, Lane* to) const {
    const i64 stride = pb.axes[pb.n_axes - 1].stride_in;
    for (i64 p = 0; p < positions; ++p)
      for (i64 c = 0; c < pb.inner; ++c) *to++ = from[p * stride + c * pb.inner_stride];
  }

  template <class V>
  static inline __attribute__((always_inline)) V masked(V v, u64 keep, u64 flip) {
    using Bits = typename Order::Bits;
    using B = Like<Bits, V, Lane>;
    return __builtin_bit_cast(V, static_cast<B>((__builtin_bit_cast(B, v) & static_cast<Bits>(keep)) ^ static_cast<Bits>(flip)));
  }
  template <class V>
  inline __attribute__((always_inline)) V seen(V v) const { return masked(v, masks.keep, masks.flip); }
  // Partial results are kept as they will be written, so reading one back masks with `flip` alone.
  template <class V>
  inline __attribute__((always_inline)) V flipped(V v) const { return masked(v, ~0ull, masks.flip); }

  // take ? x : kept. For scalars without a branch: one was mispredicted at every edge of every row.
  template <class M, class V>
  static inline __attribute__((always_inline)) V chosen(M take, V x, V kept) {
    if constexpr (same<V, Lane>) {
      using Bits = typename Order::Bits;
      const Bits mask = static_cast<Bits>(-static_cast<Bits>(take));
      return __builtin_bit_cast(V, static_cast<Bits>((__builtin_bit_cast(Bits, x) & mask) | (__builtin_bit_cast(Bits, kept) & ~mask)));
    } else {
      return take ? x : kept;
    }
  }

  // What a value is compared as, and back.
  template <Mode kMode, class V>
  static inline __attribute__((always_inline)) V entered(V v, u64 keep, u64 flip) {
    if constexpr (kMode == Mode::exact) return masked(v, keep, flip);
    else if constexpr (kMode == Mode::plain) return Order::plain(masked(v, ~0ull, flip));
    else return turned(v);
  }
  template <Mode kMode, class V>
  static inline __attribute__((always_inline)) V left(V v, u64 flip) {
    if constexpr (kMode == Mode::exact) return masked(v, ~0ull, flip);
    else if constexpr (kMode == Mode::plain) return masked(Order::plain(v), ~0ull, flip);
    else return turned(v);
  }

  // Whether x takes the place of `kept`.
  template <Mode kMode, class V>
  static inline __attribute__((always_inline)) auto replaces(V kept, V x, int infinity) {
    if constexpr (kMode == Mode::exact) return Order::replaces(kept, x, infinity); else return x > kept;
  }

  template <Mode kMode, class V>
  static inline __attribute__((always_inline)) V better(V kept, V x, int infinity) {
    if constexpr (kMode == Mode::exact && Order::kHasPlain) return chosen(Order::replaces(kept, x, infinity), x, kept);
    else if constexpr (kMode == Mode::bare && !Order::kHasPlain) return greater_of<typename Order::Unsigned>(kept, x);
    else return Order::greater(kept, x);
  }

  // Keeps the better of two in each lane, and its position.
  template <Mode kMode, class V, class VP>
  static inline __attribute__((always_inline)) void keep(V& kept, VP& at, V x, VP there, int infinity) {
#if defined(__AVX512F__)
    if constexpr (same<Lane, float> && sizeof(V) == 64) {
      const auto one = (__m512)x, other = (__m512)kept;
      if constexpr (kMode == Mode::exact) {
        const __mmask16 take = _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(other, other, _CMP_ORD_Q), one, other, _CMP_NLE_UQ);
        kept = (V)_mm512_mask_mov_ps(other, take, one);
        at = taken(at, take, there);
      } else {
        const __mmask16 take = _mm512_cmp_ps_mask(one, other, _CMP_GT_OQ);
        kept = Order::greater(kept, x);
        at = taken(at, take, there);
      }
      return;
    } else
#endif
    {
      const auto take = replaces<kMode>(kept, x, infinity);
      kept = chosen(take, x, kept);
      at = take ? there : at;
    }
  }

#if defined(__AVX512F__)
  // take ? there : at, of float32's positions.
  template <class VP>
  static inline __attribute__((always_inline)) VP taken(VP at, __mmask16 take, VP there) {
    if constexpr (sizeof(VP) == 64) {
      return (VP)_mm512_mask_mov_epi32((__m512i)at, take, (__m512i)there);
    } else {
      __m128i old{}, now{};
      __builtin_memcpy(&old, &at, sizeof at);
      __builtin_memcpy(&now, &there, sizeof there);
      if constexpr (kBytePositions) old = _mm_mask_mov_epi8(old, take, now);
      else old = _mm_mask_mov_epi32(old, static_cast<__mmask8>(take), now);
      __builtin_memcpy(&at, &old, sizeof at);
      return at;
    }
  }
#endif

  // Calls f.operator()<Mode>() with the mode that the rows seen so far, and where kBare the operator, allow.
  template <bool kBare = false, class Body>
  inline __attribute__((always_inline)) void in_mode(Body&& body) const {
    if constexpr (kBare) {
      if (bare && (plain || !Order::kHasPlain)) return body.template operator()<Mode::bare>();
    }
    if constexpr (Order::kHasPlain) {
      if (plain) return body.template operator()<Mode::plain>();
    }
    body.template operator()<Mode::exact>();
  }

  static inline __attribute__((always_inline)) bool goes_past(const Lines& lines, Row dst, i64 n) {
    if constexpr (kPositions)
      if (!go_past(lines, dst.position, n)) return false;
    return go_past(lines, dst.value, n);
  }

  // How far ahead of where it writes a merge asks for memory: the processor sees each row of a strip begin anew.
  static i64 rows_ahead(i64 n, const Lines& lines) {
    return lines.to * ((kAhead / static_cast<i64>(sizeof(Lane)) - 1) / max_of(n, 1) + 1);
  }

  // K: number of sources where it is a compile-time constant, else 0. S: stride in the sources, 0 for a run-time one.
  template <Mode kMode, int S, int K>
  __attribute__((noinline)) void across_fixed(const Lane* const* sources, const i64* marks, int k, i64 n, i64 stride, Row dst,
                                              bool accumulate, Lines lines) const {
    // Copies that no store can alias stay in registers.
    const Masks masks = this->masks;
    const Lane* src[kGroup];
    const int many = K > 0 ? K : k;
    [[maybe_unused]] const i64 far = rows_ahead(n, lines);
    for (int s = 0; s < many; ++s) src[s] = sources[s];
    [[maybe_unused]] const Asks asks = asks_of<S>(sources, many, lines);
    [[maybe_unused]] typename Choose<kPositions, P, char>::type mark[kGroup];
    if constexpr (kPositions)
      for (int s = 0; s < many; ++s) mark[s] = static_cast<P>(marks[s]);
    auto flipped = [&]<class V>(V v) __attribute__((always_inline)) { return entered<kMode>(v, ~0ull, masks.flip); };
    auto body = [&]<bool kAsks, bool kPast, class V>(i64 i, auto lanes) __attribute__((always_inline)) {
      auto from = [&](const Lane* p) __attribute__((always_inline)) {
        V v;
        if constexpr (S == 0) v = V(p[i * stride]); else v = load_strided<S, V>(p + S * i, lanes);
        return entered<kMode>(v, masks.keep, masks.flip);
      };
      if constexpr (S > 0 && kAsks) fetch_ahead<S, V>(asks, src, many, S * i, lines.ahead);
      // Without positions this is also how rows are merged, which have nothing ahead.
      if constexpr (!kPositions && S == 1 && sizeof(V) >= 32 && !kAsks && !kPast) __builtin_prefetch(dst.value + far + i, 1);
      V kept = accumulate ? flipped(load<V>(dst.value + i, lanes)) : from(src[0]);
      if constexpr (!kPositions) {
        if constexpr (K > 0) {
#pragma GCC unroll 8
          for (int s = 1; s < K; ++s) kept = better<kMode>(kept, from(src[s]), masks.infinity);
        } else {
          for (int s = accumulate ? 0 : 1; s < many; ++s) kept = better<kMode>(kept, from(src[s]), masks.infinity);
        }
        put(dst.value + i, left<kMode>(kept, masks.flip), lanes, kPast);
      } else {
        using VP = Like<P, V, Lane>;
        VP at = accumulate ? load<VP>(dst.position + i, lanes) : static_cast<VP>(VP{} + mark[0]);
#pragma GCC unroll 8
        for (int s = accumulate ? 0 : 1; s < many; ++s) keep<kMode>(kept, at, from(src[s]), static_cast<VP>(VP{} + mark[s]), masks.infinity);
        put(dst.value + i, left<kMode>(kept, masks.flip), lanes, kPast);
        put(dst.position + i, at, lanes, kPast);
      }
    };
    // A loop for each: what asking needs in registers costs those that do not ask as much as their work.
    auto all = [&]<bool kAsks, bool kPast>() __attribute__((always_inline)) {
      for (i64 l = 0; l < lines.count; ++l) {
        if constexpr (kPast) {
          for (i64 i = 0; i < n; i += kVectorBytes / static_cast<i64>(sizeof(Lane)))
            body.template operator()<kAsks, true, Vector<Lane, kVectorBytes>>(i, All{});
        } else {
          // What was kept already is not replaced by the same sources again.
          sweep<Lane, S != 0 && kVectors>(n, true, [&]<class V>(i64 i, auto lanes) __attribute__((always_inline)) { body.template operator()<kAsks, false, V>(i, lanes); });
        }
        dst = dst.line(lines.to);
        for (int s = 0; s < many; ++s) src[s] += lines.from;
      }
    };
    if constexpr (S == 0) {
      all.template operator()<false, false>();
    } else if (goes_past(lines, dst, n)) {
      if (asks != Asks::none) all.template operator()<true, true>(); else all.template operator()<false, true>();
    } else {
      if (asks != Asks::none) all.template operator()<true, false>(); else all.template operator()<false, false>();
    }
  }

  template <int S>
  void across(const Lane* const* src, const i64* marks, int k, i64 n, i64 stride, Row dst, bool accumulate,
              Lines lines = {1, 0, 0}) const {
    in_mode<!kPositions>([&]<Mode kMode>() __attribute__((always_inline)) {
      if constexpr (kBytePositions && S > 0) {
        if (k == 2 && !accumulate) return across_fixed<kMode, S, 2>(src, marks, k, n, stride, dst, false, lines);
        if (k == 3 && !accumulate) return across_fixed<kMode, S, 3>(src, marks, k, n, stride, dst, false, lines);
        if (k == 5 && !accumulate && S == 1) return across_fixed<kMode, S, S == 1 ? 5 : 0>(src, marks, k, n, stride, dst, false, lines);
      }
      if constexpr (!kPositions && S > 0) {
        if (k == 2 && !accumulate) return across_fixed<kMode, S, 2>(src, marks, k, n, stride, dst, false, lines);
        if (k == 3 && !accumulate) return across_fixed<kMode, S, 3>(src, marks, k, n, stride, dst, false, lines);
        if (k == 4 && !accumulate) return across_fixed<kMode, S, 4>(src, marks, k, n, stride, dst, false, lines);
        if (k == 5 && !accumulate && S == 1) return across_fixed<kMode, S, S == 1 ? 5 : 0>(src, marks, k, n, stride, dst, false, lines);
        if (k == 8 && !accumulate && sizeof(Lane) == 4) return across_fixed<kMode, S, sizeof(Lane) == 4 ? 8 : 0>(src, marks, k, n, stride, dst, false, lines);
      }
      across_fixed<kMode, S, 0>(src, marks, k, n, stride, dst, accumulate, lines);
    });
  }

  void merge(const Row* rows, const i64* marks, int k, i64 n, Row dst, bool accumulate, Lines lines = {1, 0, 0}) const {
    if constexpr (!kPositions) {
      const Lane* src[kGroup] = {};
      for (int r = 0; r < k; ++r) src[r] = rows[r].value;
      // Masking twice with `keep` changes nothing.
      across<1>(src, marks, k, n, 1, dst, accumulate, lines);
    } else {
      in_mode([&]<Mode kMode>() __attribute__((always_inline)) {
        if constexpr (kBytePositions) {
          if (k == 2 && !accumulate) return merge_positions<kMode, 2>(rows, marks, k, n, dst, false, lines);
          if (k == 3 && !accumulate) return merge_positions<kMode, 3>(rows, marks, k, n, dst, false, lines);
          if (k == 5 && !accumulate) return merge_positions<kMode, 5>(rows, marks, k, n, dst, false, lines);
        }
        merge_positions<kMode, 0>(rows, marks, k, n, dst, accumulate, lines);
      });
    }
  }

  // Every second element.
  void merge_halves(const Row* rows, int k, i64 n, Row dst, Lines lines) const {
    const Lane* src[kGroup] = {};
    const i64 marks[kGroup] = {};
    for (int r = 0; r < k; ++r) src[r] = rows[r].value;
    across<2>(src, marks, k, n, 2, dst, false, lines);
  }

  // Where order does not matter.
  bool takes_pairs() const { return !Order::kHasPlain || (plain && (Order::kZeroIsSpecial || columns)); }

  template <Mode kMode, int K>
  __attribute__((noinline)) void pairs_fixed(const Lane* const* rows, int k, i64 n, Row dst, Lines lines) const {
    const Masks masks = this->masks;
    const Lane* src[kGroup];
    const int many = K > 0 ? K : k;
    for (int r = 0; r < many; ++r) src[r] = rows[r];
    const Asks asks = asks_of<2>(rows, many, lines);
    const bool past = goes_past(lines, dst, n);
    auto body = [&]<class V>(i64 i, auto lanes) __attribute__((always_inline)) {
      constexpr i64 wide = sizeof(V) / sizeof(Lane);
      auto from = [&](int r, i64 part) __attribute__((always_inline)) {
        V v;
        if constexpr (same<V, Lane>) v = src[r][2 * i + part];
        else v = load<V>(src[r] + 2 * i + part * wide, part_of(twice(lanes), part, wide));
        return entered<kMode>(v, masks.keep, masks.flip);
      };
      fetch_ahead<2, V>(asks, src, many, 2 * i, lines.ahead);
      V first = from(0, 0), second = from(0, 1);
#pragma GCC unroll 4
      for (int r = 1; r < many; ++r) {
        first = better<kMode>(first, from(r, 0), masks.infinity);
        second = better<kMode>(second, from(r, 1), masks.infinity);
      }
      V best;
      if constexpr (same<V, Lane>) best = better<kMode>(first, second, masks.infinity);
      else best = better<kMode>(every_other<0, Lane>(first, second), every_other<1, Lane>(first, second), masks.infinity);
      put(dst.value + i, left<kMode>(best, masks.flip), lanes, past);
    };
    for (i64 l = 0; l < lines.count; ++l) {
      sweep<Lane, kVectors>(n, true, body);
      dst = dst.line(lines.to);
      for (int r = 0; r < many; ++r) src[r] += lines.from;
    }
  }

  void across_pairs(const Lane* const* rows, int k, i64 n, Row dst, Lines lines) const {
    if constexpr (kPairs)
      in_mode<true>([&]<Mode kMode>() __attribute__((always_inline)) {
        if constexpr (kMode != Mode::exact || !Order::kHasPlain) {
          if (k == 2) return pairs_fixed<kMode, 2>(rows, k, n, dst, lines);
          pairs_fixed<kMode, 0>(rows, k, n, dst, lines);
        }
      });
  }

#if defined(__AVX2__)
  static constexpr bool kGroups = !kPositions && sizeof(Lane) == 1;
#else
  static constexpr bool kGroups = false;
#endif
  template <Mode kMode, class Pairs, int K>
  __attribute__((noinline)) void groups_fixed(const Lane* const* rows, int k, i64 n, Row dst, i64 ahead) const {
    const int many = K > 0 ? K : k;
    using V = typename Pairs::V;
    using Words = Vector<std::uint16_t, sizeof(V)>;
    const Masks masks = this->masks;
    sweep_pairs<Pairs>(n, [&](i64 o) __attribute__((always_inline)) {
      const i64 at = o * 2 * Pairs::kChannels;
      auto from = [&](int r) __attribute__((always_inline)) {
        ask_ahead<V>(rows[r] + at, ahead);
        return entered<kMode>((V)Pairs::read(rows[r] + at), masks.keep, masks.flip);
      };
      V best = from(0);
#pragma GCC unroll 4
      for (int r = 1; r < many; ++r) best = better<kMode>(best, from(r), masks.infinity);
      best = Pairs::arranged(best);
      best = better<kMode>(best, (V)((Words)best >> 8), masks.infinity);
      Pairs::write(dst.value + o * Pairs::kChannels, low_bytes<typename Pairs::N>((Words)left<kMode>(best, masks.flip)));
    });
  }
  bool across_groups(const Lane* const* rows, int k, i64 n, i64 channels, Row dst, i64 ahead) const {
    bool done = false;
    if constexpr (kGroups)
      in_mode<true>([&]<Mode kMode>() __attribute__((always_inline)) {
        done = with_byte_pairs<Lane>(channels, n, [&]<class Pairs>() {
          if (k == 2) groups_fixed<kMode, Pairs, 2>(rows, k, n, dst, ahead); else groups_fixed<kMode, Pairs, 0>(rows, k, n, dst, ahead);
        });
      });
    return done;
  }

  template <Mode kMode, int K>
  __attribute__((noinline)) void merge_positions(const Row* rows, const i64* marks, int k, i64 n, Row dst, bool accumulate,
                                                 Lines lines) const {
    const Masks masks = this->masks;
    const int many = K > 0 ? K : k;
    Row row[kGroup];
    P mark[kGroup];
    for (int r = 0; r < many; ++r) {
      row[r] = rows[r];
      mark[r] = static_cast<P>(marks[r]);
    }
    auto flipped = [&]<class V>(V v) __attribute__((always_inline)) { return entered<kMode>(v, ~0ull, masks.flip); };
    const i64 far = rows_ahead(n, lines);
    const bool past = goes_past(lines, dst, n);
    auto body = [&]<class V>(i64 i, auto lanes) __attribute__((always_inline)) {
      using VP = Like<P, V, Lane>;
      if (sizeof(V) >= 32 && !past) {
        __builtin_prefetch(dst.value + far + i, 1);
        __builtin_prefetch(dst.position + far + i, 1);
      }
      V kept = flipped(load<V>(accumulate ? dst.value + i : row[0].value + i, lanes));
      VP at = accumulate ? load<VP>(dst.position + i, lanes) : static_cast<VP>(load<VP>(row[0].position + i, lanes) + mark[0]);
#pragma GCC unroll 8
      for (int r = accumulate ? 0 : 1; r < many; ++r)
        keep<kMode>(kept, at, flipped(load<V>(row[r].value + i, lanes)), static_cast<VP>(load<VP>(row[r].position + i, lanes) + mark[r]), masks.infinity);
      put(dst.value + i, left<kMode>(kept, masks.flip), lanes, past);
      put(dst.position + i, at, lanes, past);
    };
    for (i64 l = 0; l < lines.count; ++l) {
      sweep<Lane, kVectors>(n, true, body);
      dst = dst.line(lines.to);
      for (int r = 0; r < many; ++r) row[r] = row[r].at(lines.from);
    }
  }

  // See Bands. A NaN is noticed on the way; half types, of which negative zeros are special too, go another way.
  static constexpr bool kBands = !kPositions && !same<Order, HalfOrder>;
  bool takes_bands() const { return pb.op != Op::lp; }
  void begin_bands() { nan = false; }
  bool end_bands() const { return !nan; }

  // Whether two vectors hold a NaN.
  struct Watch {
    bool seen = false;
    template <class V>
    inline __attribute__((always_inline)) void look(V a, V b) {
      if constexpr (Order::kHasPlain) {
#if defined(__AVX512F__)
        if constexpr (sizeof(V) == 64 && sizeof(Lane) == 4) mask |= _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_UNORD_Q);
        else if constexpr (sizeof(V) == 64) mask |= _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_UNORD_Q);
        else
#endif
        seen |= any_bit((a != a) | (b != b));
      }
    }
    unsigned mask = 0;
    bool any() const { return seen || mask != 0; }
  };

  template <class Body>
  inline __attribute__((always_inline)) void in_band_mode(Body&& body) const {
    if (bare) return body.template operator()<Mode::bare>();
    body.template operator()<Order::kHasPlain ? Mode::plain : Mode::exact>();
  }

  template <int K, int S, int R>
  void band_of_rows(const Lane* const* rows, i64 n, Row dst, const Band& band) {
    in_band_mode([&]<Mode kMode>() __attribute__((always_inline)) { band_of_rows_in<kMode, K, S, R>(rows, n, dst.value, band); });
  }
  template <Mode kMode, int K, int S, int R>
  __attribute__((noinline)) void band_of_rows_in([[maybe_unused]] const Lane* const* rows, [[maybe_unused]] i64 n, [[maybe_unused]] Lane* dst, [[maybe_unused]] const Band& given) {
#if defined(__AVX512F__)
    using V = Vector<Lane, kVectorBytes>;
    constexpr i64 lanes = kVectorBytes / sizeof(Lane);
    constexpr int many = (R - 1) * S + K;
    const Masks masks = this->masks;
    const Lane none = nothing();
    const i64 start = given.start, step = given.row, pitch = given.pitch, ahead = given.ahead;
    const bool past = given.past;
    // Rows of a band of several are all there.
    const Lane* row[K];
    if constexpr (R == 1)
      for (int r = 0; r < K; ++r) row[r] = rows[r];
    const Lane* const first_row = rows[0];
    Watch watch;
    constexpr int kReads = reads_of<K, S>;
    auto make = [&]<bool kInside>(i64 i, auto few, [[maybe_unused]] const u64* inside) __attribute__((always_inline)) {
      V h[many];
      const i64 q = start + S * i;
      const Lane* p = first_row + q;
#pragma GCC unroll 16
      for (int r = 0; r < many; ++r) {
        if constexpr (R == 1) p = row[r] + q; else if (r > 0) p = at_hand(p + step);
        V v[kReads];
#pragma GCC unroll 8
        for (int t = 0; t < kReads; ++t) {
          const i64 at = read_at<S, lanes>(t);
          if constexpr (kInside) v[t] = load<V>(p + at); else v[t] = load_marked<V>(p + at, inside[t], V{} + none);
          v[t] = entered<kMode>(held(v[t]), ~0ull, masks.flip);
        }
        if (r >= K - S) {
#pragma GCC unroll 2
          for (int s = 0; s < S; ++s) __builtin_prefetch(p + s * lanes + ahead);
        }
        if constexpr (S == 1) {
          watch.look(v[0], v[K - 1]);
          h[r] = v[0];
#pragma GCC unroll 8
          for (int t = 1; t < K; ++t) h[r] = better<kMode>(h[r], v[t], masks.infinity);
        } else {
          watch.look(v[0], v[3]);
          watch.look(v[1], v[1]);
          h[r] = better<kMode>(every_other<0, Lane>(v[0], v[1]), every_other<1, Lane>(v[0], v[1]), masks.infinity);
          h[r] = better<kMode>(h[r], every_other<0, Lane>(v[2], v[3]), masks.infinity);
        }
      }
      Lane* to = dst + i;
#pragma GCC unroll 8
      for (int l = 0; l < R; ++l) {
        V best = h[S * l];
#pragma GCC unroll 8
        for (int t = 1; t < K; ++t) best = better<kMode>(best, h[S * l + t], masks.infinity);
        if (l > 0) to = at_hand(to + pitch);
        if (!past) __builtin_prefetch(to + R * pitch, 1);
        put(to, left<kMode>(best, masks.flip), few, past);
      }
    };
    // Columns that a vector of outputs reads; of those that step by two one more than their windows see.
    constexpr i64 width = S == 1 ? lanes + K - 1 : 2 * lanes + 2;
    if (n < lanes) {
      make.template operator()<false>(0, Few{n}, given.first);
    } else {
      for (i64 i = 0, at; i < n; i += lanes) {
        at = min_of(i, n - lanes);
        if (start + S * at >= 0 && start + S * at + width <= given.size) {
          make.template operator()<true>(at, All{}, nullptr);
          continue;
        }
        u64 inside[kReads];
        const bool known = at == 0 || at == n - lanes;
        if (!known)
          for (int t = 0; t < kReads; ++t) inside[t] = columns_inside<lanes>(start + S * at + read_at<S, lanes>(t), given.size);
        make.template operator()<false>(at, All{}, at == 0 ? given.first : known ? given.last : inside);
      }
    }
    nan |= watch.any();
#endif
  }

  template <int K, int S, int R, int Many, class At>
  void band_of_channels(i64 tiles, At&& at, Row dst, const Band& band) {
    in_band_mode([&]<Mode kMode>() __attribute__((always_inline)) { band_of_channels_in<kMode, K, S, R, Many>(tiles, at, dst.value, band); });
  }
  template <Mode kMode, int K, int S, int R, int Many, class At>
  __attribute__((noinline)) void band_of_channels_in(i64 tiles, At at, Lane* dst, const Band& given) {
    constexpr int many = (R - 1) * S + K, columns = (Many - 1) * S + K;
    const Masks masks = this->masks;
    const i64 inner = given.size, pitch = given.pitch, ahead = given.ahead;
    const bool past = given.past;
    Watch watch;
    for (i64 tile = 0; tile < tiles; ++tile, dst += Many * inner) {
      sweep<Lane, true>(inner, true, [&]<class V>(i64 c, auto lanes) __attribute__((always_inline)) {
        V h[many][Many];
        at.begin(tile, c);
#pragma GCC unroll 16
        for (int r = 0; r < many; ++r) {
          if (r > 0) at.next_row();
          V x[columns];
#pragma GCC unroll 16
          for (int j = 0; j < columns; ++j) {
            const Lane* p = at.column(r, j);
            x[j] = entered<kMode>(held(load<V>(p, lanes)), ~0ull, masks.flip);
            if (r >= K - S && j >= K - S && sizeof(V) >= 16) __builtin_prefetch(p + ahead);
          }
#pragma GCC unroll 16
          for (int j = 0; j < columns; j += 2) watch.look(x[j], x[j + 1 < columns ? j + 1 : j]);
#pragma GCC unroll 16
          for (int p = 0; p < Many; ++p) {
            h[r][p] = x[S * p];
#pragma GCC unroll 8
            for (int t = 1; t < K; ++t) h[r][p] = better<kMode>(h[r][p], x[S * p + t], masks.infinity);
          }
          if (r >= K - 1 && (r - K + 1) % S == 0) {
            const int l = (r - K + 1) / S;
#pragma GCC unroll 16
            for (int p = 0; p < Many; ++p) {
              V best = h[S * l][p];
#pragma GCC unroll 8
              for (int t = 1; t < K; ++t) best = better<kMode>(best, h[S * l + t][p], masks.infinity);
              Lane* to = dst + l * pitch + p * inner + c;
              if constexpr (same<V, Lane>) *to = left<kMode>(best, masks.flip);
              else put(to, left<kMode>(best, masks.flip), lanes, past);
            }
          }
        }
      });
    }
    nan |= watch.any();
  }

  // Looks at elements that are about to be read, n from p on each line; where one is special, all that follows in this
  // strip is compared with care.
  static constexpr bool kInspects = Order::kHasPlain;
  void inspect(const Lane* p, i64 n, i64 count, i64 pitch) {
    if (Order::kZeroIsSpecial || columns) inspect_for<true>(p, n, count, pitch);
    else inspect_for<Order::kZeroIsSpecial>(p, n, count, pitch);
  }
  template <bool kZeros>
  __attribute__((noinline)) void inspect_for(const Lane* p, i64 n, i64 count, i64 pitch) {
    if constexpr (kInspects) {
      using Bits = typename Order::Bits;
      using V = Vector<Bits, kVectorBytes>;
      constexpr Bits magnitude = static_cast<Bits>(~(1ull << (8 * sizeof(Lane) - 1)));
      constexpr i64 lanes = kVectorBytes / sizeof(Lane);
      V most{}, least{};
      Bits most_one = 0, least_one = 0;
      auto look = [&]<class T>(T& most, T& least, T v) __attribute__((always_inline)) {
        const T size = v & magnitude;
        most = size > most ? size : most;
        if constexpr (kZeros) least = v < least ? v : least;
      };
      for (i64 l = 0; l < count; ++l, p += pitch) {
        if (n >= lanes) {
          for (i64 i = 0; i + lanes < n; i += lanes) look(most, least, load<V>(p + i));
          look(most, least, load<V>(p + n - lanes));
        } else {
#if defined(__AVX512F__)
          look(most, least, load<V>(p, Few{n}));
#else
          for (i64 i = 0; i < n; ++i) look(most_one, least_one, __builtin_bit_cast(Bits, p[i]));
#endif
        }
      }
      for (i64 l = 0; l < lanes; ++l) {
        most_one = most[l] > most_one ? most[l] : most_one;
        least_one = least[l] < least_one ? least[l] : least_one;
      }
      if (Order::special(most_one, least_one, masks.infinity)) plain = false;
    }
  }
  void begin() { plain = inspects; }
  void end() { plain = false; }
  bool takes_columns() {
    // Of float32 and float64 negative zeros have to be looked for, too.
    columns = !kInspects || (inspects && (Order::kZeroIsSpecial || comparisons() >= (sizeof(Lane) == 8 ? 3 : 6)));
    return columns;
  }

  // The greatest of many elements is the same in any order, but for NaN and for zeros of different signs. So it is taken
  // by one instruction an element, a NaN is noticed on the way, and where there was one, or a zero came out, the element
  // that is due is searched for in scan order.
  template <class V>
  struct Seen {
    using Bits = Like<typename Order::Bits, V, Lane>;
    Bits most{};
    inline __attribute__((always_inline)) void look(V v) {
      if constexpr (Order::kHasPlain) {
        const Bits size = __builtin_bit_cast(Bits, v) & static_cast<typename Order::Bits>(kMagnitude);
        most = size > most ? size : most;
      }
    }
    inline __attribute__((always_inline)) bool nan(int infinity) const {
      if constexpr (Order::kHasPlain) return any_bit(most > static_cast<typename Order::Bits>(Order::least(infinity) & kMagnitude));
      return false;
    }
  };
  static constexpr u64 kMagnitude = ~(1ull << (8 * sizeof(Lane) - 1));
  static constexpr Mode kQuick = Order::kHasPlain ? Mode::plain : Mode::exact;

  // Elements as one instruction compares them, and back.
  template <class V>
  static inline __attribute__((always_inline)) V turned(V v) {
    if constexpr (Order::kHasPlain) return Order::plain(v); else return v;
  }

  template <int By, class V>
  inline __attribute__((always_inline)) V folded_by(V v) const {
    if constexpr (By == 0) return v;
    else return folded_by<By / 2>(better<kQuick>(v, rotated<By>(v, typename CountTo<sizeof(V) / sizeof(Lane)>::type{}), masks.infinity));
  }
  template <class V>
  inline __attribute__((always_inline)) Lane greatest_lane(V v) const {
    if constexpr (sizeof(V) > 16) return greatest_lane(better<kQuick>(half_of<0, Lane>(v), half_of<1, Lane>(v), masks.infinity));
    else return folded_by<8 / sizeof(Lane)>(v)[0];
  }

  // In scan order the first element that `best`, as it is compared, does not replace; null where there is none.
  __attribute__((noinline)) const Lane* first_of(const Lane* p, Grid grid, Lane best) const {
    for (i64 r = 0; r < grid.rows; ++r, p += grid.row_pitch) {
      const Lane* q = p;
      for (i64 c = 0; c < grid.columns; ++c, q += grid.column_pitch)
        if (!Order::replaces(seen(*q), best, masks.infinity)) return q;
    }
    return nullptr;
  }

  // The element of a grid that is due where `best` is the greatest but for NaN, which may be among others than these.
  const Lane* due(const Lane* p, Grid grid, Lane best, bool nan) const {
    if constexpr (Order::kHasPlain) {
      if (nan) {
        if (const Lane* found = first_of(p, grid, Order::nan(masks.infinity))) return found;
      }
      const bool zero = !(Order::replaces(best, Lane{}, masks.infinity) | Order::replaces(Lane{}, best, masks.infinity));
      if (zero) return first_of(p, grid, best);
    }
    return nullptr;
  }

  // See Blocks.
  static constexpr bool kSettles = Order::kHasPlain, kMixesZeros = Order::kZeroIsSpecial;
  static constexpr i64 kRowBytes = sizeof(Lane);
  void begin_unordered() {
    nan = false;
    plain = kInspects;  // however rows are merged, they are settled then
  }

  template <Mode kMode>
  __attribute__((noinline)) bool down_in(const Lane* p, Grid grid, i64 n, Row dst, bool accumulate) const {
    const Masks masks = this->masks;
    bool nan = false;
    cover<Lane, 4>(n, true, [&]<class V, int K>(const i64* at, auto lanes) __attribute__((always_inline)) {
      V kept[K];
      Seen<V> watch;
      auto from = [&](const Lane* q) __attribute__((always_inline)) {
        const V v = masked(load<V>(q, lanes), masks.keep, masks.flip);
        if constexpr (kMode == Mode::exact) return v;
        watch.look(v);
        return turned(v);
      };
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) {
        const V v = from(p + at[k]);
        kept[k] = accumulate ? better<kMode>(entered<kMode>(load<V>(dst.value + at[k], lanes), ~0ull, masks.flip), v, masks.infinity) : v;
      }
      grid.rest(p, [&](const Lane* q) __attribute__((always_inline)) {
#pragma GCC unroll 4
        for (int k = 0; k < K; ++k) {
          fetch_in_turns<V>(q + at[k]);
          kept[k] = better<kMode>(kept[k], from(q + at[k]), masks.infinity);
        }
      });
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) store(dst.value + at[k], left<kMode>(kept[k], masks.flip), lanes);
      nan |= watch.nan(masks.infinity);
    });
    return nan;
  }

  void down(const Lane* p, Grid grid, i64 n, Row dst, bool accumulate, bool careful) {
    if (careful) {
      if constexpr (Order::kHasPlain) down_in<Mode::exact>(p, grid, n, dst, accumulate);
    } else {
      nan |= down_in<kQuick>(p, grid, n, dst, accumulate);
    }
  }

  // Whether results may not be the elements that are due. (A negative zero of a half type is: any other would have won.)
  bool unsettled(Row dst, i64 n) const {
    if constexpr (Order::kHasPlain) {
      if (nan) return true;
      bool zero = false;
      sweep<Lane, true>(n, true, [&]<class V>(i64 i, auto lanes) __attribute__((always_inline)) {
        const V v = masked(load<V>(dst.value + i, lanes), ~0ull, masks.flip);
        zero |= any_bit((V{} <= v) & (turned(v) <= V{}));
      });
      return zero;
    }
    return false;
  }

  void settle(const Lane* p, Grid grid, i64 n, Row dst) const {
    if constexpr (Order::kHasPlain) {
      for (i64 i = 0; i < n; ++i)
        if (const Lane* element = due(p + i, grid, flipped(dst.value[i]), nan)) dst.value[i] = flipped(seen(*element));
    }
  }

  // The greatest of a row in each window of an axis. May read a vector beyond the end of the row.
  __attribute__((noinline)) void fold(Row from, const Axis& axis, Row to) const {
    using V = Vector<Lane, kVectorBytes>;
    constexpr i64 lanes = kVectorBytes / sizeof(Lane);
    const Masks masks = this->masks;
    for (i64 o = 0; o < axis.n_out; ++o) {
      const Window w = window_at(axis, o);
      const Lane* row = from.value + w.start;
      auto read = [&](i64 i) __attribute__((always_inline)) { return turned(masked(load<V>(row + i), ~0ull, masks.flip)); };
      V kept = read(0);
      if (w.count < lanes) kept = lanes_from<Lane>(w.count, V{} + kept[0], kept);
      for (i64 i = lanes; i < w.count; i += lanes) kept = better<kQuick>(kept, read(min_of(i, w.count - lanes)), masks.infinity);
      to.value[o] = left<kQuick>(greatest_lane(kept), masks.flip);
    }
  }

  // read.operator()<V>(i) for 0 <= i < n: the greatest.
  template <class Read>
  inline __attribute__((always_inline)) Lane greatest(i64 n, Read&& read) const {
    constexpr i64 lanes = kVectorBytes / sizeof(Lane), few = 16 / sizeof(Lane);
    if (n >= lanes) {
      using V = Vector<Lane, kVectorBytes>;
      V kept[4];
      kept[0] = read.template operator()<V>(0);
      i64 i = lanes;
      if (n >= 4 * lanes) {
#pragma GCC unroll 4
        for (int k = 1; k < 4; ++k) kept[k] = read.template operator()<V>(k * lanes);
        for (i = 4 * lanes; i + 4 * lanes <= n; i += 4 * lanes) {
#pragma GCC unroll 4
          for (int k = 0; k < 4; ++k) kept[k] = better<kQuick>(kept[k], read.template operator()<V>(i + k * lanes), masks.infinity);
        }
#pragma GCC unroll 4
        for (int k = 3; k > 0; --k) kept[k - 1] = better<kQuick>(kept[k - 1], kept[k], masks.infinity);
      }
      for (; i + lanes <= n; i += lanes) kept[0] = better<kQuick>(kept[0], read.template operator()<V>(i), masks.infinity);
      if (i < n) kept[0] = better<kQuick>(kept[0], read.template operator()<V>(n - lanes), masks.infinity);
      return greatest_lane(kept[0]);
    }
    if (n >= few) {
      using V = Vector<Lane, 16>;
      V kept = read.template operator()<V>(0);
      for (i64 i = few; i + few <= n; i += few) kept = better<kQuick>(kept, read.template operator()<V>(i), masks.infinity);
      kept = better<kQuick>(kept, read.template operator()<V>(n - few), masks.infinity);
      return greatest_lane(kept);
    }
    Lane kept = read.template operator()<Lane>(0);
    for (i64 i = 1; i < n; ++i) kept = better<kQuick>(kept, read.template operator()<Lane>(i), masks.infinity);
    return kept;
  }

  // How often an element of x is compared.
  double comparisons() const {
    double each = 0, outputs = 1;  // per element of x
    for (int a = pb.n_axes - 1; a >= 0; --a) {
      const double stride = static_cast<double>(pb.axes[a].stride);
      each += outputs * static_cast<double>(pb.axes[a].radix - 1) / stride;
      outputs /= stride;
    }
    return each;
  }

  // Looking costs as much as one careful comparison: it pays where each element is compared several times. Careful comparisons
  // of half types cost twice as much.
  bool worth_inspecting() const { return pb.op != Op::lp && comparisons() >= (Order::kZeroIsSpecial ? 1 : 3); }

  // One contiguous window.
  __attribute__((noinline)) void segment(const Lane* p, i64 n, i64 mark, Row dst, bool accumulate) const {
    const Masks masks = this->masks;
    Seen<Vector<Lane, kVectorBytes>> wide;
    Seen<Vector<Lane, 16>> narrow;
    Seen<Lane> single;
    Lane best = turned(greatest(n, [&]<class V>(i64 i) __attribute__((always_inline)) {
      fetch_in_turns<V>(p + i);
      const V v = masked(load<V>(p + i), masks.keep, masks.flip);
      if constexpr (same<V, Lane>) single.look(v);
      else if constexpr (sizeof(V) == kVectorBytes) wide.look(v);
      else narrow.look(v);
      return turned(v);
    }));
    const bool nan = wide.nan(masks.infinity) || narrow.nan(masks.infinity) || single.nan(masks.infinity);
    const Grid line{1, 0, n, 1};
    const Lane* first = kPositions ? first_of(p, line, nan ? Order::nan(masks.infinity) : best) : due(p, line, best, nan);
    if (first) best = seen(*first);
    if (accumulate && !Order::replaces(flipped(*dst.value), best, masks.infinity)) return;
    *dst.value = flipped(best);
    if constexpr (kPositions) *dst.position = static_cast<P>(mark + (first - p));
  }

  const Problem& pb;
  Masks masks;
  bool columns = false;  // whether columns come first, where they may
  bool inspects;
  bool gathers;
  bool bare;           // whether elements are compared as they lie in memory, if nothing special is near
  bool plain = false;  // nothing special was seen since begin()
  bool nan = false;    // one was seen by down()
};

template <class Off, class P>
void store_offsets(const P* from, i64 n, void* to) {
  Off* off = static_cast<Off*>(to);
  for (i64 i = 0; i < n; ++i) off[i] = static_cast<Off>(from[i]);
}

// Offsets that lanes are too narrow for, of outputs at..at+n-1 of a plane: the element that was kept is the first with the
// bits of the result.
template <class F>
void find_offsets(const F& family, const typename F::Lane* x, const typename F::Lane* y, i64 at, i64 n, void* offsets) {
  const Problem& pb = family.pb;
  for (i64 e = at; e < at + n; ++e) {
    Window w[kMaxAxes];
    i64 j[kMaxAxes] = {}, rest = e / pb.inner, offset = 0;
    for (int a = pb.n_axes - 1; a >= 0; --a) {
      w[a] = window_at(pb.axes[a], rest % pb.axes[a].n_out);
      rest /= pb.axes[a].n_out;
    }
    for (int a = 0; a >= 0;) {
      i64 from = e % pb.inner * pb.inner_stride;
      offset = 0;
      for (a = 0; a < pb.n_axes; ++a) {
        from += (w[a].start + pb.axes[a].step * j[a]) * pb.axes[a].stride_in;
        offset += j[a] * pb.axes[a].offset_unit;
      }
      if (family.same_bits(x[from], y[e - at])) break;
      for (a = pb.n_axes - 1; a >= 0 && ++j[a] == w[a].count; --a) j[a] = 0;
    }
    switch (pb.offset_bytes) {
      case 1: static_cast<std::uint8_t*>(offsets)[e - at] = static_cast<std::uint8_t>(offset); break;
      case 2: static_cast<std::uint16_t*>(offsets)[e - at] = static_cast<std::uint16_t>(offset); break;
      case 4: static_cast<std::int32_t*>(offsets)[e - at] = static_cast<std::int32_t>(offset); break;
      default: static_cast<i64*>(offsets)[e - at] = offset;
    }
  }
}

template <class Order, class P>
i64 compare_forward(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  using F = CompareFamily<Order, P>;
  using Lane = typename F::Lane;
  F family(pb);
  Scratch scratch{memory};
  P* positions = nullptr;
  const i64 row_elements = pb.axes[pb.n_axes - 1].n_out * pb.inner;
  const i64 tile = pb.strip ? pb.block * pb.strip * pb.inner : pb.whole ? kPlanes : pb.tile * pb.axes[pb.split].out_block;
  // Positions go straight to the caller's array where its items are as wide as P.
  const bool direct = F::kPositions && static_cast<int>(sizeof(P)) == pb.offset_bytes;
  if constexpr (F::kPositions)
    if (!direct) positions = scratch.take<P>(tile);
  auto* y = static_cast<Lane*>(call.y);
  auto destination = [&](i64 at) {
    typename F::Row row{y + at, nullptr};
    if constexpr (F::kPositions) row.position = direct ? static_cast<P*>(call.offsets) + at : positions;
    return row;
  };
  auto finish = [&](const Lane* x, i64 at, i64 n, typename F::Row row) {
    char* offsets = static_cast<char*>(call.offsets) + at * pb.offset_bytes;
    if constexpr (F::kPositions) {
      if (direct) return;
      switch (pb.offset_bytes) {
        case 1: return store_offsets<std::uint8_t>(row.position, n, offsets);
        case 2: return store_offsets<std::uint16_t>(row.position, n, offsets);
        default: return store_offsets<std::int32_t>(row.position, n, offsets);
      }
    } else if (call.offsets) {
      find_offsets(family, x, row.value, at % pb.out_plane, n, offsets);
    }
  };
  if (pb.strip) {
    // Values and positions are the same distance apart, and those kept aside have no room between strips.
    const bool done = direct || (!F::kPositions && !call.offsets), whole = done || pb.strip * pb.inner == row_elements;
    return with_walk(pb, family, scratch, whole ? pb.block : 1, done, [&](auto& walk) {
      if (!memory) return static_cast<i64>(scratch.used);
      walk.run(
          call.x, begin, end,
          [&](i64 at, i64& pitch, i64, i64, i64) {
            pitch = row_elements;
            return destination(at);
          },
          [&](const Lane* x, i64, i64 rows, i64 at, i64 lo, i64 hi, typename F::Row row, i64, i64 = 1) {
            finish(x, at, rows * (hi - lo) * pb.inner, row);
          });
      end_stream(pb.streams);
      return i64{0};
    });
  }
  return with_general_walk(pb, family, scratch, F::kPositions || !call.offsets, !F::kPositions && !call.offsets, [&](auto& walk) {
    if (!memory) return static_cast<i64>(scratch.used);
    walk.run(call.x, begin, end, destination, [&](const Lane* x, const i64*, i64 at, i64 lo, i64 hi, typename F::Row row, i64 planes = 0) {
      finish(x, at, planes ? planes : (hi - lo) * pb.axes[pb.split].out_block, row);
    });
    return i64{0};
  });
}

template <class Order>
UnitFn compare_of(const Problem& pb, bool with_offsets) {
  using Lane = typename Order::Lane;
  if (!with_offsets || pb.offset_bytes > static_cast<int>(sizeof(Lane))) return compare_forward<Order, NoPosition>;
#if defined(__AVX512F__)
  if constexpr (same<Lane, float>)
    if (pb.offset_bytes == 1) return compare_forward<Order, std::uint8_t>;
#endif
  if constexpr (sizeof(Lane) == 8) return compare_forward<Order, i64>;
  else if constexpr (sizeof(Lane) == 1) return compare_forward<Order, std::uint8_t>;
  else if constexpr (sizeof(Lane) == 2) return compare_forward<Order, std::uint16_t>;
  else return compare_forward<Order, std::int32_t>;
}

}  // namespace
}  // namespace poolwise
