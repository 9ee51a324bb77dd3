// Small square windows that overlap: a band of some rows of outputs is made at once, in registers.
//
// Reduced rows that are kept and read again (direct.hpp) cost three reads and a write for each vector of outputs, more than there is
// to combine. Here the rows that a band's windows see are read once, reduced along the row, and combined down while they are in
// registers. Where windows reach beyond the ends of an axis there are elements that change nothing.
#pragma once

#include "rows.hpp"

namespace poolwise {
namespace {

// How a band is read and written: where its first window would start along a row, elements of a row, how far apart rows of x and of
// outputs are, how far ahead memory is asked for, whether results go past the caches, and which columns there are for each read
// of the first and the last vector of outputs.
constexpr int kMostReads = 4;
struct Band {
  i64 start, size, row, pitch, ahead;
  bool past;
  u64 first[kMostReads], last[kMostReads];
};

#if defined(__AVX512F__)
// Which of the columns start..start+lanes-1 a row of `size` elements has.
template <i64 lanes>
inline u64 columns_inside(i64 start, i64 size) {
  const i64 first = max_of(0, min_of(lanes, -start)), end = max_of(0, min_of(lanes, size - start));
  return end <= first ? 0 : (~0ull >> (64 - (end - first))) << first;
}

// Those lanes from p on, `fill` in the others.
template <class V, class L>
inline __attribute__((always_inline)) V load_marked(const L* p, u64 mask, V fill) {
  if constexpr (sizeof(L) == 1) return (V)_mm512_mask_loadu_epi8((__m512i)fill, mask, p);
  if constexpr (sizeof(L) == 2) return (V)_mm512_mask_loadu_epi16((__m512i)fill, static_cast<__mmask32>(mask), p);
  if constexpr (sizeof(L) == 4) return (V)_mm512_mask_loadu_epi32((__m512i)fill, static_cast<__mmask16>(mask), p);
  if constexpr (sizeof(L) == 8) return (V)_mm512_mask_loadu_epi64((__m512i)fill, static_cast<__mmask8>(mask), p);
}
constexpr bool kMasksLanes = true;
#else
constexpr bool kMasksLanes = false;
#endif

// Where, from the first column on, a vector of outputs reads: columns one behind the other; of windows that step by two the
// first and the second vector, and both two further.
template <int S, i64 lanes>
constexpr i64 read_at(int t) { return S == 1 ? t : t / 2 * 2 + t % 2 * lanes; }
template <int K, int S>
constexpr int reads_of = S == 1 ? K : 4;

// A vector that was read, once: the compiler would read it again for each use where an instruction can.
template <class V>
inline __attribute__((always_inline)) V held(V v) {
#if defined(__AVX512F__)
  if constexpr (sizeof(V) >= 16) asm("" : "+v"(v));
#elif defined(__SSE2__)
  if constexpr (sizeof(V) >= 16) asm("" : "+x"(v));
#endif
  return v;
}

template <class F>
class Bands {
  using Lane = typename F::Lane;
  using Element = typename F::Element;

 public:
  Bands(const Problem& pb, F& family, Scratch& scratch) : pb_(pb), family_(family) {
    if constexpr (F::kBands) {
      if (pb.n_axes != 2 || pb.slots == 0 || pb.fold.count != 1 || family.prepares() || !family.takes_bands()) return;
      const Axis &outer = pb.axes[0], &last = pb.axes[1];
      for (int a = 0; a < 2; ++a)
        if (const Axis& axis = pb.axes[a]; axis.step != 1 || axis.window != outer.window || axis.stride != outer.stride || !has_one_form(axis)) return;
      if (last.stride_in != pb.inner || !pays(outer.window, outer.stride, last.size_in * pb.inner)) return;
      serves_ = true;
      const i64 length = pb.inner > 1 ? pb.inner : last.size_in;
      nothing_ = scratch.take<Lane>(length);
      if (scratch.base)
        for (i64 i = 0; i < length; ++i) nothing_[i] = family.nothing();
    }
  }

  bool serves() const { return serves_; }

  // `lines` rows of outputs from o on, columns a..b-1 of each; false where these have to be made with more care.
  template <class Dst>
  bool make(const Element* base, i64 o, i64 lines, i64 a, i64 b, Dst dst, i64 pitch) {
    if constexpr (F::kBands) {
      if (pb_.axes[0].window == 5) return each<5, 1, 4, 2>(base, o, lines, a, b, dst, pitch);
      if (pb_.axes[0].stride == 1) return each<3, 1, 4, 4>(base, o, lines, a, b, dst, pitch);
      return each<3, 2, 2, 2>(base, o, lines, a, b, dst, pitch);
    }
    return false;
  }

 private:
  // Measured (benchmarks/NOTES.md, 2026-12-01). Rows are read by masked lanes at their ends, and bytes are slow to take apart; of
  // channels there is more to prepare than to do if they are few.
  bool pays(i64 window, i64 stride, i64 row) const {
    const i64 item = sizeof(Lane), channels = pb_.inner * item;
    if (pb_.inner == 1) return kMasksLanes && window == 3 && (stride == 1 || (stride == 2 && item >= 4));
    if (window == 3 && stride == 2) return channels >= 32;
    return stride == 1 && item >= 4 && channels >= 256 && (window == 3 || (window == 5 && row * item <= kShortRow));
  }

  // R rows at once, of channels P positions.
  template <int K, int S, int R, int P, class Dst>
  bool each(const Element* base, i64 o, i64 lines, i64 a, i64 b, Dst dst, i64 pitch) {
    family_.begin_bands();
    if (lines < R) {
      for (i64 l = 0; l < lines; ++l) one<K, S, 1, P>(base, o + l, a, b, dst.line(l * pitch), pitch);
    } else {
      // The last band is moved back to end with the rows.
      for (i64 l = 0; l < lines; l += R) {
        const i64 at = min_of(l, lines - R);
        one<K, S, R, P>(base, o + at, a, b, dst.line(at * pitch), pitch);
      }
    }
    return family_.end_bands();
  }

  template <int K, int S, int R, int P, class Dst>
  __attribute__((noinline)) void one(const Element* base, i64 o, i64 a, i64 b, Dst dst, i64 pitch) {
    constexpr int rows = (R - 1) * S + K;
    const Axis &outer = pb_.axes[0], &last = pb_.axes[1];
    const i64 top = form_start(outer, o), left = form_start(last, a), row = outer.stride_in, inner = pb_.inner, n = b - a;
    const bool past = F::goes_past(result_lines(pb_, R, 0, pitch), dst, inner > 1 ? inner : n);
    // Those of a band of several are all there, and evenly spaced.
    const Lane* at[rows];
    for (int r = 0; r < rows; ++r) at[r] = R > 1 || (top + r >= 0 && top + r < outer.size_in) ? base + (top + r) * row : nullptr;
    if (inner == 1) {
      for (int r = 0; r < rows; ++r)
        if (!at[r]) at[r] = nothing_;
      if constexpr (kMasksLanes && K == 3) family_.template band_of_rows<K, S, R>(at, n, dst, band_of_rows<K, S>(a, b, R, pitch, past));
      return;
    }
    const Band band{0, inner, row, pitch, kNear, past, {}, {}};
    // Columns whose windows lie inside are evenly spaced; others are listed: what there is of them.
    i64 c = 0;
    auto listed = [&]<int Q>() __attribute__((always_inline)) {
      constexpr int columns = (Q - 1) * S + K;
      const Lane* list[rows * columns];
      for (int r = 0; r < rows; ++r)
        for (int j = 0; j < columns; ++j) {
          const i64 p = left + S * c + j;
          list[r * columns + j] = at[r] && p >= 0 && p < last.size_in ? at[r] + p * inner : nothing_;
        }
      family_.template band_of_channels<K, S, R, Q>(1, Listed<columns>{list}, dst.at(c * inner), band);
      c += Q;
    };
    if constexpr (S == 1) {
      while (c + P <= n) listed.template operator()<P>();
    } else if (R > 1) {
      while (c < n && left + S * c < 0) listed.template operator()<1>();
      const i64 tiles = max_of(0, min_of(n, (last.size_in - K - left) / S + 1) - c) / P;
      if (tiles > 0)
        family_.template band_of_channels<K, S, R, P>(tiles, Spaced<P * S>{base + top * row + (left + S * c) * inner, inner, row}, dst.at(c * inner), band);
      c += tiles * P;
    }
    while (c < n) listed.template operator()<1>();
  }

  // Where columns of a band of channels lie: evenly, `step` columns on for each tile, or as a list says.
  template <int step>
  struct Spaced {
    const Lane* base;
    i64 inner, row;
    const Lane* p = nullptr;
    inline __attribute__((always_inline)) void begin(i64 tile, i64 c) { p = base + tile * step * inner + c; }
    inline __attribute__((always_inline)) void next_row() { p = at_hand(p + row); }
    inline __attribute__((always_inline)) const Lane* column(int, int j) const { return p + j * inner; }
  };
  template <int columns>
  struct Listed {
    const Lane* const* list;
    i64 c = 0;
    inline __attribute__((always_inline)) void begin(i64, i64 at) { c = at; }
    inline __attribute__((always_inline)) void next_row() {}
    inline __attribute__((always_inline)) const Lane* column(int r, int j) const { return list[r * columns + j] + c; }
  };

  // That of columns a..b-1 of rows, R at once.
  template <int K, int S>
  const Band& band_of_rows(i64 a, i64 b, i64 R, i64 pitch, bool past) {
    if (a != a_ || b != b_) {
      const Axis& last = pb_.axes[1];
      rows_ = Band{form_start(last, a), last.size_in, pb_.axes[0].stride_in, 0, 0, false, {}, {}};
#if defined(__AVX512F__)
      constexpr i64 lanes = kVectorBytes / static_cast<i64>(sizeof(Lane));
      for (int t = 0; t < reads_of<K, S>; ++t) {
        const i64 at = rows_.start + read_at<S, lanes>(t);
        rows_.first[t] = columns_inside<lanes>(at, rows_.size);
        rows_.last[t] = columns_inside<lanes>(at + S * max_of(0, b - a - lanes), rows_.size);
      }
#endif
      a_ = a;
      b_ = b;
    }
    // Of short rows those of the next band are asked for.
    const i64 next = R * S * rows_.row;
    rows_.ahead = next <= 4 * kNear ? next : kNear;
    rows_.pitch = pitch;
    rows_.past = past;
    return rows_;
  }

  static constexpr i64 kNear = kAhead / static_cast<i64>(sizeof(Lane)), kShortRow = 8 << 10;

  const Problem& pb_;
  F& family_;
  Band rows_ = {};
  i64 a_ = -1, b_ = -1;  // columns that it is for
  bool serves_ = false;
  Lane* nothing_ = nullptr;  // a row, or the channels of a position
};

}  // namespace
}  // namespace poolwise
