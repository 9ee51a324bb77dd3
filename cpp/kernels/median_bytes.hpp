// Medians of bytes in large windows: a histogram per column, and one of the window that slides along the row by adding
// and subtracting those of columns, as in Perreault and Hebert, "Median filtering in constant time" (2007). Two levels of
// 16 bins; the lower one is brought up to date only where the median is. Counts are cumulative inside their 16 bins: the
// bin of a rank is the number of counts not above it, which one comparison of vectors finds.
#pragma once

#include "median.hpp"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace poolwise {
namespace {

using Bins = Vector<std::uint16_t, 32>;

// How many of the 16 rising counts are at most k; the last one never is.
inline __attribute__((always_inline)) int bin_of(Bins counts, int k) {
#if defined(__AVX512BW__) && defined(__AVX512VL__)
  const unsigned at_most = _mm256_cmple_epu16_mask((__m256i)counts, _mm256_set1_epi16(static_cast<short>(k)));
  return __builtin_ctz(~at_most);
#elif defined(__AVX2__)
  const __m256i over = _mm256_subs_epu16((__m256i)counts, _mm256_set1_epi16(static_cast<short>(k)));
  const unsigned at_most = static_cast<unsigned>(_mm256_movemask_epi8(_mm256_cmpeq_epi16(over, _mm256_setzero_si256())));
  return __builtin_ctz(~at_most | 1u << 30) / 2;
#elif defined(__SSE2__)
  __m128i half[2];
  __builtin_memcpy(half, &counts, sizeof half);
  const __m128i limit = _mm_set1_epi16(static_cast<short>(k)), zero = _mm_setzero_si128();
  const __m128i at_most = _mm_packs_epi16(_mm_cmpeq_epi16(_mm_subs_epu16(half[0], limit), zero),
      _mm_cmpeq_epi16(_mm_subs_epu16(half[1], limit), zero));
  return __builtin_ctz(~static_cast<unsigned>(_mm_movemask_epi8(at_most)) | 1u << 15);
#else
  int bin = 0;
  while (bin < 15 && counts[bin] <= k) ++bin;
  return bin;
#endif
}

class ByHistogram {
 public:
  ByHistogram(const Results& to, Scratch& scratch)
      : to_(to), pb_(to.pb), rows_(rows_of(pb_)), columns_(columns_of(pb_)), list_(pb_, scratch) {
    width_ = longest_span(columns_, pb_.median.columns);
    from_ = scratch.take<Bins>(16);
    coarse_ = scratch.take<Bins>(width_);
    fine_ = scratch.take<Bins>(16 * width_);
    line_ = scratch.take<std::uint8_t>(width_);
    low_ = scratch.take<std::uint8_t>(pb_.median.columns);
    high_ = scratch.take<std::uint8_t>(pb_.median.columns);
    if (from_)
      for (int d = 0; d < 16; ++d)
        for (int b = 0; b < 16; ++b) from_[d][b] = b >= d;
  }

  void run(const Tile& tile) {
    list_.enter(tile);
    span_ = spanned(columns_, tile.columns);
    for (i64 i = tile.inner.begin; i < tile.inner.end; ++i) {
      Range held{0, 0};
      for (i64 o = tile.rows.begin; o < tile.rows.end; ++o) {
        const Window w = window_at(rows_, o);
        const Range now{w.start, w.start + w.count};
        if (now.begin < held.begin || now.begin >= held.end || now.end < held.end) {
          forget();
          held = {now.begin, now.begin};
        }
        for (i64 e = 0; e < list_.n_outer; ++e) {
          for (i64 r = held.begin; r < now.begin; ++r) add_line<false>(tile, e, r, i);
          for (i64 r = held.end; r < now.end; ++r) add_line<true>(tile, e, r, i);
        }
        held = now;
        slide(tile, o, i, list_.n_outer * w.count);
      }
    }
  }

 private:
  void forget() {
    const i64 width = span_.end - span_.begin;
    for (i64 c = 0; c < width; ++c) coarse_[c] = Bins{};
    for (i64 c = 0; c < 16 * width; ++c) fine_[c] = Bins{};
  }

  template <bool kEnter>
  void add_line(const Tile& tile, i64 e, i64 r, i64 inner) {
    const i64 width = span_.end - span_.begin;
    unsigned seen;
    const i64 at = list_.outer[e] + r * rows_.stride_in + span_.begin * columns_.stride_in + inner * pb_.inner_stride;
    to_.codec.lanes(tile.x, {at, columns_.stride_in, width, 1, 1}, line_, &seen);
    for (i64 c = 0; c < width; ++c) {
      const int value = line_[c];
      Bins &coarse = coarse_[c], &fine = fine_[16 * c + (value >> 4)];
      if constexpr (kEnter) {
        coarse += from_[value >> 4];
        fine += from_[value & 15];
      } else {
        coarse -= from_[value >> 4];
        fine -= from_[value & 15];
      }
    }
  }

  // The window's counts in one of the 16 upper bins, for columns lo..hi-1.
  inline __attribute__((always_inline)) Bins& lower(int bin, i64 lo, i64 hi) {
    Bins& counts = window_[bin];
    Range& held = held_[bin];
    if (held.end <= lo || held.begin > lo || (lo - held.begin) + (hi - held.end) > hi - lo) {
      counts = Bins{};
      held = {lo, lo};
    }
    const Bins* fine = fine_ + bin;
    Bins sum = counts;
    for (i64 c = held.begin; c < lo; ++c) sum -= fine[16 * c];
    for (i64 c = held.end; c < hi; ++c) sum += fine[16 * c];
    counts = sum;
    held = {lo, hi};
    return counts;
  }

  // The value of rank k, how many elements are at most that.
  inline __attribute__((always_inline)) int value_at(Bins upper, int k, i64 lo, i64 hi, int* until) {
    const int bin = bin_of(upper, k);
    std::uint16_t counts[17];
    counts[0] = 0;
    store(counts + 1, upper);
    const int before = counts[bin];
    const Bins& fine = lower(bin, lo, hi);
    const int digit = bin_of(fine, k - before);
    *until = before + reinterpret_cast<const std::uint16_t*>(&fine)[digit];
    return 16 * bin + digit;
  }

  __attribute__((noinline)) void slide(const Tile& tile, i64 o, i64 inner, i64 n_rows) {
    Bins upper{};
    for (int b = 0; b < 16; ++b) held_[b] = {0, 0};
    Range held{0, 0};
    for (i64 c = tile.columns.begin; c < tile.columns.end; ++c) {
      const Window w = window_at(columns_, c);
      const i64 lo = w.start - span_.begin, hi = lo + w.count;
      if (lo < held.begin || lo >= held.end || hi < held.end) {
        upper = Bins{};
        held = {lo, lo};
      }
      for (i64 p = held.begin; p < lo; ++p) upper -= coarse_[p];
      for (i64 p = held.end; p < hi; ++p) upper += coarse_[p];
      held = {lo, hi};
      const int count = static_cast<int>(n_rows * w.count), at = static_cast<int>(c - tile.columns.begin);
      int until;
      low_[at] = high_[at] = static_cast<std::uint8_t>(value_at(upper, (count - 1) / 2, lo, hi, &until));
      if (until <= count / 2) high_[at] = static_cast<std::uint8_t>(value_at(upper, count / 2, lo, hi, &until));
    }
    const i64 n = tile.columns.end - tile.columns.begin, place = to_.place(tile, o, tile.columns.begin, inner);
    // The mean of a pair of equal numbers is that number.
    for (i64 c = 0; c < (pb_.inner == 1 ? 1 : n); ++c)
      to_.codec.finish(low_ + c, high_ + c, pb_.inner == 1 ? n : 1, to_.call.y, place + c * pb_.inner);
  }

  const Results& to_;
  const Problem& pb_;
  const Axis &rows_, &columns_;
  RowList list_;
  i64 width_ = 0;
  Range span_{};
  Bins *from_, *coarse_, *fine_;
  std::uint8_t *line_, *low_, *high_;
  Bins window_[16];
  Range held_[16];
};

inline i64 by_histogram(const Results& to, i64 begin, i64 end, char* memory) {
  Scratch scratch{memory};
  ByHistogram histogram(to, scratch);
  if (memory) for_each_tile(to.pb, to.call, begin, end, [&](const Tile& tile) { histogram.run(tile); });
  return static_cast<i64>(scratch.used);
}

}  // namespace
}  // namespace poolwise
