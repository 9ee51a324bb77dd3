// Medians. Small windows: networks of minima and maxima over vectors of outputs. Large ones that overlap: a histogram
// that slides along a row, of bytes or of the ranks of a tile's elements. All others: selection, window by window.
#include "median_bytes.hpp"

namespace poolwise {
namespace {

constexpr int kMostTaps = 64;  // kMostByNetwork in plan_median.cpp

template <class V>
inline __attribute__((always_inline)) V lesser(V a, V b) { return a < b ? a : b; }
template <class V>
inline __attribute__((always_inline)) V greater(V a, V b) { return a > b ? a : b; }
template <class V>
inline __attribute__((always_inline)) void sort2(V& a, V& b) {
  const V low = lesser(a, b);
  b = greater(a, b);
  a = low;
}
template <class V>
inline __attribute__((always_inline)) V middle3(V a, V b, V c) { return greater(lesser(a, b), lesser(greater(a, b), c)); }

// The comparisons of Batcher's merge exchange (Knuth, The Art of Computer Programming 3, 5.2.2, algorithm M) that the
// elements in the middle depend on.
struct Network {
  struct Pair {
    std::uint8_t low, high;
  };
  static constexpr int kMostPairs = 543;  // of 64 elements
  int pairs = -1;
  Pair pair[kMostPairs];

  void build(int n) {
    pairs = 0;
    int top = 1;
    while (2 * top < n) top *= 2;
    for (int p = top; p > 0 && n > 1; p /= 2)
      for (int q = top, r = 0, d = p;; d = q - p, q /= 2, r = p) {
        for (int i = 0; i + d < n; ++i)
          if ((i & p) == r) pair[pairs++] = {static_cast<std::uint8_t>(i), static_cast<std::uint8_t>(i + d)};
        if (q == p) break;
      }
    u64 wanted = 1ull << (n - 1) / 2 | 1ull << n / 2;
    int kept = kMostPairs;
    for (int i = pairs - 1; i >= 0; --i) {
      const u64 both = 1ull << pair[i].low | 1ull << pair[i].high;
      if (!(wanted & both)) continue;
      wanted |= both;
      pair[--kept] = pair[i];
    }
    pairs = kMostPairs - kept;
    for (int i = 0; i < pairs; ++i) pair[i] = pair[kept + i];
  }
};

// Comparisons known when compiling; the compiler drops the minima and maxima that nothing depends on.
struct Comparison {
  int low, high;
};

constexpr Comparison kSort5[] = {{0, 1}, {3, 4}, {2, 4}, {2, 3}, {0, 3}, {0, 2}, {1, 4}, {1, 3}, {1, 2}};

// The median of 25 elements in five sorted columns, element 5*r + c the r-th smallest of column c. Found by sorting rows
// and then the 13 elements that may be the median, and leaving out comparisons one by one for as long as all 6^5 inputs
// of sorted columns of zeros and ones (which are enough: the 0-1 principle) still gave the right answer.
constexpr int kMiddleOf25 = 16;
constexpr Comparison kMedian25[] = {
    {0, 1}, {3, 4}, {2, 4}, {2, 3}, {0, 3}, {1, 4}, {1, 3}, {5, 6}, {8, 9}, {7, 9}, {7, 8}, {5, 8}, {6, 9}, {6, 8},
    {6, 7}, {10, 11}, {13, 14}, {12, 14}, {10, 13}, {10, 12}, {11, 14}, {11, 12}, {15, 16}, {18, 19}, {17, 18},
    {15, 18}, {15, 17}, {16, 19}, {16, 18}, {16, 17}, {20, 21}, {23, 24}, {20, 23}, {20, 22}, {21, 24}, {21, 23},
    {21, 22}, {11, 13}, {8, 17}, {15, 8}, {11, 4}, {3, 16}, {7, 20}, {8, 12}, {4, 13}, {16, 9}, {8, 16}, {4, 20},
    {13, 21}, {16, 12}, {20, 13}, {8, 4}, {16, 20}, {12, 13}, {4, 12}, {4, 16}};

template <const auto& kComparisons, class V, int... I>
inline __attribute__((always_inline)) void compare(V* v, Indices<I...>) {
  (sort2(v[kComparisons[I].low], v[kComparisons[I].high]), ...);
}
template <const auto& kComparisons, class V>
inline __attribute__((always_inline)) void compare(V* v) {
  compare<kComparisons>(v, typename CountTo<sizeof(kComparisons) / sizeof(Comparison)>::type{});
}

template <class L>
class ByNetwork {
 public:
  using V = Vector<L, kVectorBytes>;
  static constexpr int kLanes = kVectorBytes / sizeof(L);
  static constexpr bool kLocates = !same<L, std::uint8_t> && !same<L, i64>;  // gradients are of floats
  using Int = typename Choose<sizeof(L) == 8, i64, typename Choose<sizeof(L) == 4, std::int32_t, std::int16_t>::type>::type;
  using Number = Vector<Int, kVectorBytes>;
  static constexpr i64 kBlock = 4096 / sizeof(L);  // lanes of several rows of outputs that are one run
  static constexpr i64 kStrip = 128;   // of a column of outputs

  ByNetwork(const Results& to, Scratch& scratch)
      : to_(to), pb_(to.pb), rows_(rows_of(pb_)), columns_(columns_of(pb_)), list_(pb_, scratch), flushed_(pb_, scratch) {
    networks_ = scratch.take<Network>(kMostTaps + 1);
    gathered_ = scratch.take<L>(kMostTaps * kStrip);
    narrow_ = scratch.take<u64>(kStrip);
    if (pb_.median.region) measure();
    region_ = scratch.take<L>(region_lanes_ + kLanes);
    const i64 run = max_of(run_lanes_, kStrip) + kLanes;
    low_ = scratch.take<L>(run);
    high_ = scratch.take<L>(run);
    if (to.positions) {
      low_tap_ = scratch.take<Int>(run);
      high_tap_ = scratch.take<Int>(run);
    }
    for (L*& row : sorted_) row = scratch.take<L>(run + slot_);
    if (networks_)
      for (int n = 0; n <= kMostTaps; ++n) networks_[n].pairs = -1;
  }

  void run(const Tile& tile) {
    tile_ = &tile;
    list_.enter(tile);
    flushed_.enter(tile);
    Range uniform{tile.columns.begin, tile.columns.begin};
    if (pb_.median.region) {
      uniform.begin = min_of(max_of(tile.columns.begin, columns_.first), tile.columns.end);
      uniform.end = max_of(uniform.begin, min_of(tile.columns.end, columns_.last));
      if (uniform.begin < uniform.end) copy_region(uniform);
      for (i64 o = tile.rows.begin; o < tile.rows.end && uniform.begin < uniform.end;) o += run_of_rows(uniform, o);
    }
    waiting_ = waiting_count_ = 0;
    // Columns of outputs whose windows an edge cuts, and rows of both.
    Range strips{tile.rows.begin, tile.rows.begin};
    if (uniform.begin < uniform.end) {
      strips.begin = min_of(max_of(tile.rows.begin, rows_.first), tile.rows.end);
      strips.end = max_of(strips.begin, min_of(tile.rows.end, rows_.last));
      for (i64 c = tile.columns.begin; c < tile.columns.end && strips.begin < strips.end; ++c) {
        if (c == uniform.begin) c = uniform.end;
        if (c < tile.columns.end) strip(strips, c);
      }
    }
    for (i64 o = tile.rows.begin; o < tile.rows.end; ++o) {
      if (o == strips.begin) o = strips.end;
      if (o >= tile.rows.end) break;
      list_.list(o);
      for (i64 c = tile.columns.begin; c < tile.columns.end; ++c) {
        if (c == uniform.begin) c = uniform.end;
        if (c >= tile.columns.end) break;
        for (i64 i = tile.inner.begin; i < tile.inner.end; ++i) gather(o, c, i);
      }
    }
    flush();
  }

 private:
  // Taps of a whole window along a row are runs of the region: its columns are kept by their phase, that is their position
  // modulo the stride.
  void measure() {
    const i64 stride = columns_.stride;
    i64 phases[kMostTaps];
    for (i64 j = 0; j < columns_.window; ++j) {
      const i64 phase = columns_.step * j % stride;
      int slot = 0;
      while (slot < slots_ && phases[slot] != phase) ++slot;
      if (slot == slots_) phases[slots_++] = phase_[slot] = phase;
      tap_slot_[j] = slot;
      tap_shift_[j] = columns_.step * j / stride;
      shift_ = max_of(shift_, tap_shift_[j]);
    }
    slot_ = (min_of(pb_.median.columns, columns_.last - columns_.first) + shift_) * pb_.median.inner;
    region_rows_ = longest_span(rows_, pb_.median.rows);
    i64 outer = 1;
    for (int a = 0; a < pb_.n_axes - 2; ++a) outer *= pb_.axes[a].radix;
    region_lanes_ = outer * region_rows_ * slots_ * slot_;
    run_lanes_ = slots_ * slot_ + (slots_ == 1 ? kBlock : 0);
  }

  void copy_region(Range uniform) {
    const i64 n = uniform.end - uniform.begin, inner = tile_->inner.end - tile_->inner.begin;
    const i64 start = columns_.base + columns_.stride * (uniform.begin - columns_.first);
    const Range span = spanned(rows_, tile_->rows);
    first_row_ = span.begin;
    used_rows_ = span.end - span.begin;
    used_slot_ = (n + shift_) * inner;
    pitch_ = slots_ * used_slot_;
    seen_ = 0;
    for (int s = 0; s < slots_; ++s) {
      i64 most = 0;  // the farthest tap of this phase: no element beyond it need exist
      for (i64 j = 0; j < columns_.window; ++j)
        if (tap_slot_[j] == s) most = max_of(most, tap_shift_[j]);
      Cells cells{0, columns_.stride * columns_.stride_in, n + most, inner, pb_.inner_stride, used_rows_, rows_.stride_in, pitch_};
      L* to = region_ + s * used_slot_;
      for (i64 e = 0; e < list_.n_outer; ++e, to += used_rows_ * pitch_) {
        cells.at = list_.outer[e] + span.begin * rows_.stride_in + (start + phase_[s]) * columns_.stride_in +
                   tile_->inner.begin * pb_.inner_stride;
        to_.codec.lanes(tile_->x, cells, to, &seen_);
      }
    }
  }

  // A row of outputs, or several alike; how many.
  i64 run_of_rows(Range uniform, i64 o) {
    const i64 inner = tile_->inner.end - tile_->inner.begin, length = (uniform.end - uniform.begin) * inner;
    i64 rows = 1;
    if (slots_ == 1 && rows_.stride == 1 && o >= rows_.first && o < rows_.last)
      rows = max_of(1, min_of(min_of(rows_.last, tile_->rows.end) - o, kBlock / pitch_));
    const Window w = window_at(rows_, o);
    const int n_rows = static_cast<int>(list_.n_outer * w.count), window = static_cast<int>(columns_.window), n = n_rows * window;
    const L* row[kMostTaps];
    for (int t = 0; t < n_rows; ++t)
      row[t] = region_ + (t / w.count * used_rows_ + w.start + rows_.step * (t % w.count) - first_row_) * pitch_;
    i64 shift[kMostTaps];
    for (int j = 0; j < window; ++j) shift[j] = tap_slot_[j] * used_slot_ + tap_shift_[j] * inner;
    const i64 lanes = (rows - 1) * pitch_ + length;
    const L* taps[kMostTaps];
    for (int t = 0; t < n; ++t) taps[t] = row[t / window] + shift[t % window];
    if (n_rows == 3 && window == 3) {
      middle_of_9(row, shift, rows * pitch_, lanes);
    } else if (n_rows == 5 && window == 5) {
      middle_of_25(row, shift, rows * pitch_, lanes);
    } else {
      sort_taps(taps, n, lanes);
    }
    const bool known = to_.positions && !(seen_ & kSawNan);
    if constexpr (kLocates)
      if (known) locate(taps, n, lanes);
    const bool looks = to_.positions || (seen_ & kSawNan) || both_zeros(seen_);
    for (i64 r = 0; r < rows; ++r) {
      if (looks) list_.list(o + r);
      if (kLocates && known) put_positions(uniform, o + r, n, r * pitch_, inner);
      else finish(uniform, o + r, n, r * pitch_, inner);
    }
    return rows;
  }

  void finish(Range uniform, i64 o, int n, i64 at, i64 inner) {
    const bool even = n % 2 == 0;
    const i64 columns = uniform.end - uniform.begin;
    if (!to_.positions) {
      const bool whole = inner == pb_.inner;
      for (i64 c = 0; c < (whole ? 1 : columns); ++c)
        to_.codec.finish(low_ + at + c * inner, even ? high_ + at + c * inner : nullptr, whole ? columns * inner : inner,
                         to_.call.y, to_.place(*tile_, o, uniform.begin + c, tile_->inner.begin));
      if (!(seen_ & kSawNan) && !both_zeros(seen_)) return;
    }
    for (i64 i = 0; i < columns * inner; ++i)
      again(list_, o, uniform.begin + i / inner, tile_->inner.begin + i % inner, low_ + at + i, (even ? high_ : low_) + at + i,
          seen_);
  }

  // Which tap the lower and the upper middle is: of those that equal it, the one with its rank in scan order.
  __attribute__((noinline)) void locate(const L* const* taps, int n, i64 lanes) {
    const Int rank_low = static_cast<Int>((n - 1) / 2), rank_high = static_cast<Int>(n / 2);
    for (i64 i = 0; i < lanes; i += kLanes) {
      const V low = load<V>(low_ + i), high = n % 2 ? low : load<V>(high_ + i);
      Number skip_low = Number{} + rank_low, skip_high = Number{} + rank_high;
      for (int t = 0; t < n; ++t) {
        const V v = load<V>(taps[t] + i);
        skip_low += (Number)(v < low);
        skip_high += (Number)(v < high);
      }
      Number at_low{}, at_high{};
      for (int t = 0; t < n; ++t) {
        const V v = load<V>(taps[t] + i);
        const Int number = static_cast<Int>(t);
        const Number is_low = (Number)(v == low), is_high = (Number)(v == high), tap = Number{} + number;
        at_low |= is_low & (skip_low == 0) & tap;
        at_high |= is_high & (skip_high == 0) & tap;
        skip_low += is_low;
        skip_high += is_high;
      }
      store(low_tap_ + i, at_low);
      store(high_tap_ + i, at_high);
    }
  }

  void put_positions(Range uniform, i64 o, int n, i64 at, i64 inner) {
    const int window = static_cast<int>(columns_.window);
    i64 tap_at[kMostTaps];
    for (int t = 0; t < n; ++t) tap_at[t] = list_.at[t / window] + t % window * (columns_.step * columns_.stride_in);
    // The keys of halves tell their zeros apart.
    const bool zeros = same<L, std::int16_t> && both_zeros(seen_);
    for (i64 c = uniform.begin; c < uniform.end; ++c) {
      const i64 start = (columns_.base + columns_.stride * (c - columns_.first)) * columns_.stride_in;
      std::uint32_t* middles = static_cast<std::uint32_t*>(to_.call.offsets) + 2 * to_.place(*tile_, o, c, tile_->inner.begin);
      for (i64 i = 0; i < inner; ++i, ++at, middles += 2) {
        const i64 from = start + (tile_->inner.begin + i) * pb_.inner_stride;
        middles[0] = static_cast<std::uint32_t>(from + tap_at[low_tap_[at]]);
        middles[1] = static_cast<std::uint32_t>(from + tap_at[high_tap_[at]]);
        if (zeros) again(list_, o, c, tile_->inner.begin + i, low_ + at, (n % 2 ? low_ : high_) + at, seen_);
      }
    }
  }

  // Has the exact answer found where a value does not tell it.
  void again(const RowList& list, i64 row, i64 column, i64 inner, const L* low_lane, const L* high_lane, unsigned seen) {
    const double low = to_.codec.lane_value(low_lane), high = to_.codec.lane_value(high_lane);
    if (!to_.positions && !(seen & kSawNan) && !(both_zeros(seen) && (low == 0 || high == 0))) return;
    to_.look_again(elements_of(pb_, *tile_, list, column, inner), low, high, to_.place(*tile_, row, column, inner));
  }

  const Network& network(int n) {
    if (networks_[n].pairs < 0) networks_[n].build(n);
    return networks_[n];
  }

  __attribute__((noinline)) void sort_taps(const L* const* taps, int n, i64 lanes) {
    const Network& net = network(n);
    V v[kMostTaps];
    for (i64 i = 0; i < lanes; i += kLanes) {
      for (int t = 0; t < n; ++t) v[t] = load<V>(taps[t] + i);
      for (int c = 0; c < net.pairs; ++c) sort2(v[net.pair[c].low], v[net.pair[c].high]);
      store(low_ + i, v[(n - 1) / 2]);
      store(high_ + i, v[n / 2]);
    }
  }

  // Columns are sorted once for the three windows that share them. The median of nine is that of the greatest minimum,
  // the median of the middles and the least maximum.
  __attribute__((noinline)) void middle_of_9(const L* const* row, const i64* shift, i64 width, i64 lanes) {
    // Copies that no store can alias stay in registers.
    const L *above = row[0], *middle = row[1], *below = row[2];
    L *least = sorted_[0], *between = sorted_[1], *most = sorted_[2], *to = low_;
    for (i64 i = 0; i < width; i += kLanes) {
      V a = load<V>(above + i), b = load<V>(middle + i), c = load<V>(below + i);
      sort2(a, b);
      sort2(b, c);
      sort2(a, b);
      store(least + i, a);
      store(between + i, b);
      store(most + i, c);
    }
    const i64 left = shift[0], center = shift[1], right = shift[2];
    for (i64 i = 0; i < lanes; i += kLanes) {
      const V low = greater(greater(load<V>(least + left + i), load<V>(least + center + i)), load<V>(least + right + i));
      const V high = lesser(lesser(load<V>(most + left + i), load<V>(most + center + i)), load<V>(most + right + i));
      const V mid = middle3(load<V>(between + left + i), load<V>(between + center + i), load<V>(between + right + i));
      store(to + i, middle3(low, mid, high));
    }
  }

  __attribute__((noinline)) void middle_of_25(const L* const* row, const i64* shift, i64 width, i64 lanes) {
    for (i64 i = 0; i < width; i += kLanes) {
      V v[5];
      for (int r = 0; r < 5; ++r) v[r] = load<V>(row[r] + i);
      compare<kSort5>(v);
      for (int r = 0; r < 5; ++r) store(sorted_[r] + i, v[r]);
    }
    for (i64 i = 0; i < lanes; i += kLanes) {
      V v[25];
      for (int r = 0; r < 5; ++r)
        for (int c = 0; c < 5; ++c) v[5 * r + c] = load<V>(sorted_[r] + shift[c] + i);
      compare<kMedian25>(v);
      store(low_ + i, v[kMiddleOf25]);
    }
  }

  // One column of outputs over whole rows of windows: a tap is a run down the rows.
  void strip(Range outputs, i64 c) {
    const Window w = window_at(columns_, c);
    list_.list(outputs.begin);
    const int n = static_cast<int>(list_.n * w.count);
    const i64 item = dtype_bytes(pb_.in), down = rows_.stride * rows_.stride_in, step = columns_.step * columns_.stride_in;
    for (i64 i = tile_->inner.begin; i < tile_->inner.end; i += kStrip) {
      const i64 inner = min_of(tile_->inner.end - i, kStrip), at_once = max_of(1, kStrip / inner);
      for (i64 o = outputs.begin; o < outputs.end; o += at_once) {
        const i64 count = min_of(at_once, outputs.end - o), lanes = count * inner;
        const L* taps[kMostTaps];
        unsigned seen = 0;
        list_.list(o);
        for (int t = 0; t < n; ++t) {
          taps[t] = gathered_ + t * kStrip;
          const i64 at = list_.at[t / w.count] + w.start * columns_.stride_in + t % w.count * step + i * pb_.inner_stride;
          to_.codec.lanes(tile_->x, {at, down, count, inner, pb_.inner_stride}, gathered_ + t * kStrip, &seen);
        }
        sort_taps(taps, n, lanes);
        const L* high = n % 2 ? low_ : high_;
        if (!to_.positions) {
          to_.codec.finish(low_, n % 2 ? nullptr : high_, lanes, narrow_, 0);
          const char* from = reinterpret_cast<const char*>(narrow_);
          char* y = static_cast<char*>(to_.call.y);
          for (i64 r = 0; r < count; ++r, from += inner * item) {
            char* to = y + to_.place(*tile_, o + r, c, i) * item;
            if (item == 1 && inner == 1) *to = *from;
            else if (item == 4 && inner == 1) __builtin_memcpy(to, from, 4);
            else __builtin_memcpy(to, from, static_cast<std::size_t>(inner * item));
          }
          if (!(seen & kSawNan) && !both_zeros(seen)) continue;
        }
        for (i64 r = 0; r < count; ++r) {
          list_.list(o + r);
          for (i64 k = 0; k < inner; ++k) again(list_, o + r, c, i + k, low_ + r * inner + k, high + r * inner + k, seen);
        }
      }
    }
  }

  // Windows of any form, a vector of outputs that read equally many elements.
  void gather(i64 o, i64 c, i64 i) {
    const Elements elements = elements_of(pb_, *tile_, list_, c, i);
    const int n = static_cast<int>(list_.n * elements.count);
    if (n != waiting_count_ || waiting_ == kLanes) flush();
    waiting_count_ = n;
    unsigned seen = 0;
    to_.codec.gather_lanes(elements, gathered_ + waiting_, kLanes, &seen);
    output_[waiting_++] = {o, c, i, seen};
  }

  void flush() {
    if (waiting_ == 0) return;
    const L* taps[kMostTaps];
    for (int t = 0; t < waiting_count_; ++t) taps[t] = gathered_ + t * kLanes;
    sort_taps(taps, waiting_count_, kLanes);
    i64 listed = -1;
    const L* high = waiting_count_ % 2 ? nullptr : high_;
    for (int l = 0; l < waiting_; ++l) {
      const Output& out = output_[l];
      if (!to_.positions)
        to_.codec.finish(low_ + l, high ? high + l : nullptr, 1, to_.call.y, to_.place(*tile_, out.row, out.column, out.inner));
      if (!to_.positions && !out.seen) continue;
      if (listed != out.row) flushed_.list(listed = out.row);
      again(flushed_, out.row, out.column, out.inner, low_ + l, high ? high + l : low_ + l, out.seen);
    }
    waiting_ = 0;
  }

  struct Output {
    i64 row, column, inner;
    unsigned seen;
  };

  const Results& to_;
  const Problem& pb_;
  const Axis &rows_, &columns_;
  RowList list_, flushed_;
  const Tile* tile_ = nullptr;
  Network* networks_;
  L *region_, *low_, *high_, *sorted_[5], *gathered_;
  u64* narrow_;
  Int *low_tap_ = nullptr, *high_tap_ = nullptr;
  Output output_[kLanes];
  int waiting_ = 0, waiting_count_ = 0;

  int slots_ = 0;
  i64 phase_[kMostTaps], tap_slot_[kMostTaps], tap_shift_[kMostTaps];
  i64 shift_ = 0, slot_ = 0, region_rows_ = 0, region_lanes_ = 0, run_lanes_ = 0;
  i64 first_row_ = 0, used_rows_ = 0, used_slot_ = 0, pitch_ = 0;
  unsigned seen_ = 0;
};

template <class L>
i64 by_network(const Results& to, i64 begin, i64 end, char* memory) {
  Scratch scratch{memory};
  ByNetwork<L> network(to, scratch);
  if (memory) for_each_tile(to.pb, to.call, begin, end, [&](const Tile& tile) { network.run(tile); });
  return static_cast<i64>(scratch.used);
}

// The k-th smallest of n keys, digit by digit from the top; `other` has room for n.
template <class K>
K select(const K* keys, K* other, i64 n, i64 k) {
  i64 counts[256];
  const K* from = keys;
  for (int shift = 8 * static_cast<int>(sizeof(K)) - 8;; shift -= 8) {
    for (int d = 0; d < 256; ++d) counts[d] = 0;
    for (i64 i = 0; i < n; ++i) ++counts[from[i] >> shift & 255];
    K digit = 0;
    while (counts[digit] <= k) k -= counts[digit++];
    if (counts[digit] == n && shift > 0) continue;
    i64 kept = 0;
    for (i64 i = 0; i < n; ++i)
      if ((from[i] >> shift & 255) == digit) other[kept++] = from[i];
    n = kept;
    from = other;
    if (n == 1 || shift == 0) return other[0];
  }
}

template <class K>
i64 by_selection(const Results& to, i64 begin, i64 end, char* memory) {
  const Problem& pb = to.pb;
  Scratch scratch{memory};
  RowList list(pb, scratch);
  K *keys = scratch.take<K>(pb.offset_count), *other = scratch.take<K>(pb.offset_count);
  if (!memory) return static_cast<i64>(scratch.used);
  for_each_tile(pb, to.call, begin, end, [&](const Tile& tile) {
    list.enter(tile);
    for (i64 o = tile.rows.begin; o < tile.rows.end; ++o) {
      list.list(o);
      for (i64 c = tile.columns.begin; c < tile.columns.end; ++c)
        for (i64 i = tile.inner.begin; i < tile.inner.end; ++i) {
          const Elements elements = elements_of(pb, tile, list, c, i);
          const i64 n = list.n * elements.count, place = to.place(tile, o, c, i);
          unsigned seen = 0;
          to.codec.gather_keys(elements, keys, &seen);
          K low = keys[0], high = keys[0];
          if (!(seen & kSawNan)) {
            low = high = select(keys, other, n, (n - 1) / 2);
            if (n % 2 == 0) {
              i64 until = 0;
              K next = ~K(0);
              for (i64 e = 0; e < n; ++e) {
                until += keys[e] <= low;
                next = keys[e] > low && keys[e] < next ? keys[e] : next;
              }
              if (until <= n / 2) high = next;
            }
          }
          const double low_value = to.codec.key_value(low), high_value = to.codec.key_value(high);
          if (to.positions || (seen & kSawNan) || ((seen & kSawNegativeZero) && (low_value == 0 || high_value == 0)))
            to.look_again(elements, low_value, high_value, place);
          else
            to.codec.finish_keys(low, high, to.call.y, place);
        }
    }
  });
  return 0;
}

// A tile's elements are ranked once, equal ones in scan order, so that a window is a set of different small numbers: one
// bit each. It slides along a row as in Huang, Yang and Tang, "A fast two-dimensional median filtering algorithm" (1979):
// elements that enter and leave set and clear bits, and the word of bits that holds the median moves a little.
template <class K>
class ByRanks {
 public:
  ByRanks(const Results& to, Scratch& scratch)
      : to_(to), pb_(to.pb), rows_(rows_of(pb_)), columns_(columns_of(pb_)), list_(pb_, scratch), one_(pb_, scratch) {
    i64 outer = 1;
    for (int a = 0; a < pb_.n_axes - 2; ++a) outer *= pb_.axes[a].radix;
    const i64 width = longest_span(columns_, pb_.median.columns), most = outer * longest_span(rows_, pb_.median.rows) * width;
    for (int s = 0; s < 2; ++s) {
      keys_[s] = scratch.take<K>(most);
      elements_[s] = scratch.take<std::uint32_t>(most);
    }
    ranks_ = scratch.take<std::uint32_t>(most);
    bits_ = scratch.take<u64>(most / 64 + 2);
  }

  void run(const Tile& tile) {
    list_.enter(tile);
    row_span_ = spanned(rows_, tile.rows);
    column_span_ = spanned(columns_, tile.columns);
    height_ = row_span_.end - row_span_.begin;
    width_ = column_span_.end - column_span_.begin;
    for (i64 i = tile.inner.begin; i < tile.inner.end; ++i) {
      rank(tile, i);
      for (i64 o = tile.rows.begin; o < tile.rows.end; ++o) row(tile, o, i);
    }
  }

 private:
  // Least significant digit first, so that equal keys stay in scan order.
  void rank(const Tile& tile, i64 inner) {
    constexpr int kDigit = 11, kDigits = (8 * static_cast<int>(sizeof(K)) + kDigit - 1) / kDigit, kBins = 1 << kDigit;
    const i64 n = list_.n_outer * height_ * width_;
    unsigned seen = 0;
    // All of the tile as if it were one window.
    for (i64 e = 0, at = 0; e < list_.n_outer; ++e)
      for (i64 r = row_span_.begin; r < row_span_.end; ++r, at += width_) {
        one_.at[0] = list_.outer[e] + r * rows_.stride_in;
        one_.n = 1;
        to_.codec.gather_keys({tile.x, &one_, column_span_.begin * columns_.stride_in + inner * pb_.inner_stride,
            columns_.stride_in, width_},
                              keys_[0] + at, &seen);
      }
    std::uint32_t counts[kDigits][kBins];
    for (int d = 0; d < kDigits; ++d)
      for (int b = 0; b < kBins; ++b) counts[d][b] = 0;
    // An element's number is its place column by column, where what enters and leaves with a step lies together.
    const i64 lines = list_.n_outer * height_;
    for (i64 line = 0, i = 0; line < lines; ++line)
      for (i64 c = 0; c < width_; ++c, ++i) elements_[0][i] = static_cast<std::uint32_t>(c * lines + line);
    for (i64 i = 0; i < n; ++i) {
      for (int d = 0; d < kDigits; ++d) ++counts[d][keys_[0][i] >> (kDigit * d) & (kBins - 1)];
    }
    int side = 0;
    for (int d = 0; d < kDigits; ++d) {
      if (counts[d][keys_[0][0] >> (kDigit * d) & (kBins - 1)] == n) continue;
      std::uint32_t sum = 0;
      for (int b = 0; b < kBins; ++b) {
        const std::uint32_t count = counts[d][b];
        counts[d][b] = sum;
        sum += count;
      }
      const K* keys = keys_[side];
      const std::uint32_t* elements = elements_[side];
      side ^= 1;
      for (i64 i = 0; i < n; ++i) {
        const std::uint32_t to = counts[d][keys[i] >> (kDigit * d) & (kBins - 1)]++;
        keys_[side][to] = keys[i];
        elements_[side][to] = elements[i];
      }
    }
    sorted_ = elements_[side];
    first_nan_ = n;
    if (seen & kSawNan)
      while (first_nan_ > 0 && keys_[side][first_nan_ - 1] == static_cast<K>(~K(0))) --first_nan_;
    for (i64 r = 0; r < n; ++r) ranks_[sorted_[r]] = static_cast<std::uint32_t>(r);
    words_ = (n + 63) / 64;
    word_ = words_ / 2;
  }

  struct Change {
    i64 below, nans;
  };

  // Puts `count` elements in the window or takes them out: how many have ranks before `word`, and how many are NaN.
  static __attribute__((noinline)) Change toggle(u64* __restrict bits, const std::uint32_t* __restrict ranks, i64 step, i64 count,
                                                 std::uint32_t word, std::uint32_t first_nan) {
    std::uint32_t below = 0, nans = 0;
    for (i64 j = 0; j < count; ++j) {
      const std::uint32_t rank = ranks[j * step];
      bits[rank >> 6] ^= 1ull << (rank & 63);
      below += rank >> 6 < word;
      nans += rank >= first_nan;
    }
    return {below, nans};
  }

  template <bool kEnter>
  void toggle_column(i64 position) {
    const std::uint32_t* ranks = ranks_ + (position - column_span_.begin) * (list_.n_outer * height_) +
        window_rows_.start - row_span_.begin;
    for (i64 e = 0; e < list_.n_outer; ++e, ranks += height_) {
      const Change change = toggle(bits_, ranks, rows_.step, window_rows_.count, static_cast<std::uint32_t>(word_),
          static_cast<std::uint32_t>(first_nan_));
      below_ += kEnter ? change.below : -change.below;
      nans_ += kEnter ? change.nans : -change.nans;
    }
  }

  void clear() {
    for (i64 w = 0; w < words_; ++w) bits_[w] = 0;
    below_ = nans_ = 0;
  }

  void row(const Tile& tile, i64 o, i64 inner) {
    window_rows_ = window_at(rows_, o);
    Window held{0, 0, 0};
    for (i64 c = tile.columns.begin; c < tile.columns.end; ++c) {
      const Window w = window_at(columns_, c);
      const i64 end = w.start + columns_.step * w.count, held_end = held.start + columns_.step * held.count;
      const bool follows = held.count > 0 && w.start >= held.start && end >= held_end && w.start < held_end &&
                           (w.start - held.start) % columns_.step == 0;
      if (follows) {
        for (i64 p = held.start; p < w.start; p += columns_.step) toggle_column<false>(p);
        for (i64 p = held_end; p < end; p += columns_.step) toggle_column<true>(p);
      } else {
        clear();
        for (i64 p = w.start; p < end; p += columns_.step) toggle_column<true>(p);
      }
      held = w;
      const i64 count = list_.n_outer * window_rows_.count * w.count;
      i64 low, high;
      if (nans_ > 0) {
        low = high = kth(count - nans_);
      } else {
        low = high = kth((count - 1) / 2);
        if (count % 2 == 0) high = next(low);
      }
      to_.put_at(tile.x, element(sorted_[low], inner), element(sorted_[high], inner), to_.place(tile, o, c, inner));
    }
  }

  i64 kth(i64 k) {
    i64 word = word_, below = below_;
    while (below > k) below -= __builtin_popcountll(bits_[--word]);
    for (i64 more; below + (more = __builtin_popcountll(bits_[word])) <= k; ++word) below += more;
    word_ = word;
    below_ = below;
    u64 left = bits_[word];
    for (i64 skip = k - below; skip > 0; --skip) left &= left - 1;
    return word * 64 + __builtin_ctzll(left);
  }

  i64 next(i64 rank) const {
    i64 word = rank / 64;
    u64 left = bits_[word] & (rank % 64 == 63 ? 0 : ~0ull << (rank % 64 + 1));
    while (!left) left = bits_[++word];
    return word * 64 + __builtin_ctzll(left);
  }

  // Where in x an element of the tile lies.
  i64 element(std::uint32_t number, i64 inner) const {
    const std::uint32_t lines = static_cast<std::uint32_t>(list_.n_outer * height_), height = static_cast<std::uint32_t>(height_);
    const std::uint32_t column = number / lines, line = number % lines;
    return list_.outer[line / height] + (row_span_.begin + line % height) * rows_.stride_in +
           (column_span_.begin + column) * columns_.stride_in + inner * pb_.inner_stride;
  }

  const Results& to_;
  const Problem& pb_;
  const Axis &rows_, &columns_;
  RowList list_, one_;
  K* keys_[2];
  std::uint32_t *elements_[2], *ranks_;
  const std::uint32_t* sorted_ = nullptr;
  u64* bits_;
  Window window_rows_{};
  Range row_span_{}, column_span_{};
  i64 height_ = 0, width_ = 0, words_ = 0, word_ = 0, below_ = 0, nans_ = 0, first_nan_ = 0;
};

template <class K>
i64 by_ranks(const Results& to, i64 begin, i64 end, char* memory) {
  Scratch scratch{memory};
  ByRanks<K> ranks(to, scratch);
  if (memory) for_each_tile(to.pb, to.call, begin, end, [&](const Tile& tile) { ranks.run(tile); });
  return static_cast<i64>(scratch.used);
}

template <bool kPositions>
i64 median_units(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  const Codec codec = codec_for(pb.in);
  const Results to{pb, call, codec, kPositions};
  const bool wide = dtype_bytes(pb.in) == 8;
  switch (pb.median.by) {
    case MedianBy::ranks: return wide ? by_ranks<u64>(to, begin, end, memory) : by_ranks<std::uint32_t>(to, begin, end, memory);
    case MedianBy::selection:
      return wide ? by_selection<u64>(to, begin, end, memory) : by_selection<std::uint32_t>(to, begin, end, memory);
    case MedianBy::histogram: return by_histogram(to, begin, end, memory);
    default: break;
  }
  switch (pb.in) {
    case Dtype::f32: return by_network<float>(to, begin, end, memory);
    case Dtype::f64: case Dtype::i32: case Dtype::u32: return by_network<double>(to, begin, end, memory);
    case Dtype::i64: case Dtype::u64: return by_network<i64>(to, begin, end, memory);
    case Dtype::boolean: case Dtype::u8: case Dtype::i8: return by_network<std::uint8_t>(to, begin, end, memory);
    default: return by_network<std::int16_t>(to, begin, end, memory);
  }
}

}  // namespace

UnitFn PW_ISA_NAME(median)(const Problem&, bool positions) { return positions ? median_units<true> : median_units<false>; }

}  // namespace poolwise
