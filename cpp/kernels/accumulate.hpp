// Sums: the accumulators, and the family that walks with them. avg and lp are sums with another finish.
#pragma once

#include "blocks.hpp"
#include "groups.hpp"
#include "tall.hpp"

namespace poolwise {
namespace {

// Where finished results go as their sums are made, without a row of sums in between: y, and per column what to multiply a
// sum of doubles by, or to divide one of float64 or of int64 lanes by (int32 lanes: see quotient_scale; int16 and float lanes: both,
// see byte_quotients and half_quotients); kRoot: then comes the square root. `wrong` is set where a result is not what it should be: an
// integer that does not fit, a float64 that is not finite, a half type of which the sum is not known well enough (T::kUnsure).
// kLevel: the scales of all columns, and rows, are one, of which there is a vector.
template <class T, bool kRoot, class Acc, bool kLevel = false>
struct Finished {
  using Element = Storage<T>;
  static constexpr bool kDivides = same<T, double> || same<Acc, i64>, kShort = same<Acc, std::int16_t>;
  static constexpr bool kBoth = kShort || same<Acc, float>;
  static constexpr bool kMayBeLevel = !kDivides;  // where division is most of the work, a second loop would be for nothing
  static constexpr i64 kLeast = kVectorBytes;     // scales that are there, however few columns are
  using Scale = typename Choose<kShort, std::uint16_t, typename Choose<same<Acc, std::int32_t> || kBoth, float, double>::type>::type;
  using Level = Finished<T, kRoot, Acc, true>;
  Storage<T>* y;
  const Scale* scale;
  int* wrong;
  const Scale* divisor;  // where kBoth
  bool level;            // whether kLevel may be
  ByteDivision by;       // where kShort
  bool exact;            // whether products of sums are the quotients
  Finished at(i64 n) const { return {y + n, level ? scale : scale + n, wrong, !kBoth || level ? divisor : divisor + n, level, by, exact}; }
  Finished line(i64 n) const { return {y + n, scale, wrong, divisor, level, by, exact}; }
  Level as_level() const { return {y, scale, wrong, divisor, level, by, exact}; }
  // Whether rows that follow each other may be taken as one.
  bool runs() const { return kMayBeLevel && level; }

  template <class V, class Lanes>
  inline __attribute__((always_inline)) auto scales(i64 i, Lanes lanes) const { return load<Like<Scale, V, Acc>>(kLevel ? scale : scale + i, lanes); }
  template <class V, class Lanes>
  inline __attribute__((always_inline)) auto divisors(i64 i, Lanes lanes) const { return load<Like<Scale, V, Acc>>(kLevel ? divisor : divisor + i, lanes); }

  static Scale scale_of(double divisor, [[maybe_unused]] ByteDivision by) {
    if constexpr (kShort) return by.factor(static_cast<i64>(divisor));
    else if constexpr (same<Acc, std::int32_t>) return quotient_scale<T>(divisor);
    else return static_cast<Scale>(kDivides ? divisor : 1 / divisor);
  }
};

template <class A>
struct PlainSum {
  using Acc = A;
  // Running sums at once, beside the lanes: of one long sum, and of many.
  static constexpr int kChains = 4, kColumns = 8;
  struct Row {
    static constexpr bool runs() { return true; }
    Acc* sum;
    Row at(i64 n) const { return {sum + n}; }
    bool is(Row other) const { return sum == other.sum; }
    Row line(i64 n) const { return at(n); }
  };
  static Row take_row(Scratch& scratch, i64 n) { return {scratch.take<Acc>(n)}; }
  // What changes no sum; of zeros the one that leaves a negative zero as it is.
  static void clear(Row row, i64 n) {
    for (i64 i = 0; i < n; ++i) row.sum[i] = static_cast<Acc>(-0.0);
  }
  static void pick(Row from, i64 n, i64 size, i64 pitch, Row to) { pick_groups(from.sum, n, size, pitch, to.sum); }

  template <class V>
  struct State {
    static constexpr u64 kBytes = sizeof(V);
    V sum;
    inline __attribute__((always_inline)) void add(V x) { sum += x; }
    inline __attribute__((always_inline)) void add(State other) { sum += other.sum; }
    inline __attribute__((always_inline)) State<Acc> lane(int l) const {
      if constexpr (same<V, Acc>) return *this; else return {sum[l]};
    }
    template <int Half>
    inline __attribute__((always_inline)) auto half() const {
      auto part = half_of<Half, Acc>(sum);
      return State<decltype(part)>{part};
    }
    // Lanes from number `lane` on, or those before; nothing in the others.
    inline __attribute__((always_inline)) State beyond(i64 lane) const { return {lanes_from<Acc>(lane, sum, -V{})}; }
    inline __attribute__((always_inline)) State before(i64 lane) const { return {lanes_from<Acc>(lane, -V{}, sum)}; }
    // The even lanes of two, or the odd ones.
    template <int Odd>
    static inline __attribute__((always_inline)) State every_other_of(State a, State b) { return {every_other<Odd, Acc>(a.sum, b.sum)}; }
    static inline __attribute__((always_inline)) State from(V x) { return {x}; }
    template <int S = 1, class Lanes = All>
    static inline __attribute__((always_inline)) State from(Row r, i64 i, Lanes lanes = {}) { return {load_strided<S, V>(r.sum + S * i, lanes)}; }
    template <class Lanes = All>
    inline __attribute__((always_inline)) void to(Row r, i64 i, Lanes lanes = {}) const { store(r.sum + i, sum, lanes); }
    template <class T, bool kRoot, bool kLevel, class Lanes>
    inline __attribute__((always_inline)) void to(Finished<T, kRoot, Acc, kLevel> r, i64 i, Lanes lanes) const { store(r.y + i, result(r, i, lanes), lanes); }
    template <class T, bool kRoot, bool kLevel, class Lanes>
    inline __attribute__((always_inline)) auto result(Finished<T, kRoot, Acc, kLevel> r, i64 i, Lanes lanes) const {
      if constexpr (same<Acc, std::int16_t>) {
        return byte_quotients<T>(sum, r.template scales<V>(i, lanes), r.template divisors<V>(i, lanes), r.by);
      } else if constexpr (same<Acc, std::int32_t>) {
        return quotient_lanes<T, V, Acc>(sum, r.template scales<V>(i, lanes));
      } else if constexpr (same<Acc, i64>) {
        const auto scale = r.template scales<V>(i, lanes);
        const auto there = scale != 0;  // lanes that are not loaded are zero
        const V value = any_bit((scale != 1) & there) ? rounded_to_whole(whole_to_double(sum) / scale) : sum;
        const auto low = low_part<T>(value);
        if (any_bit((widen_lanes<T, V, Acc>(low) != value) & there)) __atomic_store_n(r.wrong, 1, __ATOMIC_RELAXED);
        return low;
      } else if constexpr (kRoot) {
        return root_lanes<T, V>(sum * r.template scales<V>(i, lanes));
      } else {
        return narrow_lanes<T, V, Acc>(sum * r.template scales<V>(i, lanes));
      }
    }
  };
};

// Two numbers for a sum: Way says which.
template <class Way>
struct PairOf {
  using Acc = typename Way::Acc;
  static constexpr int kChains = 2, kColumns = 4;
  struct Row {
    static constexpr bool runs() { return true; }
    Acc *high, *low;
    Row at(i64 n) const { return {high + n, low + n}; }
    bool is(Row other) const { return high == other.high; }
    Row line(i64 n) const { return at(n); }
  };
  static Row take_row(Scratch& scratch, i64 n) {
    Acc* high = scratch.take<Acc>(n);
    return {high, scratch.take<Acc>(n)};
  }
  static void clear(Row row, i64 n) {
    for (i64 i = 0; i < n; ++i) {
      row.high[i] = static_cast<Acc>(-0.0);
      row.low[i] = Way::template nothing<Acc>();
    }
  }
  static void pick(Row from, i64 n, i64 size, i64 pitch, Row to) {
    pick_groups(from.high, n, size, pitch, to.high);
    pick_groups(from.low, n, size, pitch, to.low);
  }

  template <class V>
  struct State {
    static constexpr u64 kBytes = sizeof(V);
    V high, low;
    inline __attribute__((always_inline)) void add(V x) { Way::add(high, low, x); }
    inline __attribute__((always_inline)) void add(State other) { Way::add(high, low, other.high, other.low); }
    inline __attribute__((always_inline)) State<Acc> lane(int l) const {
      if constexpr (same<V, Acc>) return *this; else return {high[l], low[l]};
    }
    template <int Half>
    inline __attribute__((always_inline)) auto half() const {
      auto part = half_of<Half, Acc>(high);
      return State<decltype(part)>{part, half_of<Half, Acc>(low)};
    }
    inline __attribute__((always_inline)) State beyond(i64 lane) const {
      return {lanes_from<Acc>(lane, high, -V{}), lanes_from<Acc>(lane, low, Way::template nothing<V>())};
    }
    inline __attribute__((always_inline)) State before(i64 lane) const {
      return {lanes_from<Acc>(lane, -V{}, high), lanes_from<Acc>(lane, Way::template nothing<V>(), low)};
    }
    template <int Odd>
    static inline __attribute__((always_inline)) State every_other_of(State a, State b) {
      return {every_other<Odd, Acc>(a.high, b.high), every_other<Odd, Acc>(a.low, b.low)};
    }
    static inline __attribute__((always_inline)) State from(V x) { return {Way::high_of(x), Way::low_of(x)}; }
    template <int S = 1, class Lanes = All>
    static inline __attribute__((always_inline)) State from(Row r, i64 i, Lanes lanes = {}) {
      return {load_strided<S, V>(r.high + S * i, lanes), load_strided<S, V>(r.low + S * i, lanes)};
    }
    template <class Lanes = All>
    inline __attribute__((always_inline)) void to(Row r, i64 i, Lanes lanes = {}) const {
      store(r.high + i, high, lanes);
      store(r.low + i, low, lanes);
    }
    template <class T, bool kLevel, class Lanes>
    inline __attribute__((always_inline)) void to(Finished<T, false, Acc, kLevel> r, i64 i, Lanes lanes) const { store(r.y + i, result(r, i, lanes), lanes); }
    template <class T, bool kLevel, class Lanes>
    inline __attribute__((always_inline)) auto result(Finished<T, false, Acc, kLevel> r, i64 i, Lanes lanes) const {
      bool wrong = false;
      const auto v = Way::template result<T, V>(high, low, r, i, lanes, wrong);
      if (wrong) *r.wrong = 1;
      return v;
    }
  };
};

// A sum in double with the exact rounding error of each addition summed beside it (Knuth's TwoSum): the error is below
// one unit in the last place plus n * 2^-104 * sum|x|.
struct Compensated {
  using Acc = double;
  template <class V>
  static inline __attribute__((always_inline)) V nothing() { return V{}; }
  template <class V>
  static inline __attribute__((always_inline)) V high_of(V x) { return x; }
  template <class V>
  static inline __attribute__((always_inline)) V low_of(V) { return V{}; }
  template <class V>
  static inline __attribute__((always_inline)) void add(V& high, V& low, V x) {
    const V sum = high + x, part = sum - high;
    low += (high - (sum - part)) + (x - part);
    high = sum;
  }
  template <class V>
  static inline __attribute__((always_inline)) void add(V& high, V& low, V x, V x_low) {
    add(high, low, x);
    low += x_low;
  }
  template <class T, class V, class Dst, class Lanes>
  static inline __attribute__((always_inline)) V result(V high, V low, Dst r, i64 i, Lanes lanes, bool& wrong) {
    wrong = any_bit(high - high != 0);
    return (high + low) / r.template scales<V>(i, lanes);
  }
};
using PairSum = PairOf<Compensated>;

// A sum of int64 as two, of the upper and of the lower halves, which do not overflow. Results are made of what fits: quotients of
// sums below 2^50, which double holds; others are to be made again.
struct Parted {
  using Acc = i64;
  static constexpr i64 kLower = 0xffffffff;
  template <class V>
  static inline __attribute__((always_inline)) V nothing() { return V{}; }
  template <class V>
  static inline __attribute__((always_inline)) V high_of(V x) { return x >> 32; }
  template <class V>
  static inline __attribute__((always_inline)) V low_of(V x) { return x & kLower; }
  template <class V>
  static inline __attribute__((always_inline)) void add(V& high, V& low, V x) { add(high, low, high_of(x), low_of(x)); }
  template <class V>
  static inline __attribute__((always_inline)) void add(V& high, V& low, V x_high, V x_low) {
    high += x_high;
    low += x_low;
  }
  template <class T, class V, class Dst, class Lanes>
  static inline __attribute__((always_inline)) V result(V high, V low, Dst r, i64 i, Lanes lanes, bool& wrong) {
    using U = Like<u64, V, i64>;
    const V top = high + (low >> 32), value = (V)((U)top << 32 | (U)(low & kLower));
    const auto scale = r.template scales<V>(i, lanes);
    const auto there = scale != 0;  // lanes that are not loaded are zero
    const bool divides = any_bit((scale != 1) & there);
    const i64 most = i64{1} << (divides ? 18 : 31);
    const auto far = ((top >= most) | (top < -most)) & there;
    wrong = any_bit(far);
    if (!divides) return value;
    return rounded_to_whole(whole_to_double(far ? V{} : value) / scale);
  }
};
using PartedSum = PairOf<Parted>;

#if defined(__AVX512F__)
// A sum of half types in float, rounded up and rounded down: what lies between is exact. Almost always both are the same, as 24
// bits hold a few elements of 8 or 11, or become the same when they are rounded to 8 or 11 again. Half the work of doubles.
struct Enclosed {
  using Acc = float;
  template <class V>
  static inline __attribute__((always_inline)) V nothing() { return -V{}; }
  template <class V>
  static inline __attribute__((always_inline)) V high_of(V x) { return x; }
  template <class V>
  static inline __attribute__((always_inline)) V low_of(V x) { return x; }
  template <class V>
  static inline __attribute__((always_inline)) void add(V& high, V& low, V x) { add(high, low, x, x); }
  template <class V>
  static inline __attribute__((always_inline)) void add(V& high, V& low, V x_high, V x_low) {
    high = add_rounded<_MM_FROUND_TO_POS_INF>(high, x_high);
    low = add_rounded<_MM_FROUND_TO_NEG_INF>(low, x_low);
  }
  template <class T, class V, class Dst, class Lanes>
  static inline __attribute__((always_inline)) auto result(V high, V low, Dst r, i64 i, Lanes lanes, bool& wrong) {
    const V factor = r.template scales<V>(i, lanes), divisor = r.template divisors<V>(i, lanes);
    auto quotients = [&](V sum) __attribute__((always_inline)) {
      return r.exact ? narrow_lanes<T, V, float>(sum * factor) : half_quotients<T>(sum, factor, divisor);
    };
    auto most = quotients(high);
    if (any_unequal(high, low)) {
      const auto differ = most != quotients(low);
      wrong = any_bit(differ);
      most = differ ? decltype(most){} + T::kUnsure : most;
    }
    return most;
  }
};
using EnclosedSum = PairOf<Enclosed>;
#endif

// What becomes of an element before it is summed.
enum class Term { plain, square, power };

struct Power {
  double p;
  int whole;  // p where it is an integer up to 64, else 0
  bool is_signed;

  explicit Power(const Problem& pb)
      : p(pb.p), whole(pb.p >= 1 && pb.p <= 64 && pb.p == static_cast<int>(pb.p) ? static_cast<int>(pb.p) : 0),
        is_signed(pb.is_signed) {}

  double operator()(double x) const {
    const double a = __builtin_fabs(x);
    double r;
    if (whole) {
      r = 1;
      double square = a;
      for (int n = whole; n; n >>= 1, square *= square)
        if (n & 1) r *= square;
    } else {
      r = p == 0.5 ? __builtin_sqrt(a) : __builtin_pow(a, p);
      if (x != x) r = x;
    }
    return is_signed && x < 0 ? -r : r;
  }
};

// Copies of a row as the accumulator wants it, by dtype.
template <class T, class Lane>
void copy_row(const Problem& pb, const unsigned char* bytes, i64 positions, Lane* to) {
  const T* from = reinterpret_cast<const T*>(bytes);
  const i64 stride = pb.axes[pb.n_axes - 1].stride_in, inner = pb.inner;
  auto lane = [](T v) {
    if constexpr (same<T, F16> || same<T, BF16>) return static_cast<Lane>(widen(v)); else return static_cast<Lane>(v);
  };
  if (pb.inner_stride == 1 && (stride == inner || positions == 1)) {
    for (i64 i = 0; i < positions * inner; ++i) to[i] = lane(from[i]);
    return;
  }
  for (i64 p = 0; p < positions; ++p)
    for (i64 c = 0; c < inner; ++c) *to++ = lane(from[p * stride + c * pb.inner_stride]);
}

template <class Lane>
using CopyFn = void (*)(const Problem&, const unsigned char*, i64, Lane*);

template <class Lane>
CopyFn<Lane> copy_for(Dtype t) {
  if constexpr (same<Lane, double>) {
    return t == Dtype::f16 ? copy_row<F16, double> : t == Dtype::bf16 ? copy_row<BF16, double>
           : t == Dtype::f32 ? copy_row<float, double> : copy_row<double, double>;
  } else if constexpr (same<Lane, i128>) {
    return t == Dtype::u64 ? copy_row<u64, i128> : copy_row<i64, i128>;
  } else {
    switch (t) {
      case Dtype::boolean:
      case Dtype::u8: return copy_row<std::uint8_t, i64>;
      case Dtype::i8: return copy_row<std::int8_t, i64>;
      case Dtype::u16: return copy_row<std::uint16_t, i64>;
      case Dtype::i16: return copy_row<std::int16_t, i64>;
      case Dtype::u32: return copy_row<std::uint32_t, i64>;
      default: return copy_row<std::int32_t, i64>;
    }
  }
}

// Rows of sums added up, whatever they are sums of.
template <class Sum>
struct SumRows {
  using Acc = typename Sum::Acc;
  using Row = typename Sum::Row;

  // What an element of the destination starts with: what it holds, if that is added to.
  template <class State, class Dst, class Lanes, class Make>
  static inline __attribute__((always_inline)) State first(Dst dst, i64 i, Lanes lanes, bool accumulate, Make&& make) {
    if constexpr (same<Dst, Row>) {
      if (accumulate) return State::from(dst, i, lanes);
    }
    return make();
  }

  // Writes n states that make.operator()<V>(i, lanes) makes; finished ones past the caches, where `past`.
  template <bool kVectors, class Dst, class Make>
  static inline __attribute__((always_inline)) void write(i64 n, Dst dst, bool again, bool past, Make&& make) {
    if constexpr (!same<Dst, Row>) {
      if constexpr (Dst::kMayBeLevel) {
        if (dst.level) return write_to<kVectors>(n, dst.as_level(), again, past, make);
      }
    }
    write_to<kVectors>(n, dst, again, past, make);
  }
  template <bool kVectors, class Dst, class Make>
  static inline __attribute__((always_inline)) void write_to(i64 n, Dst dst, bool again, [[maybe_unused]] bool past, Make&& make) {
    if constexpr (kVectors && !same<Dst, Row> && sizeof(Acc) <= 8) {
      if (past) {
        using V = Vector<Acc, kVectorBytes>;
        constexpr i64 lanes = kVectorBytes / sizeof(Acc);
        constexpr int parts = static_cast<int>(kLine / sizeof(*dst.y) / lanes);
        for (i64 i = 0; i < n; i += parts * lanes) {
          decltype(make.template operator()<V>(i, All{}).result(dst, i, All{})) line[parts];
#pragma GCC unroll 4
          for (int p = 0; p < parts; ++p) line[p] = make.template operator()<V>(i + p * lanes, All{}).result(dst, i + p * lanes, All{});
          put_all<typename Dst::Element, parts>(dst.y + i, line, true);
        }
        return;
      }
    }
    sweep<Acc, kVectors>(n, again, [&]<class V>(i64 i, auto lanes) __attribute__((always_inline)) { make.template operator()<V>(i, lanes).to(dst, i, lanes); });
  }
  template <class Dst>
  static inline __attribute__((always_inline)) bool goes_past(const Lines& lines, Dst dst, i64 n) {
    if constexpr (same<Dst, Row>) return false; else return go_past(lines, dst.y, n);
  }

  // S: stride in the rows.
  template <int S, int K, class Dst>
  __attribute__((noinline)) static void merge_fixed(const Row* rows, int k, i64 n, Dst dst, bool accumulate, Lines lines) {
    Row parts[kGroup];
    const int many = K > 0 ? K : k;
    for (int r = 0; r < many; ++r) parts[r] = rows[r];
    auto make = [&]<class V>(i64 i, auto lanes) __attribute__((always_inline)) {
      using State = typename Sum::template State<V>;
      State state = first<State>(dst, i, lanes, accumulate, [&] { return State::template from<S>(parts[0], i, lanes); });
      if constexpr (K > 0) {
#pragma GCC unroll 8
        for (int r = K == 1 ? 0 : 1; r < K; ++r) state.add(State::template from<S>(parts[r], i, lanes));
      } else {
        for (int r = accumulate ? 0 : 1; r < many; ++r) state.add(State::template from<S>(parts[r], i, lanes));
      }
      return state;
    };
    const bool past = goes_past(lines, dst, n);
    for (i64 l = 0; l < lines.count; ++l) {
      write<true>(n, dst, !accumulate, past, make);
      dst = dst.line(lines.to);
      for (int r = 0; r < many; ++r) parts[r] = parts[r].at(lines.from);
    }
  }

  template <class State>
  static inline __attribute__((always_inline)) auto total_of_lanes(State state) {
    constexpr u64 bytes = State::kBytes;
    if constexpr (bytes > 16) {
      auto lower = state.template half<0>();
      lower.add(state.template half<1>());
      return total_of_lanes(lower);
    } else {
      auto sum = state.lane(0);
#pragma GCC unroll 4
      for (u64 l = 1; l < bytes / sizeof(Acc); ++l) sum.add(state.lane(static_cast<int>(l)));
      return sum;
    }
  }

  template <int kParts, class State>
  static inline __attribute__((always_inline)) auto total_of_parts(State* parts) {
    if constexpr (kParts == 4) {
      parts[0].add(parts[2]);
      parts[1].add(parts[3]);
    }
    if constexpr (kParts >= 2) parts[0].add(parts[1]);
    return total_of_lanes(parts[0]);
  }

  // Sums of a row that lie in the windows of an axis. May read a vector beyond the end of the row.
  __attribute__((noinline)) static void fold(Row from, const Axis& axis, Row to) {
    constexpr i64 width = kVectorBytes / sizeof(Acc), lanes = width > 8 ? width : 8;
    constexpr int parts = sizeof(Acc) > 8 ? 1 : lanes / width;
    for (i64 o = 0; o < axis.n_out; ++o) {
      const Window w = window_at(axis, o);
      const Row row = from.at(w.start);
      if constexpr (sizeof(Acc) > 8) {
        auto sum = Sum::template State<Acc>::from(row, 0);
        for (i64 i = 1; i < w.count; ++i) sum.add(Sum::template State<Acc>::from(row, i));
        sum.to(to, o);
      } else {
        using State = typename Sum::template State<Vector<Acc, kVectorBytes>>;
        State sums[parts];
#pragma GCC unroll 4
        for (int s = 0; s < parts; ++s) sums[s] = State::from(row, s * width).before(w.count - s * width);
        for (i64 i = lanes; i < w.count; i += lanes) {
#pragma GCC unroll 4
          for (int s = 0; s < parts; ++s) sums[s].add(State::from(row, i + s * width).before(w.count - i - s * width));
        }
        total_of_parts<parts>(sums).to(to, o);
      }
    }
  }

  // read.operator()<V>(i) for 0 <= i < n, added up. Lane l of every block of 8 goes to the same running sum whatever the
  // vector width, so that every instruction set adds in the same order; kChains blocks take turns, since an addition
  // takes as long as several of them.
  template <class Read>
  static inline __attribute__((always_inline)) typename Sum::template State<Acc> total(i64 n, Read&& read) {
    if constexpr (sizeof(Acc) <= 8) {
      constexpr i64 width = kVectorBytes / sizeof(Acc), lanes = width > 8 ? width : 8;
      constexpr int parts = lanes / width, held = Sum::kChains * parts;
      using V = Vector<Acc, kVectorBytes>;
      if (n >= lanes) {
        typename Sum::template State<V> sums[held];
        i64 i = lanes;
        if (n >= Sum::kChains * lanes) {
#pragma GCC unroll 16
          for (int s = 0; s < held; ++s) sums[s] = read.template operator()<V>(s * width);
          for (i = Sum::kChains * lanes; i + Sum::kChains * lanes <= n; i += Sum::kChains * lanes) {
#pragma GCC unroll 16
            for (int s = 0; s < held; ++s) sums[s].add(read.template operator()<V>(i + s * width));
          }
#pragma GCC unroll 16
          for (int s = held - 1; s >= parts; --s) sums[s - parts].add(sums[s]);
        } else {
#pragma GCC unroll 4
          for (int s = 0; s < parts; ++s) sums[s] = read.template operator()<V>(s * width);
        }
        for (; i + lanes <= n; i += lanes) {
#pragma GCC unroll 4
          for (int s = 0; s < parts; ++s) sums[s].add(read.template operator()<V>(i + s * width));
        }
        if (i < n) {
#pragma GCC unroll 4
          for (int s = 0; s < parts; ++s)
            sums[s].add(read.template operator()<V>(n - lanes + s * width).beyond(lanes - (n - i) - s * width));
        }
        return total_of_parts<parts>(sums);
      }
    }
    auto sum = read.template operator()<Acc>(0);
    for (i64 i = 1; i < n; ++i) sum.add(read.template operator()<Acc>(i));
    return sum;
  }
};

// T: the type that rows are read as where they lie, or Copied for dtypes and terms that need a copy.
struct Copied {};

template <class T, class Sum, Term kTerm>
struct SumFamily {
  using Acc = typename Sum::Acc;
  static constexpr bool kDirect = !same<T, Copied>;
  using Element = typename Choose<kDirect, Storage<T>, unsigned char>::type;
  using Lane = typename Choose<kDirect, Storage<T>, Acc>::type;
  using Row = typename Sum::Row;
  using Sums = SumRows<Sum>;
  static constexpr bool kVectors = sizeof(Acc) <= 8;
  static constexpr bool kMayPrepare = true;
  static constexpr i64 kLongWindow = 32;
  // Where lanes are wide one at a time is as fast.
  static constexpr i64 kFarthestPick = sizeof(Acc) > 4 && !is_half<T> ? 0 : kVectorBytes / (same<Acc, std::int32_t> ? 8 : 4);
  static constexpr bool kInspects = false, kRepeats = false, kPositions = false, kBands = false;
  // Zero with the sign that leaves a negative zero as it is.
  static Lane nothing() {
    if constexpr (is_half<T>) return 0x8000; else return static_cast<Lane>(-0.0);
  }
  static void begin() {}
  static void end() {}

  // See Blocks.
  static constexpr bool kSettles = false, kMixesZeros = false;
  static constexpr i64 kRowBytes = sizeof(typename Sum::template State<Acc>);
  static void begin_unordered() {}
  __attribute__((noinline)) static void down(const Lane* p, Grid grid, i64 n, Row dst, bool accumulate, bool) {
    if constexpr (kVectors)
      cover<Acc, Sum::kColumns>(n, !accumulate, [&]<class V, int K>(const i64* at, auto lanes) __attribute__((always_inline)) {
        using State = typename Sum::template State<V>;
        State sums[K];
#pragma GCC unroll 8
        for (int k = 0; k < K; ++k) sums[k] = State::from(read<1, V>(p + at[k], lanes));
        grid.rest(p, [&](const Lane* q) __attribute__((always_inline)) {
#pragma GCC unroll 8
          for (int k = 0; k < K; ++k) {
            fetch_in_turns<Like<Lane, V, Acc>>(q + at[k]);
            sums[k].add(read<1, V>(q + at[k], lanes));
          }
        });
#pragma GCC unroll 8
        for (int k = 0; k < K; ++k) {
          if (accumulate) sums[k].add(State::from(dst, at[k], lanes));
          sums[k].to(dst, at[k], lanes);
        }
      });
  }
  static void fold(Row from, const Axis& axis, Row to) { Sums::fold(from, axis, to); }

  explicit SumFamily(const Problem& pb) : pb(pb), power(pb) {
    gathers = pb.inner_stride != 1 || (pb.inner == 1 && pb.axes[pb.n_axes - 1].stride_in != 1);
    if constexpr (!kDirect) copy = copy_for<Lane>(pb.in);
  }

  Row take_row(Scratch& scratch, i64 n) const { return Sum::take_row(scratch, n); }
  static void pick(Row from, i64 n, i64 size, i64 pitch, Row to) { Sum::pick(from, n, size, pitch, to); }

  i64 element_size() const { return kDirect ? 1 : dtype_bytes(pb.in); }
  bool prepares() const { return !kDirect || gathers; }

  void prepare(const Element* from, i64 positions, Lane* to) const {
    if constexpr (kDirect) {
      const i64 stride = pb.axes[pb.n_axes - 1].stride_in;
      for (i64 p = 0; p < positions; ++p)
        for (i64 c = 0; c < pb.inner; ++c) *to++ = from[p * stride + c * pb.inner_stride];
    } else {
      copy(pb, from, positions, to);
    }
    if constexpr (kTerm == Term::power) {
      const i64 n = positions * pb.inner;
      if (power.whole == 2) for (i64 i = 0; i < n; ++i) to[i] *= to[i];
      else for (i64 i = 0; i < n; ++i) to[i] = power(to[i]);
    }
  }

  template <class V>
  static inline __attribute__((always_inline)) V term(V v) {
    if constexpr (kTerm == Term::square) return v * v; else return v;
  }

  template <int S, class V, class Lanes = All>
  static inline __attribute__((always_inline)) V read(const Lane* p, Lanes lanes = {}) {
    if constexpr (!kDirect || same<T, Acc>) return term<V>(load_strided<S, V>(p, lanes));
    else return term<V>(widen_lanes<T, V, Acc>(load_strided<S, Like<Lane, V, Acc>>(p, lanes)));
  }

  template <int S, int K, class Dst>
  __attribute__((noinline)) static void across_fixed(const Lane* const* sources, int k, i64 n, i64 stride, Dst dst, bool accumulate,
                                                     Lines lines) {
    const Lane* src[K > 0 ? K : kGroup];  // a copy that no store can alias stays in registers
    for (int s = 0; s < (K > 0 ? K : k); ++s) src[s] = sources[s];
    [[maybe_unused]] const Asks asks = asks_of<S>(sources, K > 0 ? K : k, lines);
    auto make = [&]<class V>(i64 i, auto lanes) __attribute__((always_inline)) {
      using State = typename Sum::template State<V>;
      const i64 at = S == 0 ? i * stride : S * i;
      if constexpr (S > 0) fetch_ahead<S, Like<Lane, V, Acc>>(asks, src, K > 0 ? K : k, at, lines.ahead);
      State state = Sums::template first<State>(dst, i, lanes, accumulate, [&] { return State::from(read<S, V>(src[0] + at, lanes)); });
      if constexpr (K > 0) {
#pragma GCC unroll 8
        for (int s = 1; s < K; ++s) state.add(read<S, V>(src[s] + at, lanes));
      } else {
        for (int s = accumulate ? 0 : 1; s < k; ++s) state.add(read<S, V>(src[s] + at, lanes));
      }
      return state;
    };
    const bool past = Sums::goes_past(lines, dst, n);
    for (i64 l = 0; l < lines.count; ++l) {
      Sums::template write<S != 0>(n, dst, !accumulate, past, make);
      dst = dst.line(lines.to);
      for (int s = 0; s < (K > 0 ? K : k); ++s) src[s] += lines.from;
    }
  }

  // The sum of two neighbours of each row, from element `at` on: columns first.
  template <int K, class V, class Lanes>
  static inline __attribute__((always_inline)) auto sum_of_pairs(const Lane* const* rows, int k, i64 at, [[maybe_unused]] Lanes lanes) {
    using State = typename Sum::template State<V>;
    constexpr i64 n = sizeof(V) / sizeof(Acc);
    const int many = K > 0 ? K : k;
    if constexpr (same<V, Acc>) {
      State a = State::from(read<1, V>(rows[0] + at)), b = State::from(read<1, V>(rows[0] + at + 1));
      for (int r = 1; r < many; ++r) {
        a.add(read<1, V>(rows[r] + at));
        b.add(read<1, V>(rows[r] + at + 1));
      }
      a.add(b);
      return a;
    } else {
#if defined(__AVX2__)
      if constexpr (same<Acc, std::int16_t>) {
        auto pairs = [&](int r) __attribute__((always_inline)) { return byte_pairs<T>((V)load<Vector<Lane, sizeof(V)>>(rows[r] + at, twice(lanes))); };
        State sum = State::from(pairs(0));
#pragma GCC unroll 4
        for (int r = 1; r < many; ++r) sum.add(pairs(r));
        return sum;
      }
#endif
      // Two elements of 16 bits in 32: the upper one of two bfloat16 is a float but for the lower one.
      constexpr bool of_floats = same<T, BF16> && same<Acc, float>, of_integers = sizeof(Lane) == 2 && same<Acc, std::int32_t>;
      constexpr bool in_place = of_floats || of_integers;
      State a, b;
#pragma GCC unroll 4
      for (int r = 0; r < many; ++r) {
        V x, y;
        if constexpr (in_place) {
          const auto both = (Vector<std::uint32_t, sizeof(V)>)load<Vector<Lane, sizeof(V)>>(rows[r] + at, twice(lanes));
          if constexpr (of_floats) {
            x = (V)(both << 16);
            y = (V)(both & 0xffff0000u);
          } else if constexpr (Lane(-1) < Lane(0)) {
            x = (V)(both << 16) >> 16;
            y = (V)both >> 16;
          } else {
            x = (V)(both & 0xffffu);
            y = (V)(both >> 16);
          }
        } else {
          x = read<1, V>(rows[r] + at, part_of(twice(lanes), 0, n));
          y = read<1, V>(rows[r] + at + n, part_of(twice(lanes), 1, n));
        }
        if (r == 0) {
          a = State::from(x);
          b = State::from(y);
        } else {
          a.add(x);
          b.add(y);
        }
      }
      if constexpr (in_place) {
        a.add(b);
        return a;
      } else {
        State sum = State::template every_other_of<0>(a, b);
        sum.add(State::template every_other_of<1>(a, b));
        return sum;
      }
    }
  }

  template <int K, class Dst>
  __attribute__((noinline)) static void pairs_fixed(const Lane* const* rows, int k, i64 n, Dst dst, Lines lines) {
    const int many = K > 0 ? K : k;
    const Lane* src[K > 0 ? K : kGroup];
    for (int r = 0; r < many; ++r) src[r] = rows[r];
    const Asks asks = asks_of<2>(rows, many, lines);
    auto make = [&]<class V>(i64 i, auto lanes) __attribute__((always_inline)) {
      fetch_ahead<2, Like<Lane, V, Acc>>(asks, src, many, 2 * i, lines.ahead);
      return sum_of_pairs<K, V>(src, k, 2 * i, lanes);
    };
    const bool past = Sums::goes_past(lines, dst, n);
    for (i64 l = 0; l < lines.count; ++l) {
      Sums::template write<true>(n, dst, true, past, make);
      dst = dst.line(lines.to);
      for (int r = 0; r < many; ++r) src[r] += lines.from;
    }
  }

  // dst[i] = the sum of elements 2*i and 2*i + 1 of k rows.
  template <class Dst>
  void across_pairs(const Lane* const* rows, int k, i64 n, Dst dst, Lines lines) const {
    if constexpr (kPairs) {
      if (k == 1) return pairs_fixed<1>(rows, k, n, dst, lines);
      if (k == 2) return pairs_fixed<2>(rows, k, n, dst, lines);
      pairs_fixed<0>(rows, k, n, dst, lines);
    }
  }
  static constexpr bool kPairs = kDirect && kVectors;
  static bool takes_pairs() { return true; }

#if defined(__AVX2__)
  static constexpr bool kGroups = kDirect && same<Acc, std::int16_t>;
#else
  static constexpr bool kGroups = false;
#endif
  template <class Pairs, int K, class Dst>
  __attribute__((noinline)) static void groups_fixed(const Lane* const* rows, int k, i64 n, Dst dst, i64 ahead) {
    const int many = K > 0 ? K : k;
    using V = Vector<Acc, kVectorBytes>;
    sweep_pairs<Pairs>(n, [&](i64 o) __attribute__((always_inline)) {
      const i64 at = o * 2 * Pairs::kChannels;
      auto from = [&](int r) __attribute__((always_inline)) {
        ask_ahead<V>(rows[r] + at, ahead);
        return byte_pairs<T>((V)Pairs::arranged(Pairs::read(rows[r] + at)));
      };
      auto sum = Sum::template State<V>::from(from(0));
#pragma GCC unroll 4
      for (int r = 1; r < many; ++r) sum.add(from(r));
      Pairs::write(dst.y + o * Pairs::kChannels, sum.result(dst, 0, All{}));
    });
  }
  // Only where all are divided by one number: vectors of results have room between them.
  template <class Dst>
  static bool across_groups(const Lane* const* rows, int k, i64 n, i64 channels, Dst dst, i64 ahead) {
    if constexpr (kGroups && !same<Dst, Row>)
      return dst.level && with_byte_pairs<Lane>(channels, n, [&]<class Pairs>() {
               if (k == 2) groups_fixed<Pairs, 2>(rows, k, n, dst.as_level(), ahead); else groups_fixed<Pairs, 0>(rows, k, n, dst.as_level(), ahead);
             });
    else return false;
  }

  template <int S, class Dst>
  void across(const Lane* const* src, const i64*, int k, i64 n, i64 stride, Dst dst, bool accumulate, Lines lines = {1, 0, 0}) const {
    if constexpr (S == 1 || S == 2) {
      // Each is a second of compiling: float32 has them all.
      if (k == 2 && !accumulate && same<T, float>) return across_fixed<S, same<T, float> ? 2 : 0>(src, k, n, stride, dst, accumulate, lines);
      if (k == 3 && !accumulate) return across_fixed<S, 3>(src, k, n, stride, dst, false, lines);
      if (k == 4 && !accumulate) return across_fixed<S, 4>(src, k, n, stride, dst, false, lines);
      if (k == 5 && !accumulate && S == 1) return across_fixed<S, S == 1 && same<T, float> ? 5 : 0>(src, k, n, stride, dst, accumulate, lines);
    }
    across_fixed<S, 0>(src, k, n, stride, dst, accumulate, lines);
  }

  template <class Dst>
  void merge(const Row* rows, const i64*, int k, i64 n, Dst dst, bool accumulate, Lines lines = {1, 0, 0}) const {
    if (k == 2 && !accumulate) return Sums::template merge_fixed<1, 2>(rows, k, n, dst, false, lines);
    if (k == 3 && !accumulate) return Sums::template merge_fixed<1, 3>(rows, k, n, dst, false, lines);
    if (k == 1 && accumulate) return Sums::template merge_fixed<1, 1>(rows, k, n, dst, true, lines);
    Sums::template merge_fixed<1, 0>(rows, k, n, dst, accumulate, lines);
  }

  // Every second element.
  template <class Dst>
  void merge_halves(const Row* rows, int k, i64 n, Dst dst, Lines lines) const {
    if (k == 3) return Sums::template merge_fixed<2, 3>(rows, k, n, dst, false, lines);
    Sums::template merge_fixed<2, 0>(rows, k, n, dst, false, lines);
  }
  static void clear(Row row, i64 n) { Sum::clear(row, n); }
  static bool takes_columns() { return true; }
  static constexpr bool kByColumns = kDirect && kVectors;

  // One contiguous window.
  __attribute__((noinline)) void segment(const Lane* p, i64 n, i64, Row dst, bool accumulate) const {
    using Scalar = typename Sum::template State<Acc>;
    Scalar total = Sums::total(n, [&]<class V>(i64 i) __attribute__((always_inline)) {
      fetch_in_turns<Like<Lane, V, Acc>>(p + i);
      return Sum::template State<V>::from(read<1, V>(p + i));
    });
    if (accumulate) {
      Scalar before = Scalar::from(dst, 0);
      before.add(total);
      total = before;
    }
    total.to(dst, 0);
  }

  const Problem& pb;
  Power power;
  CopyFn<Lane> copy = nullptr;
  bool gathers;
};

// A stretch of consecutive elements of one tile whose windows have the same size.
struct Run {
  const i64* outputs;  // index on each axis but the last
  i64 first;           // index on the last axis of the first element
  i64 at, n;           // elements of the tile
  i64 count;           // elements of x in each window
  i64 divisor;         // what avg divides by, unless told otherwise
  i64 plane = -1;      // where each element is the only output of a plane: the plane of the first one
};

// Cuts outputs lo..hi-1 of the last axis into runs; count and divisor are those of the earlier axes.
template <class Visit>
inline __attribute__((always_inline)) void for_each_run_of_line(const Problem& pb, const i64* outputs, i64 lo, i64 hi, i64 line,
                                                                i64 count, i64 divisor, Visit&& visit) {
  const Axis& last = pb.axes[pb.n_axes - 1];
  for (i64 o = lo; o < hi;) {
    const bool uniform = o >= last.first && o < last.last;
    const i64 end = uniform ? min_of(last.last, hi) : o + 1;
    const Window w = window_at(last, o);
    visit(Run{outputs, o, line + (o - lo) * pb.inner, (end - o) * pb.inner, count * w.count,
              divisor * divisor_of(pb, w)});
    o = end;
  }
}

// Cuts the tile lo..hi-1 of the split axis into runs.
template <class Visit>
void for_each_run(const Problem& pb, const i64* fixed, i64 lo, i64 hi, Visit&& visit) {
  const int depth = pb.n_axes - 1;
  const Axis& last = pb.axes[depth];
  i64 outputs[kMaxAxes];
  for (int a = 0; a < pb.split; ++a) outputs[a] = fixed[a];
  for (int a = pb.split; a < depth; ++a) outputs[a] = a == pb.split ? lo : 0;
  i64 line = 0;
  for (;;) {
    i64 count = 1, divisor = 1;
    for (int a = 0; a < depth; ++a) {
      const Window w = window_at(pb.axes[a], outputs[a]);
      count *= w.count;
      divisor *= divisor_of(pb, w);
    }
    const i64 from = pb.split == depth ? lo : 0, to = pb.split == depth ? hi : last.n_out;
    for_each_run_of_line(pb, outputs, from, to, line, count, divisor, visit);
    line += (to - from) * pb.inner;
    int a = depth - 1;
    for (; a >= pb.split; --a) {
      if (++outputs[a] < (a == pb.split ? hi : pb.axes[a].n_out)) break;
      outputs[a] = 0;
    }
    if (a < pb.split) return;
  }
}

// Calls visit(where in x) for every element of the window of element k of a run, in scan order; x is the start of the plane, or
// of all where elements are planes. For the few windows that are computed again with more care.
template <class Visit>
void for_each_place(const Problem& pb, const Run& run, i64 k, Visit&& visit) {
  Window w[kMaxAxes];
  i64 j[kMaxAxes] = {};
  const int depth = pb.n_axes - 1;
  i64 base = 0;
  if (run.plane >= 0) {
    base = batch_offset(pb, run.plane + k);
    k = 0;
  }
  for (int a = 0; a < depth; ++a) w[a] = window_at(pb.axes[a], run.outputs[a]);
  w[depth] = window_at(pb.axes[depth], run.first + k / pb.inner);
  for (i64 fold = 0; fold < pb.fold.count;) {
    i64 at = base + fold * pb.fold.stride + k % pb.inner * pb.inner_stride;
    for (int a = 0; a <= depth; ++a) at += (w[a].start + pb.axes[a].step * j[a]) * pb.axes[a].stride_in;
    visit(at);
    int a = depth;
    while (a >= 0 && ++j[a] == w[a].count) j[a--] = 0;
    if (a < 0) ++fold;
  }
}

// The same for floats, visit(element, as double).
template <class Visit>
void for_each_element(const Problem& pb, const void* x, const Run& run, i64 k, Visit&& visit) {
  const WidenFn widen = widen_for(pb.in);
  for_each_place(pb, run, k, [&](i64 at) {
    double v;
    widen(static_cast<const char*>(x) + at * dtype_bytes(pb.in), 1, &v);
    visit(v);
  });
}

// finish(x of the plane, run, partial results of the run, y of the run) turns partial results into outputs, and
// close(partial results, n, y) what is left to do for n consecutive ones.
template <class F, class Finish, class Close>
i64 accumulate_forward(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory, Finish&& finish, Close&& close) {
  F family(pb);
  Scratch scratch{memory};
  if constexpr (F::kVectors) {
    if (pb.strip) {
      const typename F::Row strip = family.take_row(scratch, pb.block * pb.strip * pb.inner);
      char* y = static_cast<char*>(call.y);
      const i64 item = dtype_bytes(pb.out), row_elements = pb.axes[pb.n_axes - 1].n_out * pb.inner;
      auto finish_rows = [&](const typename F::Element* x, i64 output, i64 rows, i64 at, i64 lo, i64 hi, typename F::Row row, i64 pitch, i64 = 1) {
        i64 count = pb.fold.count, divisor = pb.fold.count;
        if (pb.n_axes == 2) {
          const Window w = window_at(pb.axes[0], output);
          count *= w.count;
          divisor *= divisor_of(pb, w);
        }
        for (i64 r = 0; r < rows; ++r) {
          const i64 o = output + r, to = at + r * row_elements;
          const typename F::Row line = row.at(r * pitch);
          for_each_run_of_line(pb, &o, lo, hi, 0, count, divisor,
                               [&](const Run& run) { finish(x, run, line.at(run.at), y + (to + run.at) * item); });
          if (pitch != row_elements) close(line, pitch, y + to * item);
        }
        if (pitch == row_elements) close(row, rows * pitch, y + at * item);
      };
      return with_walk(pb, family, scratch, pb.block, false, [&](auto& walk) {
        if (!memory) return static_cast<i64>(scratch.used);
        walk.run(call.x, begin, end, [&](i64, i64&, i64, i64, i64) { return strip; }, finish_rows);
        return i64{0};
      });
    }
  }
  const typename F::Row tile = family.take_row(scratch, pb.whole ? kPlanes : pb.tile * pb.axes[pb.split].out_block);
  char* y = static_cast<char*>(call.y);
  const i64 item = dtype_bytes(pb.out);
  auto finish_tile = [&](const typename F::Element* x, const i64* outputs, i64 at, i64 lo, i64 hi, typename F::Row row, i64 planes = 0) {
    for_each_run(pb, outputs, lo, hi, [&](Run run) {
      if (planes) {
        run.n = planes;
        run.plane = at;
      }
      finish(x, run, row.at(run.at), y + (at + run.at) * item);
    });
    close(row, planes ? planes : (hi - lo) * pb.axes[pb.split].out_block, y + at * item);
  };
  return with_general_walk(pb, family, scratch, true, true, [&](auto& walk) {
    if (!memory) return static_cast<i64>(scratch.used);
    walk.run(call.x, begin, end, [&](i64) { return tile; }, finish_tile);
    return i64{0};
  });
}

struct Nothing {};

inline bool is_power_of_two(double v) {
  const i64 whole = v > 0 && v <= 0x1p62 ? static_cast<i64>(v) : 0;
  return whole != 0 && static_cast<double>(whole) == v && (whole & (whole - 1)) == 0;
}

// What all windows divide by, or 0 where they differ. `divisor` and `by_rows` are those of finished_forward.
template <class Divisor>
double one_divisor(const Problem& pb, bool by_rows, Divisor&& divisor) {
  const int depth = pb.n_axes - 1;
  const i64 first[kMaxAxes] = {};
  double one = 0;
  bool same_all = true;
  i64 rows = 1;
  auto next = [](const Axis& axis, i64 o) { return o >= axis.first && o < axis.last ? axis.last : o + 1; };
  for (int a = 0; by_rows && a < depth; ++a) {
    const Axis& axis = pb.axes[a];
    i64 along = 0;
    for (i64 o = 0; o < axis.n_out && same_all; o = next(axis, o)) {
      const i64 here = divisor_of(pb, window_at(axis, o));
      same_all = along == 0 || here == along;
      along = here;
    }
    rows *= max_of(along, 1);
  }
  for (i64 o = 0; o < pb.axes[depth].n_out && same_all; o = next(pb.axes[depth], o))
    for_each_run_of_line(pb, first, o, o + 1, 0, 1, 1, [&](const Run& run) {
      const double here = divisor(run) * static_cast<double>(by_rows ? pb.fold.count * rows : 1);
      same_all = one == 0 || here == one;
      one = here;
    });
  return same_all ? one : 0;
}

// The same where a dtype comes out as it went in: each result is divided, and its root taken where kRoot, as its sum is made, or
// as a tile of sums is done. divisor(run) is that of a run's windows, where `by_rows` a product of what they have along each axis.
// Where `wrong` was set, mend(x of the plane, run, y of the run) may make it good.
template <class T, class Sum, Term kTerm, bool kRoot, class Divisor, class Mend>
i64 finished_forward(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory, bool by_rows, Divisor&& divisor, int* wrong, Mend&& mend) {
  using F = SumFamily<T, Sum, kTerm>;
  using To = Finished<T, kRoot, typename Sum::Acc>;
  using Scale = typename To::Scale;
  using Element = typename F::Element;
  constexpr bool mends = !same<Mend, Nothing>;
  F family(pb);
  Scratch scratch{memory};
  const int depth = pb.n_axes - 1;
  const i64 row_elements = pb.axes[depth].n_out * pb.inner;
  // Where sums are done in tiles: elements of those that have scales together, a line of the last axis or what is behind an output.
  const i64 slab = pb.split == depth ? pb.tile * pb.inner : pb.axes[pb.split].out_block;
  const i64 columns = max_of(pb.strip ? pb.strip * pb.inner : max_of(slab, kPlanes), To::kLeast);
  Scale* scales = scratch.take<Scale>(columns);
  [[maybe_unused]] Scale* divisors = To::kBoth ? scratch.take<Scale>(columns) : nullptr;
  auto* y = static_cast<Storage<T>*>(call.y);
  const double one = memory && To::kMayBeLevel ? one_divisor(pb, by_rows, divisor) : 0;
  [[maybe_unused]] const ByteDivision by = one != 0 && To::kShort ? ByteDivision::of(static_cast<i64>(one)) : ByteDivision{};
  auto put = [&](i64 at, i64 n, double whole) {
    const Scale scale = To::scale_of(whole, by);
    scales[at] = scale;
    if constexpr (To::kBoth) divisors[at] = static_cast<Scale>(whole);
    if (n == 1) return;  // an edge: the loops are calls
    for (i64 i = 1; i < n; ++i) scales[at + i] = scale;
    if constexpr (To::kBoth)
      for (i64 i = 1; i < n; ++i) divisors[at + i] = static_cast<Scale>(whole);
  };
  auto results = [&](i64 at) { return To{y + at, scales, wrong, divisors, one != 0, by, is_power_of_two(one)}; };
  if (one != 0) put(0, To::kLeast, one);
  i64 of_lo = -1, of_hi = -1, of_rows = 0;  // what is there already
  auto is_there = [&](i64 lo, i64 hi, i64 rows) {
    if (one != 0 || (lo == of_lo && hi == of_hi && rows == of_rows)) return true;
    of_lo = lo;
    of_hi = hi;
    of_rows = rows;
    return false;
  };
  if (!pb.strip) {
    const typename F::Row tile = family.take_row(scratch, pb.whole ? kPlanes : pb.tile * pb.axes[pb.split].out_block);
    auto finish_tile = [&](const Element* x, const i64* outputs, i64 at, i64 lo, i64 hi, typename F::Row row, i64 planes = 0) {
      const i64 zero = 0, step = pb.split == depth ? hi - lo : 1;
      i64 before = 1;
      for (int a = 0; by_rows && a < pb.split; ++a) before *= divisor_of(pb, window_at(pb.axes[a], outputs[a]));
      for (i64 o = lo, e = 0; o < hi; o += step) {
        const i64 n = planes ? planes : step * pb.axes[pb.split].out_block;
        const bool line = pb.split == depth;
        if (!is_there(line ? lo : 0, line ? hi : 0, line || !by_rows ? before : before * divisor_of(pb, window_at(pb.axes[pb.split], o)))) {
          // Planes that are one window each have one divisor.
          for_each_run(pb, outputs, o, o + step, [&](const Run& run) { put(run.at, planes ? kPlanes : run.n, divisor(run)); });
        }
        const typename F::Row sums = row.at(e);
        family.merge(&sums, &zero, 1, n, results(at + e), false);
        e += n;
      }
      if constexpr (mends) {
        if (!*wrong) return;
        for_each_run(pb, outputs, lo, hi, [&](Run run) {
          if (planes) {
            run.n = planes;
            run.plane = at;
          }
          mend(x, run, y + at + run.at);
        });
        *wrong = 0;
      }
    };
    return with_general_walk(pb, family, scratch, true, true, [&](auto& walk) {
      if (!memory) return static_cast<i64>(scratch.used);
      walk.run(call.x, begin, end, [&](i64) { return tile; }, finish_tile);
      return i64{0};
    });
  }
  auto first_window = [&](i64 output) { return pb.n_axes == 1 ? Window{0, 1, 0} : window_at(pb.axes[0], output); };
  auto destination = [&](i64 at, i64& pitch, i64 output, i64 lo, i64 hi) {
    pitch = row_elements;
    const i64 rows = one != 0 || !by_rows ? 1 : pb.fold.count * divisor_of(pb, first_window(output));
    if (!is_there(lo, hi, rows))
      for_each_run_of_line(pb, &output, lo, hi, 0, 1, 1, [&](const Run& run) { put(run.at, run.n, divisor(run) * static_cast<double>(rows)); });
    return results(at);
  };
  auto finish = [&](const Element* x, i64 output, i64 rows, i64 at, i64 lo, i64 hi, To, i64, i64 planes = 1) {
    if constexpr (mends) {
      if (!*wrong) return;
      for (i64 p = 0; p < planes; ++p, x += pb.axes[0].size_in * pb.axes[0].stride_in * family.element_size())
        for (i64 o = output; o < output + rows; ++o, at += row_elements)
          for_each_run_of_line(pb, &o, lo, hi, 0, pb.fold.count * first_window(o).count, pb.fold.count * divisor_of(pb, first_window(o)),
                               [&](const Run& run) { mend(x, run, y + at + run.at); });
      *wrong = 0;
    }
  };
  return with_walk(pb, family, scratch, pb.block, true, [&](auto& walk) {
    if (!memory) return static_cast<i64>(scratch.used);
    walk.run(call.x, begin, end, destination, finish);
    end_stream(pb.streams);
    return i64{0};
  });
}

template <class T, class Sum, Term kTerm, bool kRoot, class Divisor>
i64 finished_forward(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory, bool by_rows, Divisor&& divisor) {
  return finished_forward<T, Sum, kTerm, kRoot>(pb, call, begin, end, memory, by_rows, divisor, call.overflow, Nothing{});
}

template <class F, class Finish>
i64 accumulate_forward(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory, Finish&& finish) {
  return accumulate_forward<F>(pb, call, begin, end, memory, finish, [](typename F::Row, i64, char*) {});
}

}  // namespace
}  // namespace poolwise
