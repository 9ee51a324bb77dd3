// What the ways to find a median share: tiles of outputs, the elements of their windows, and the dtypes.
#pragma once

#include "half.hpp"
#include "kernels.hpp"

namespace poolwise {
namespace {

// A one-dimensional problem has one row.
constexpr Axis kOneRow{1, 0, 1, 1, 1, 1, 0, 1, 0, nullptr, 1, 0, 0, 0, 0, 0};

inline const Axis& columns_of(const Problem& pb) { return pb.axes[pb.n_axes - 1]; }
inline const Axis& rows_of(const Problem& pb) { return pb.n_axes > 1 ? pb.axes[pb.n_axes - 2] : kOneRow; }

struct Range {
  i64 begin, end;
};

// The positions from the first to the last that the windows of some outputs read.
inline Range spanned(const Axis& axis, Range outputs) {
  Range range{axis.size_in, 0};
  for (i64 o = outputs.begin; o < outputs.end; ++o) {
    const Window w = window_at(axis, o);
    range.begin = min_of(range.begin, w.start);
    range.end = max_of(range.end, last_position(axis, w) + 1);
    // Inside the uniform outputs only the first and the last matter.
    if (o > axis.first && o + 1 < axis.last && o + 1 < outputs.end) o = min_of(axis.last, outputs.end) - 2;
  }
  return range;
}

// The longest such range of any tile.
inline i64 longest_span(const Axis& axis, i64 tile) {
  i64 longest = 1;
  for (i64 o = 0; o < axis.n_out; o += tile) {
    const Range range = spanned(axis, {o, min_of(o + tile, axis.n_out)});
    longest = max_of(longest, range.end - range.begin);
  }
  return longest;
}

// A unit of work: outputs `rows` x `columns` x `inner` of the last two axes and the inner elements, one index on each
// earlier axis.
struct Tile {
  i64 outputs[kMaxAxes];
  Range rows, columns, inner;
  const void* x;  // the plane's start
  i64 y;          // the element of y of output 0 on the last two axes
};

template <class Body>
void for_each_tile(const Problem& pb, const Call& call, i64 begin, i64 end, Body&& body) {
  const MedianPlan& plan = pb.median;
  const Axis &rows = rows_of(pb), &columns = columns_of(pb);
  auto cut = [](i64 tile, i64 size, i64 n) { return Range{tile * size, min_of((tile + 1) * size, n)}; };
  Tile tile;
  for (i64 u = begin; u < end; ++u) {
    i64 rest = u;
    tile.inner = cut(rest % plan.inner_tiles, plan.inner, pb.inner);
    rest /= plan.inner_tiles;
    tile.columns = cut(rest % plan.column_tiles, plan.columns, columns.n_out);
    rest /= plan.column_tiles;
    tile.rows = cut(rest % plan.row_tiles, plan.rows, rows.n_out);
    rest /= plan.row_tiles;
    tile.y = 0;
    for (int a = pb.n_axes - 3; a >= 0; --a) {
      tile.outputs[a] = rest % pb.axes[a].n_out;
      tile.y += tile.outputs[a] * pb.axes[a].out_block;
      rest /= pb.axes[a].n_out;
    }
    tile.y += rest * pb.out_plane;
    tile.x = static_cast<const char*>(call.x) + batch_offset(pb, rest) * dtype_bytes(pb.in);
    body(tile);
  }
}

// Where in x the rows of windows start (elements from the plane's start), in scan order.
class RowList {
 public:
  RowList(const Problem& pb, Scratch& scratch) : pb_(pb), rows_(rows_of(pb)) {
    i64 most = 1;
    for (int a = 0; a < pb.n_axes - 2; ++a) most *= pb.axes[a].radix;
    outer = scratch.take<i64>(most);
    at = scratch.take<i64>(most * rows_.radix);
  }

  void enter(const Tile& tile) {
    n_outer = 1;
    outer[0] = 0;
    for (int a = 0; a < pb_.n_axes - 2; ++a) {
      const Axis& axis = pb_.axes[a];
      const Window w = window_at(axis, tile.outputs[a]);
      for (i64 e = n_outer - 1; e >= 0; --e)
        for (i64 j = w.count - 1; j >= 0; --j) outer[e * w.count + j] = outer[e] + (w.start + axis.step * j) * axis.stride_in;
      n_outer *= w.count;
    }
  }

  // The rows of the windows of one row of outputs.
  void list(i64 output) {
    const Window w = window_at(rows_, output);
    n = 0;
    for (i64 e = 0; e < n_outer; ++e)
      for (i64 j = 0; j < w.count; ++j) at[n++] = outer[e] + (w.start + rows_.step * j) * rows_.stride_in;
  }

  i64 *outer, *at;
  i64 n_outer = 1, n = 0;

 private:
  const Problem& pb_;
  const Axis& rows_;
};

// The elements of one window: `count` of each row of `rows`.
struct Elements {
  const void* x;
  const RowList* rows;
  i64 at, step, count;
};

inline Elements elements_of(const Problem& pb, const Tile& tile, const RowList& rows, i64 column, i64 inner) {
  const Axis& axis = columns_of(pb);
  const Window w = window_at(axis, column);
  return {tile.x, &rows, w.start * axis.stride_in + inner * pb.inner_stride, axis.step * axis.stride_in, w.count};
}

// What was among the elements read. A result is the definition's to the bit without a second look unless a window may
// hold NaN, or zeros of both signs, which are equal: the first in scan order is first in rank.
enum : unsigned { kSawNan = 1, kSawNegativeZero = 2, kSawZero = 4 };

inline bool both_zeros(unsigned seen) { return (seen & kSawNegativeZero) && (seen & kSawZero); }

template <class T>
constexpr bool kHalf = same<T, F16> || same<T, BF16>;
template <class T>
constexpr bool kFloat = kHalf<T> || same<T, float> || same<T, double>;

template <int Bytes>
struct UnsignedOf {
  using type = typename Choose<Bytes == 1, std::uint8_t, typename Choose<Bytes == 2, std::uint16_t, typename Choose<Bytes == 4,
      std::uint32_t, u64>::type>::type>::type;
};
template <class T>
using Bits = typename UnsignedOf<sizeof(T)>::type;

template <class T>
constexpr int kInfinityBits = same<T, F16> ? F16::kInfinity : BF16::kInfinity;

template <class T>
inline __attribute__((always_inline)) unsigned look(T v) {
  if constexpr (kFloat<T>) {
    constexpr Bits<T> sign = Bits<T>(1) << (8 * sizeof(T) - 1);
    const Bits<T> bits = __builtin_bit_cast(Bits<T>, v);
    bool nan;
    if constexpr (kHalf<T>) nan = (bits & ~sign) > kInfinityBits<T>; else nan = v != v;
    return (nan ? kSawNan : 0u) | (bits == sign ? kSawNegativeZero : 0u) | (bits == 0 ? kSawZero : 0u);
  } else {
    return 0;
  }
}

// Lanes in which a vector unit takes minima and maxima, ordered as the dtype but for NaN, which becomes the greatest.
// 32-bit integers are exact in double, which has a minimum on every instruction set.
template <class T>
using LaneOf = typename Choose<sizeof(T) == 1, std::uint8_t, typename Choose<kHalf<T> || sizeof(T) == 2, std::int16_t,
    typename Choose<same<T, float>, float, typename Choose<same<T, i64> || same<T, u64>, i64, double>::type>::type>::type>::type;

template <class T>
constexpr bool kSigned = !kFloat<T> && T(-1) < T(0);

template <class T>
struct SignOf {
  static constexpr bool value = kSigned<T>;
};
template <>
struct SignOf<F16> {
  static constexpr bool value = false;
};
template <>
struct SignOf<BF16> {
  static constexpr bool value = false;
};

template <class T>
inline __attribute__((always_inline)) LaneOf<T> to_lane(T v) {
  using L = LaneOf<T>;
  if constexpr (kHalf<T>) {
    const std::int16_t bits = static_cast<std::int16_t>(v.bits), key = static_cast<std::int16_t>(bits ^ ((bits >> 15) & 0x7fff));
    return (v.bits & 0x7fff) > kInfinityBits<T> ? std::int16_t(0x7fff) : key;
  } else if constexpr (same<T, float> || same<T, double>) {
    constexpr T infinity = static_cast<T>(__builtin_inf());
    return v < infinity ? v : infinity;
  } else if constexpr (sizeof(T) == 4) {
    return v;
  } else {
    constexpr bool flips = (sizeof(T) == 1) == SignOf<T>::value;
    return static_cast<L>(v ^ (flips ? static_cast<T>(T(1) << (8 * sizeof(T) - 1)) : T(0)));
  }
}

// The lanes of a vector of elements, of which these are the bits.
template <class T, class V>
inline __attribute__((always_inline)) auto lanes_of(V bits) {
  using L = Vector<LaneOf<T>, sizeof(V)>;
  const L v = (L)bits;
  if constexpr (kHalf<T>) {
    const L magnitude = v & 0x7fff, key = v ^ ((v >> 15) & 0x7fff);
    return magnitude > static_cast<std::int16_t>(kInfinityBits<T>) ? L{} + std::int16_t(0x7fff) : key;
  } else if constexpr (!kFloat<T>) {
    constexpr bool flips = (sizeof(T) == 1) == SignOf<T>::value;
    return v ^ static_cast<LaneOf<T>>(flips ? LaneOf<T>(1ull << (8 * sizeof(T) - 1)) : LaneOf<T>(0));
  } else {
    const L infinity = L{} + static_cast<T>(__builtin_inf());
    return v < infinity ? v : infinity;
  }
}

template <class T>
inline __attribute__((always_inline)) T from_lane(LaneOf<T> v) {
  if constexpr (kHalf<T>) {
    return {static_cast<std::uint16_t>(v ^ ((v >> 15) & 0x7fff))};
  } else if constexpr (kFloat<T> || sizeof(T) == 4) {
    return static_cast<T>(v);
  } else {
    constexpr bool flips = (sizeof(T) == 1) == SignOf<T>::value;
    return static_cast<T>(static_cast<T>(v) ^ (flips ? static_cast<T>(T(1) << (8 * sizeof(T) - 1)) : T(0)));
  }
}

// Unsigned keys, ordered as the dtype: both zeros are one, and NaN is the greatest.
template <class T>
using KeyOf = typename Choose<sizeof(T) == 8, u64, std::uint32_t>::type;

template <class T>
inline __attribute__((always_inline)) KeyOf<T> to_key(T v) {
  using K = KeyOf<T>;
  using B = Bits<T>;
  constexpr B sign = B(1) << (8 * sizeof(T) - 1);
  const B bits = __builtin_bit_cast(B, v);
  if constexpr (kFloat<T>) {
    if (look(v) & kSawNan) return ~K(0);
    if (bits == sign) return sign;
    return bits & sign ? static_cast<B>(~bits) : static_cast<B>(bits | sign);
  } else {
    return SignOf<T>::value ? static_cast<B>(bits ^ sign) : bits;
  }
}

template <class T>
inline T from_key(u64 key) {
  using B = Bits<T>;
  constexpr B sign = B(1) << (8 * sizeof(T) - 1);
  const B k = static_cast<B>(key);
  if constexpr (kFloat<T>) return __builtin_bit_cast(T, static_cast<B>(k & sign ? k ^ sign : ~k));
  else return __builtin_bit_cast(T, static_cast<B>(SignOf<T>::value ? k ^ sign : k));
}

// The mean of the two in the middle, rounded once; of integers to even.
template <class T>
inline __attribute__((always_inline)) T mean(T low, T high) {
  if constexpr (kHalf<T>) {
    return narrow<T>((widen(low) + widen(high)) * 0.5);
  } else if constexpr (kFloat<T>) {
    const T total = low + high;
    return __builtin_fabs(total) == static_cast<T>(__builtin_inf()) ? low / 2 + high / 2 : total / 2;
  } else {
    const T differ = low ^ high, floor = static_cast<T>((low & high) + (differ >> 1));
    return static_cast<T>(floor + (differ & floor & 1));
  }
}

// Rows of elements: `positions` of them, `step` apart, each with `inner` beside it. They are put one behind the other, and rows
// to_step apart.
struct Cells {
  i64 at, step, positions, inner, inner_stride;
  i64 rows = 1, row_step = 0, to_step = 0;
};

// One dtype's functions. Rows of lanes and keys are the types above.
struct Codec {
  void (*lanes)(const void* x, const Cells& cells, void* to, unsigned* seen);
  void (*gather_lanes)(const Elements& elements, void* to, i64 to_step, unsigned* seen);
  void (*gather_keys)(const Elements& elements, void* to, unsigned* seen);
  void (*finish)(const void* low, const void* high, i64 n, void* y, i64 to);  // high is null where it is low
  void (*finish_keys)(u64 low, u64 high, void* y, i64 to);
  void (*finish_at)(const void* x, i64 low, i64 high, void* y, i64 to);
  // Where the two in the middle lie, of which the values are known; twice the first NaN if there is any.
  void (*find)(const Elements& elements, double low, double high, i64* low_at, i64* high_at);
  double (*lane_value)(const void* lane);
  double (*key_value)(u64 key);
};

template <class T>
struct CodecOf {
  using L = LaneOf<T>;
  using K = KeyOf<T>;

  // What was seen follows from extremes, which vectors keep for nothing. V: the bits of elements.
  template <class V>
  struct Extremes {
    using B = Bits<T>;
    static constexpr B sign = B(1) << (8 * sizeof(T) - 1);
    V largest{}, nearest_zero = V{} + ~B(0), nearest_negative = V{} + ~B(0);

    inline __attribute__((always_inline)) void look(V bits) {
      const V magnitude = bits & static_cast<B>(~sign), flipped = bits ^ sign;
      largest = magnitude > largest ? magnitude : largest;
      nearest_zero = bits < nearest_zero ? bits : nearest_zero;
      nearest_negative = flipped < nearest_negative ? flipped : nearest_negative;
    }
    unsigned seen() const {
      constexpr B infinity = same<T, float> ? B(0x7f800000u) : same<T, double> ? B(0x7ff0000000000000ull) : B(kInfinityBits<T>);
      return (any_bit(largest > infinity) ? kSawNan : 0u) | (any_bit(nearest_negative == 0) ? kSawNegativeZero : 0u) |
             (any_bit(nearest_zero == 0) ? kSawZero : 0u);
    }
  };

  // Elements from p on, S apart, or `step` where S is 0. Nothing is read beyond the last.
  template <int S, class V, int... I>
  static inline __attribute__((always_inline)) V bits_at(const Bits<T>* p, [[maybe_unused]] i64 step, Indices<I...>) {
    constexpr int n = sizeof...(I);
    if constexpr (S == 3 && n >= 4) {
      const V first = __builtin_shufflevector(load<V>(p), load<V>(p + n), (3 * I < 2 * n ? 3 * I : 0)...);
      return __builtin_shufflevector(first, load<V>(p + 2 * n - 2), (3 * I < 2 * n ? I : 3 * I - n + 2)...);
    } else if constexpr (S == 1 || S == 2) {
      return load_strided<S, V>(p);
    } else {
      return V{p[I * step]...};
    }
  }

  // `rows` rows of n elements, `step` apart.
  template <int S>
  static unsigned copy_rows(const T* from, i64 step, i64 n, i64 rows, i64 row_step, L* to, i64 to_step) {
    unsigned seen = 0;
    const bool done = with_lanes<kVectorBytes>(n, [&]<class V>(V) __attribute__((always_inline)) {
      constexpr i64 lanes = sizeof(V) / sizeof(T);
      [[maybe_unused]] Extremes<V> extremes;
      for (i64 r = 0; r < rows; ++r, from += row_step, to += to_step) {
        const Bits<T>* p = reinterpret_cast<const Bits<T>*>(from);
        for (i64 i = 0; i < n; i += lanes) {
          i = min_of(i, n - lanes);
          const V bits = bits_at<S, V>(p + i * step, step, typename CountTo<lanes>::type{});
          if constexpr (kFloat<T>) extremes.look(bits);
          store(to + i, lanes_of<T>(bits));
        }
      }
      if constexpr (kFloat<T>) seen = extremes.seen();
    });
    if (done) return seen;
    for (i64 r = 0; r < rows; ++r, from += row_step, to += to_step)
      for (i64 i = 0; i < n; ++i) {
        if constexpr (kFloat<T>) seen |= look(from[i * step]);
        to[i] = to_lane(from[i * step]);
      }
    return seen;
  }

  // Calls f with a vector of the most lanes, in up to W bytes, that n elements fill; says whether there is one.
  template <int W, class F>
  static inline __attribute__((always_inline)) bool with_lanes(i64 n, F&& f) {
    if (n >= static_cast<i64>(W / sizeof(T))) return f(Vector<Bits<T>, W>{}), true;
    if constexpr (W > 16) return with_lanes<W / 2>(n, f); else return false;
  }

  static unsigned copy(const T* from, i64 step, i64 n, i64 rows, i64 row_step, L* to, i64 to_step) {
    if constexpr (!kFloat<T>) {
      if constexpr (sizeof(L) == sizeof(T)) {
        if (step == 2) return copy_rows<2>(from, 2, n, rows, row_step, to, to_step);
        if (step == 3) return copy_rows<3>(from, 3, n, rows, row_step, to, to_step);
      }
      for (i64 r = 0; r < rows; ++r, from += row_step, to += to_step) {
        if (step == 1)
          for (i64 i = 0; i < n; ++i) to[i] = to_lane(from[i]);
        else
          for (i64 i = 0; i < n; ++i) to[i] = to_lane(from[i * step]);
      }
      return 0;
    } else if (step == 1) {
      return copy_rows<1>(from, 1, n, rows, row_step, to, to_step);
    } else if (step == 2) {
      return copy_rows<2>(from, 2, n, rows, row_step, to, to_step);
    } else if (step == 3) {
      return copy_rows<3>(from, 3, n, rows, row_step, to, to_step);
    } else {
      return copy_rows<0>(from, step, n, rows, row_step, to, to_step);
    }
  }

  static void lanes(const void* x, const Cells& cells, void* to, unsigned* seen) {
    const T* from = static_cast<const T*>(x) + cells.at;
    L* lane = static_cast<L*>(to);
    if (cells.inner == 1) {
      *seen |= copy(from, cells.step, cells.positions, cells.rows, cells.row_step, lane, cells.to_step);
    } else if (cells.inner_stride == 1 && cells.step == cells.inner) {
      *seen |= copy(from, 1, cells.positions * cells.inner, cells.rows, cells.row_step, lane, cells.to_step);
    } else {
      for (i64 r = 0; r < cells.rows; ++r, from += cells.row_step, lane += cells.to_step)
        *seen |= copy(from, cells.inner_stride, cells.inner, cells.positions, cells.step, lane, cells.inner);
    }
  }

  template <class Body>
  static inline __attribute__((always_inline)) void each(const Elements& e, Body&& body) {
    for (i64 r = 0; r < e.rows->n; ++r) {
      const i64 start = e.rows->at[r] + e.at;
      const T* from = static_cast<const T*>(e.x) + start;
      for (i64 j = 0; j < e.count; ++j)
        if (!body(from[j * e.step], start + j * e.step)) return;
    }
  }

  static void gather_lanes(const Elements& e, void* to, i64 to_step, unsigned* seen) {
    L* lane = static_cast<L*>(to);
    unsigned found = 0;
    each(e, [&](T v, i64) __attribute__((always_inline)) {
      *lane = to_lane(v);
      lane += to_step;
      found |= look(v);
      return true;
    });
    *seen |= found;
  }

  static void gather_keys(const Elements& e, void* to, unsigned* seen) {
    K* key = static_cast<K*>(to);
    unsigned found = 0;
    each(e, [&](T v, i64) __attribute__((always_inline)) {
      *key++ = to_key(v);
      found |= look(v);
      return true;
    });
    *seen |= found;
  }

  static void finish(const void* low, const void* high, i64 n, void* to, i64 at) {
    const L *__restrict l = static_cast<const L*>(low), *__restrict h = static_cast<const L*>(high);
    T* __restrict y = static_cast<T*>(to) + at;
    if (!h)
      for (i64 i = 0; i < n; ++i) y[i] = from_lane<T>(l[i]);
    else
      for (i64 i = 0; i < n; ++i) y[i] = mean(from_lane<T>(l[i]), from_lane<T>(h[i]));
  }

  static void put(T low, T high, bool one, void* y, i64 to) { static_cast<T*>(y)[to] = one ? low : mean(low, high); }

  static void finish_keys(u64 low, u64 high, void* y, i64 to) { put(from_key<T>(low), from_key<T>(high), low == high, y, to); }

  static void finish_at(const void* x, i64 low, i64 high, void* y, i64 to) {
    const T* from = static_cast<const T*>(x);
    put(from[low], from[high], low == high, y, to);
  }

  static void find(const Elements& e, double low, double high, i64* low_at, i64* high_at) {
    if constexpr (kFloat<T>) {
      const i64 n = e.rows->n * e.count;
      i64 before_low = 0, before_high = 0, nan_at = 0;
      bool nan = false;
      each(e, [&](T t, i64 at) __attribute__((always_inline)) {
        const double v = widen(t);
        before_low += v < low;
        before_high += v < high;
        if (v == v) return true;
        nan_at = at;
        nan = true;
        return false;
      });
      *low_at = *high_at = nan_at;
      if (nan) return;
      i64 skip_low = (n - 1) / 2 - before_low, skip_high = n / 2 - before_high;
      each(e, [&](T t, i64 at) __attribute__((always_inline)) {
        const double v = widen(t);
        if (v == low && skip_low-- == 0) *low_at = at;
        if (v == high && skip_high-- == 0) *high_at = at;
        return skip_low >= 0 || skip_high >= 0;
      });
    }
  }

  static double lane_value(const void* lane) {
    if constexpr (kFloat<T>) return widen(from_lane<T>(*static_cast<const L*>(lane))); else return 1;
  }
  static double key_value(u64 key) {
    if constexpr (kFloat<T>) return widen(from_key<T>(key)); else return 1;
  }

  static Codec make() {
    return {lanes, gather_lanes, gather_keys, finish, finish_keys, finish_at, find, lane_value, key_value};
  }
};

inline Codec codec_for(Dtype t) {
  switch (t) {
    case Dtype::i8: return CodecOf<std::int8_t>::make();
    case Dtype::u16: return CodecOf<std::uint16_t>::make();
    case Dtype::i16: return CodecOf<std::int16_t>::make();
    case Dtype::u32: return CodecOf<std::uint32_t>::make();
    case Dtype::i32: return CodecOf<std::int32_t>::make();
    case Dtype::u64: return CodecOf<u64>::make();
    case Dtype::i64: return CodecOf<i64>::make();
    case Dtype::f16: return CodecOf<F16>::make();
    case Dtype::bf16: return CodecOf<BF16>::make();
    case Dtype::f32: return CodecOf<float>::make();
    case Dtype::f64: return CodecOf<double>::make();
    default: return CodecOf<std::uint8_t>::make();
  }
}

// Where results go: values to y, or the positions of the two in the middle to `middles`.
struct Results {
  const Problem& pb;
  const Call& call;
  const Codec& codec;
  bool positions;

  i64 place(const Tile& tile, i64 row, i64 column, i64 inner) const {
    return tile.y + row * rows_of(pb).out_block + column * pb.inner + inner;
  }

  void put_at(const void* x, i64 low, i64 high, i64 to) const {
    if (!positions) return codec.finish_at(x, low, high, call.y, to);
    std::uint32_t* middles = static_cast<std::uint32_t*>(call.offsets) + 2 * to;
    middles[0] = static_cast<std::uint32_t>(low);
    middles[1] = static_cast<std::uint32_t>(high);
  }

  // From the values of the two in the middle, which are wrong where there are NaN, and may be of either sign where 0.
  void look_again(const Elements& elements, double low, double high, i64 to) const {
    i64 low_at, high_at;
    codec.find(elements, low, high, &low_at, &high_at);
    put_at(elements.x, low_at, high_at, to);
  }
};

}  // namespace
}  // namespace poolwise
