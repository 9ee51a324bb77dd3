#include "plan.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <stdexcept>
#include <string>

#ifdef __linux__
#include <unistd.h>
#endif

namespace poolwise {
namespace {

using i128 = __int128;

constexpr i64 kLargest = i64{1} << 62;

// Per-thread budgets in bytes. A ring lives in half of a 1 MiB second-level cache; a tile of partial sums in the first
// level together with the rows that feed it.
constexpr i64 kRingBytes = 512 << 10;
constexpr i64 kTileBytes = 16 << 10;
constexpr i64 kBackTileBytes = 512 << 10;  // of doubles that gradients are added up in
constexpr i64 kStripBytes = 24 << 10;
constexpr i64 kSliceBytes = 256 << 10;
constexpr i64 kDirectRows = 64;
constexpr i64 kDirectTile = 32 << 10;  // elements
constexpr i64 kLongestTower = 1 << 16;
constexpr i64 kTallBytes = 1 << 20;
constexpr i64 kTallUnits = 8;
constexpr i64 kGatherBytes = 256 << 10;
constexpr i64 kFewChannels = 8;
constexpr i64 kSpreadBytes = 24 << 10;
constexpr i64 kSpreadRow = 40;
constexpr i64 kWholeRows = 256 << 10;  // of x read from end to end; half of a small second-level cache
constexpr i64 kWholeKept = 128 << 10;  // of any x

constexpr i64 kMostCached = 24 << 20;  // a last-level cache of hundreds of MiB is one that others share

// From half of the last-level cache on what comes after a call gains too, though it finds less there (benchmarks/NOTES.md).
i64 default_streams_from() {
  if (const char* wanted = std::getenv("POOLWISE_STREAM")) {
    const long long bytes = std::strtoll(wanted, nullptr, 10);
    return bytes > 0 ? bytes : kLargest;
  }
  long bytes = 0;
#ifdef _SC_LEVEL3_CACHE_SIZE
  bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
  return bytes > 0 ? std::min<i64>(bytes / 2, kMostCached) : i64{16} << 20;
}

std::atomic<i64>& streams_from() {
  static std::atomic<i64> bytes{default_streams_from()};
  return bytes;
}

[[noreturn]] void fail(const std::string& what) { throw std::invalid_argument("poolwise kernel: " + what); }

i64 product(i64 a, i64 b, const char* what) {
  const i128 r = static_cast<i128>(a) * b;
  if (r > kLargest || r < -kLargest) fail(std::string(what) + " is too large for 64-bit arithmetic");
  return static_cast<i64>(r);
}

void check_window(const Axis& axis, const Window& w, const std::string& where) {
  if (w.count < 1) fail(where + ": window without elements");
  if (w.count > axis.radix) fail(where + ": window of " + std::to_string(w.count) + " elements, radix " + std::to_string(axis.radix));
  if (w.padded < 0) fail(where + ": negative padding");
  if (w.padded > kLargest) fail(where + ": padding too large");
  const i128 last = w.start + static_cast<i128>(axis.step) * (w.count - 1);
  if (w.start < 0 || last >= axis.size_in)
    fail(where + ": window starts at " + std::to_string(w.start) + " and has " + std::to_string(w.count) +
         " elements, step " + std::to_string(axis.step) + ": outside 0.." + std::to_string(axis.size_in - 1));
}

// Whether any two windows share positions, the longest span of one and the most elements in one.
struct Shape {
  bool overlap;
  i64 span, most, most_with_padding;
  i64 fallback;  // how far a window starts or ends before an earlier one: less than a step
};

Shape check_axis(const Axis& axis, i64 edges, int index) {
  const std::string where = "axis " + std::to_string(index);
  if (axis.size_in < 0 || axis.n_out < 0) fail(where + ": negative size");
  if (axis.step < 1) fail(where + ": step " + std::to_string(axis.step) + ", expected at least 1");
  if (axis.radix < 1) fail(where + ": radix " + std::to_string(axis.radix) + ", expected at least 1");
  if (axis.first < 0 || axis.last < axis.first || axis.last > axis.n_out) fail(where + ": uniform range outside the outputs");
  if (edges != axis.n_out - (axis.last - axis.first))
    fail(where + ": " + std::to_string(edges) + " edge rows, expected " + std::to_string(axis.n_out - (axis.last - axis.first)));
  const i64 uniform = axis.last - axis.first;
  if (uniform > 0) {
    if (axis.stride < 1) fail(where + ": stride " + std::to_string(axis.stride) + ", expected at least 1");
    check_window(axis, {axis.base, axis.window, 0}, where);
    const i128 start = axis.base + static_cast<i128>(axis.stride) * (uniform - 1);
    if (start >= axis.size_in) fail(where + ": last uniform window starts at or beyond the end");
    check_window(axis, {static_cast<i64>(start), axis.window, 0}, where);
  }
  Shape shape{uniform > 1 && axis.stride <= axis.step * (axis.window - 1), 1, 1, 1, 0};
  i64 highest_start = -1, highest_end = -1;
  auto visit = [&](i64 i) {
    const Window w = window_at(axis, i);
    const std::string here = where + ", output " + std::to_string(i);
    const i64 end = last_position(axis, w);
    // See first_reaching() in problem.hpp.
    if (w.start < highest_start - (axis.step - 1) || end < highest_end - (axis.step - 1))
      fail(here + ": windows must not move backwards");
    shape.fallback = std::max({shape.fallback, highest_start - w.start, highest_end - end});
    shape.overlap |= w.start <= highest_end;
    shape.span = std::max(shape.span, end - w.start + 1);
    shape.most = std::max(shape.most, w.count);
    shape.most_with_padding = std::max(shape.most_with_padding, w.count + w.padded);
    highest_start = std::max(highest_start, w.start);
    highest_end = std::max(highest_end, end);
  };
  for (i64 i = 0; i < axis.first; ++i) check_window(axis, axis.edge[i], where), visit(i);
  if (uniform > 0) {
    visit(axis.first);
    if (uniform > 1) visit(axis.last - 1);
  }
  for (i64 i = axis.last; i < axis.n_out; ++i) check_window(axis, axis.edge[i - uniform], where), visit(i);
  return shape;
}

i64 partial_bytes(const Problem& pb) {
  switch (pb.op) {
    case Op::max: case Op::min: return 2 * dtype_bytes(pb.in);
    case Op::lp: return 8;
    default: return pb.in == Dtype::f64 || pb.in == Dtype::i64 || pb.in == Dtype::u64 ? 16 : 8;
  }
}

// Whether x is one piece of memory, all of which windows see.
bool is_dense(const Problem& pb) {
  for (int a = 0; a < pb.n_axes; ++a) {
    const Axis& axis = pb.axes[a];
    if (axis.step != 1 || axis.stride_in != axis.in_block || axis.stride > axis.window) return false;
  }
  return pb.inner_stride == 1 && in_one_piece(pb);
}

// See direct.hpp. Windows of one row and of one column are read at once where rows are not shared, so both together are
// limited there.
bool plan_direct(Problem& pb, i64 item) {
  const Axis &outer = pb.axes[0], &last = pb.axes[pb.n_axes - 1];
  // Of dilated windows that step by more than one some positions are in none; strips of channels would be of few columns.
  auto serves = [&](const Axis& axis) { return axis.radix <= kGroup && (axis.step == 1 || (axis.stride == 1 && pb.inner == 1)); };
  if (pb.n_axes > 2 || !serves(last) || !serves(outer)) return false;
  const i64 held = outer.ring + outer.step - 1;  // rows that windows may still see
  if (pb.n_axes == 2 && outer.ring > 0)
    for (pb.slots = 1; pb.slots < held;) pb.slots *= 2;
  else if (pb.n_axes == 2 && outer.radix * last.radix > kGroup)
    return false;
  const i64 one = product(item * std::max<i64>(pb.slots, 1), std::max<i64>(pb.inner, 1), "the size of a strip");
  if (pb.slots > 0 && one > kRingBytes) {  // even one column is too much to keep
    pb.slots = 0;
    return false;
  }
  const i64 least = (256 + pb.inner) / std::max<i64>(pb.inner, 1), n_out = std::max<i64>(last.n_out, 1);
  // Whole rows are best, kept in the second-level cache where they have to be: up to there wherever memory is read from end to end.
  const i64 most_whole = pb.linear ? kWholeRows : kWholeKept;
  const bool whole = pb.n_axes == 2 && one <= most_whole / std::max<i64>(last.n_out, 1);
  const i64 strip_bytes = whole ? most_whole : kStripBytes;
  const i64 fit = std::clamp<i64>(strip_bytes / one, std::min(least, n_out), n_out), strips = (n_out + fit - 1) / fit;
  pb.strip = (n_out + strips - 1) / strips;
  const i64 row = product(item * pb.strip, std::max<i64>(pb.inner, 1), "the size of a strip");
  if (pb.slots > 0) {
    while (pb.slots < 64 && pb.slots * 2 <= kStripBytes / row) pb.slots *= 2;
    pb.block = (pb.slots - held) / std::max<i64>(outer.stride, 1) + 1;
  } else {
    pb.block = std::clamp<i64>(kStripBytes / row, 1, 64);
  }
  pb.split = 0;
  // Each tile makes the rows that it shares with the one before again: at 64 rows a 3-row window costs 3 % more. One
  // channels-last image is a single plane, and has to be cut for threads to share it.
  const i64 rows = std::clamp<i64>(std::min(pb.planes, kDirectRows) * std::min(outer.n_out, 8 * kDirectRows) / 8, 4, kDirectRows);
  const i64 most = pb.n_axes == 1 ? std::max<i64>(kDirectTile / std::max<i64>(pb.inner, 1), pb.strip) : rows;
  pb.tile = std::clamp<i64>(most, 1, std::max<i64>(outer.n_out, 1));
  pb.tiles = (outer.n_out + pb.tile - 1) / pb.tile;
  pb.units = product(pb.planes, pb.tiles, "the number of work units");
  if ((pb.slots > 0 || pb.n_axes == 1) && pb.strip == last.n_out && pb.tiles == 1 && in_one_piece(pb))
    pb.group = std::clamp<i64>(kStripBytes / (row * (pb.n_axes == 1 ? 1 : std::max<i64>(outer.size_in, 1))), 1, kDirectRows);
  return true;
}

// Whether windows share so much that it pays to make them from parts of each other; see tall.hpp.
bool shares_much(const Axis& axis) {
  return axis.ring > 0 && axis.radix > kFewSources && axis.radix >= 4 * (axis.size_in / std::max<i64>(axis.n_out, 1));
}

// Windows as long as the longest, or cut short by an end of the array.
bool of_one_length(const Axis& axis) {
  auto fits = [&](const Window& w) { return w.count == axis.radix || w.start == 0 || w.start + w.count == axis.size_in; };
  for (i64 i = 0; i < axis.n_out - (axis.last - axis.first); ++i)
    if (!fits(axis.edge[i])) return false;
  return axis.first == axis.last || axis.window == axis.radix;
}

bool plan_tall(Problem& pb, i64 item) {
  const Axis &outer = pb.axes[0], &last = pb.axes[pb.n_axes - 1];
  if (pb.n_axes > 2 || last.step != 1 || outer.step != 1 || !(shares_much(last) || shares_much(outer))) return false;
  if (last.radix > kGroup && !shares_much(last) && pb.inner < 8) return false;
  if (pb.n_axes == 2 && (!of_one_length(outer) || (outer.radix > kGroup && !shares_much(outer)))) return false;
  if (last.radix >= kLongestTower) return false;
  const i64 rows = (pb.n_axes == 2 ? outer.radix : 0) + 20;
  const i64 column = product(item * rows, std::max<i64>(pb.inner, 1), "the size of a strip"), n_out = std::max<i64>(last.n_out, 1);
  // Each strip makes its windows' parts again for as many positions as a window has.
  const i64 least = std::min(n_out, std::max<i64>(2 * last.radix, 64));
  if (least > kTallBytes / column && column * least > 16 * kTallBytes) return false;
  const i64 fit = std::clamp<i64>(kTallBytes / column, least, n_out), strips = (n_out + fit - 1) / fit;
  pb.strip = (n_out + strips - 1) / strips;
  pb.slots = 0;
  pb.block = 1;
  pb.split = 0;
  // A tile makes the rows that it shares with the one before again.
  const i64 parts = std::max<i64>(1, kTallUnits / std::max<i64>(1, pb.planes * ((n_out + pb.strip - 1) / pb.strip)));
  const i64 n_rows = pb.n_axes == 2 ? std::max<i64>(outer.n_out, 1) : 1;
  pb.tile = std::clamp<i64>(std::max<i64>(4 * outer.radix, (n_rows + parts - 1) / parts), 1, n_rows);
  pb.tall = (n_rows + pb.tile - 1) / pb.tile;
  pb.units = product(product(pb.planes, pb.tall, "the number of work units"), (n_out + pb.strip - 1) / pb.strip, "the number of work units");
  return true;
}

// Windows of many rows that share few of them, on rows that are dense: see blocks.hpp.
bool whole_rows(const Problem& pb) {
  const Axis &outer = pb.axes[0], &last = pb.axes[pb.n_axes - 1];
  if (pb.n_axes != 2 || pb.split != 0 || outer.step != 1 || last.step != 1) return false;
  if (outer.radix < 6 && (outer.radix < 4 || outer.ring > 0 || outer.radix * last.radix <= kGroup)) return false;
  if (pb.inner_stride != 1 || last.stride_in != pb.inner) return false;
  auto shares_little = [](const Axis& axis) { return axis.radix <= 2 * axis.size_in / std::max<i64>(axis.n_out, 1) + 1; };
  return shares_little(outer) && shares_little(last);
}

// Elements of a dense plane that is one window, else 0: see blocks.hpp.
i64 whole_plane(const Problem& pb) {
  if (pb.inner != 1) return 0;
  for (int a = 0; a < pb.n_axes; ++a) {
    const Axis& axis = pb.axes[a];
    if (axis.n_out != 1 || window_at(axis, 0).count != axis.size_in) return 0;
    if (axis.size_in != 1 && (axis.step != 1 || axis.stride_in != axis.in_block)) return 0;
  }
  return pb.in_plane;
}

void plan_forward(Problem& pb, bool in_blocks) {
  const i64 item = partial_bytes(pb);
  const int depth = pb.n_axes - 1;
  auto bytes = [&](i64 elements) { return elements > kLargest / 64 ? kLargest : elements * item; };
  // Every axis whose reduced blocks fit in the cache joins the walk that reuses them.
  pb.split = depth;
  i64 held = 0;
  for (int a = depth - 1; a >= 0; --a) {
    const Axis& axis = pb.axes[a];
    const i128 ring = static_cast<i128>(std::max<i64>(axis.ring, 1)) * bytes(axis.out_block);
    if (held + ring > kRingBytes) break;
    held += static_cast<i64>(ring);
    pb.split = a;
  }
  const Axis& split = pb.axes[pb.split];
  const i64 block = std::max<i64>(1, bytes(std::max<i64>(split.out_block, 1)));
  pb.strip = pb.slots = pb.tall = 0;
  pb.fold.count = pb.group = 1;
  const bool slow = walks_only(pb);
  pb.blocks = in_blocks && !slow && whole_rows(pb);
  pb.whole = whole_plane(pb);
  if (pb.whole) pb.split = 0;
  if (!slow && !pb.blocks && !pb.whole && (plan_tall(pb, item) || plan_direct(pb, item))) return;
  i64 tile_bytes = kTileBytes;
  pb.slice = {};
  if (!slow && !pb.whole && pb.n_axes > 2 && pb.split < depth) {
    Problem slice = last_two(pb);
    if (plan_direct(slice, item)) pb.slice = {slice.strip, slice.slots, slice.block};
    // Each tile makes the planes that it shares with the one before again.
    if (pb.slice.strip && split.ring > 0) tile_bytes = kSliceBytes;
  }
  pb.tile = std::clamp<i64>(tile_bytes / block, 1, std::max<i64>(split.n_out, 1));
  pb.tiles = (split.n_out + pb.tile - 1) / pb.tile;
  pb.units = pb.planes;
  for (int a = 0; a < pb.split; ++a) pb.units *= pb.axes[a].n_out;
  pb.units = product(pb.units, pb.tiles, "the number of work units");
}

// The most windows that hold one position.
i64 most_windows(const Axis& axis) {
  i64 most = axis.last - axis.first > 1 ? (axis.window - 1) / axis.stride + 1 : 1, begin = 0;
  for (i64 end = 0; end < axis.n_out; ++end) {
    if (end > axis.first && end + 1 < axis.last) {  // all uniform windows are as the first ones
      end = axis.last - 1;
      begin = std::max(begin, end - most - 1);
    }
    const i64 start = window_at(axis, end).start;
    while (last_position(axis, window_at(axis, begin)) < start) ++begin;
    most = std::max(most, end - begin + 1);
  }
  return most;
}

bool plan_gather(Problem& pb) {
  pb.gather = 0;
  const bool picks = pb.op == Op::max || pb.op == Op::min, sums = pb.op == Op::avg || pb.op == Op::sum;
  if (pb.in != pb.out || !is_float(pb.in) || !(picks || sums || is_euclidean(pb)) || (picks && pb.offset_bytes > 1)) return false;
  pb.gather_terms = 1;
  pb.gather_rows = pb.planes;
  for (int a = 0; a < pb.n_axes; ++a) {
    const Axis& axis = pb.axes[a];
    if (axis.step != 1) return false;
    pb.gather_terms *= most_windows(axis);
    // Along rows without channels sums take turns with shuffles: many terms are cheaper axis by axis.
    if (pb.gather_terms > (picks || pb.inner > 1 ? kMostTerms : kMostTerms / 2)) return false;
    if (a < pb.n_axes - 1) pb.gather_rows = product(pb.gather_rows, axis.size_in, "the number of rows");
  }
  const Axis& last = pb.axes[pb.n_axes - 1];
  // What goes to one element of each window, of few channels, is put there one by one unless rows are gathered in runs.
  if (picks && pb.inner < kFewChannels && !(evenly_cut(last) && last.stride <= kMostTurns)) return false;
  const i64 bytes = std::max<i64>(1, last.size_in * last.in_block * dtype_bytes(pb.in));
  // Each unit looks up once which windows see which position; a row of a plane asks for a few 100 ns of that.
  pb.gather = std::clamp<i64>(kGatherBytes / bytes, 1, std::max<i64>(pb.gather_rows, 1));
  if (pb.n_axes == 2 && pb.gather > pb.axes[0].size_in) pb.gather -= pb.gather % std::max<i64>(pb.axes[0].size_in, 1);  // whole planes
  pb.back_units = (pb.gather_rows + pb.gather - 1) / pb.gather;
  return true;
}

// See spread.hpp.
bool plan_spread(Problem& pb) {
  if (pb.n_axes != 2 || pb.inner != 1 || (pb.op != Op::avg && pb.op != Op::sum) || pb.in != pb.out || !is_float(pb.in)) return false;
  const Axis &outer = pb.axes[0], &last = pb.axes[1];
  if (outer.step != 1 || last.step != 1 || last.window > kGroup || !has_one_form(last) || last.size_in > kSpreadRow) return false;
  if (outer.size_in > kSpreadBytes / static_cast<i64>(sizeof(double)) / (last.size_in + last.window - 1)) return false;
  pb.spread = true;
  pb.back_units = pb.planes;
  return true;
}

void plan_backward(Problem& pb) {
  pb.spread = false;
  pb.gather = 0;
  if (plan_spread(pb)) return;
  if (plan_gather(pb)) return;
  pb.back_split = pb.n_axes - 1;
  auto fits = [&](i64 elements) { return elements <= kBackTileBytes / 8; };
  while (pb.back_split > 0 && fits(pb.axes[pb.back_split - 1].in_block)) --pb.back_split;
  const Axis& split = pb.axes[pb.back_split];
  pb.back_tile = std::clamp<i64>(kBackTileBytes / 8 / std::max<i64>(split.in_block, 1), 1, std::max<i64>(split.size_in, 1));
  pb.back_tiles = (split.size_in + pb.back_tile - 1) / pb.back_tile;
  pb.back_units = pb.planes;
  for (int a = 0; a < pb.back_split; ++a) pb.back_units *= pb.axes[a].size_in;
  pb.back_units = product(pb.back_units, pb.back_tiles, "the number of work units");
}

}  // namespace

bool fold(const Problem& pb, Problem& folded, std::vector<BatchAxis>& batch) {
  if (pb.n_axes != 3 || pb.units == 0 || pb.whole || walks_only(pb) || pb.op == Op::median || pb.op == Op::blur) return false;
  const Axis &first = pb.axes[0], &second = pb.axes[1], &last = pb.axes[2];
  if (first.ring > 0 || second.ring > 0 || first.first != 0 || first.last != first.n_out || first.base != 0) return false;
  if (first.window * second.radix * last.radix > kGroup) return false;
  folded = last_two(pb);
  folded.streams = pb.streams;
  folded.fold = {first.window, first.step * first.stride_in, first.offset_unit};
  batch.assign(pb.batch, pb.batch + pb.n_batch);
  batch.push_back({first.n_out, first.stride * first.stride_in});
  folded.batch = batch.data();
  folded.n_batch = pb.n_batch + 1;
  folded.planes = pb.planes * first.n_out;
  folded.out_plane = first.out_block;
  folded.in_plane = first.in_block;
  folded.slice = {};
  folded.strip = 0;
  if (!plan_direct(folded, partial_bytes(pb))) return false;
  folded.linear = false;  // planes of x are read beside each other
  return true;
}

bool plan_positions(const Problem& pb, Problem& positions) {
  if (!pb.blocks || pb.units == 0) return false;
  positions = pb;
  plan_forward(positions, false);
  return positions.strip > 0;
}

i64 set_streams_from(i64 bytes) { return streams_from().exchange(bytes); }

void plan(Problem& pb) {
  if (pb.inner < 0) fail("negative inner size");
  pb.planes = 1;
  for (int a = 0; a < pb.n_batch; ++a) {
    if (pb.batch[a].size < 0) fail("negative batch size");
    if (pb.batch[a].size > 0) pb.planes = product(pb.planes, pb.batch[a].size, "the batch");
  }
  for (int a = 0; a < pb.n_batch; ++a)
    if (pb.batch[a].size == 0) pb.planes = 0;

  bool empty = pb.planes == 0 || pb.inner == 0;
  i64 padded_volume = 1;
  i128 reach = 0;  // the largest distance of an element from the start of x
  for (int a = 0; a < pb.n_axes; ++a) {
    Axis& axis = pb.axes[a];
    if (axis.size_in > kLargest || axis.n_out > kLargest || axis.step > kLargest || axis.stride > kLargest ||
        axis.window > kLargest || axis.radix > kLargest)
      fail("axis " + std::to_string(a) + ": a number beyond 2^62");
  }
  for (int a = pb.n_axes - 1; a >= 0; --a) {
    Axis& axis = pb.axes[a];
    const bool inmost = a == pb.n_axes - 1;
    const Axis& next = pb.axes[a + (inmost ? 0 : 1)];
    axis.offset_unit = inmost ? 1 : product(next.offset_unit, next.radix, "the number of elements in a window");
    axis.out_block = inmost ? pb.inner : product(next.out_block, next.n_out, "the number of outputs");
    axis.in_block = inmost ? pb.inner : product(next.in_block, next.size_in, "the number of elements");
    reach += static_cast<i128>(std::max<i64>(axis.size_in - 1, 0)) * (axis.stride_in < 0 ? -static_cast<i128>(axis.stride_in) : axis.stride_in);
  }
  const Axis& outer = pb.axes[0];
  pb.offset_count = product(outer.offset_unit, outer.radix, "the number of elements in a window");
  pb.out_plane = product(outer.out_block, outer.n_out, "the number of outputs");
  pb.in_plane = product(outer.in_block, outer.size_in, "the number of elements");
  product(product(pb.out_plane, std::max<i64>(pb.planes, 1), "the number of outputs"), 16, "the number of outputs");
  product(product(pb.in_plane, std::max<i64>(pb.planes, 1), "the number of elements"), 16, "the number of elements");
  for (int a = 0; a < pb.n_batch; ++a)
    reach += static_cast<i128>(std::max<i64>(pb.batch[a].size - 1, 0)) * (pb.batch[a].stride < 0 ? -static_cast<i128>(pb.batch[a].stride) : pb.batch[a].stride);
  reach += static_cast<i128>(std::max<i64>(pb.inner - 1, 0)) * (pb.inner_stride < 0 ? -static_cast<i128>(pb.inner_stride) : pb.inner_stride);
  if (reach > kLargest / 16) fail("strides reach beyond 64-bit arithmetic");
  pb.offset_bytes = pb.offset_count <= 256 ? 1 : pb.offset_count <= 65536 ? 2 : pb.offset_count <= std::numeric_limits<std::int32_t>::max() ? 4 : 8;

  for (int a = 0; a < pb.n_axes; ++a) {
    Axis& axis = pb.axes[a];
    const Shape shape = check_axis(axis, axis.ring, a);  // until here `ring` holds the number of edge rows
    axis.ring = shape.overlap ? shape.span : 0;
    // Numbers that no window uses must not overflow a product later; a step is also the bound of the fallback.
    if (shape.most == 1) axis.step = shape.fallback + 1;
    if (axis.last - axis.first < 2) axis.stride = 1;
    product(product(axis.radix, axis.step, "radix times step"), std::max<i64>(axis.in_block, 1), "radix times step");
    padded_volume = product(padded_volume, shape.most_with_padding, "the number of elements in a window with padding");
    empty |= axis.n_out == 0;
  }
  if (padded_volume > (i64{1} << 31) && !is_float(pb.in) && pb.in != Dtype::i64 && pb.in != Dtype::u64 &&
      (pb.op == Op::sum || pb.op == Op::avg))
    fail("windows of more than 2^31 integers are not supported");
  const i64 read = pb.planes * pb.in_plane * dtype_bytes(pb.in), written = pb.planes * pb.out_plane * dtype_bytes(pb.out);
  pb.streams = read + written > streams_from().load(std::memory_order_relaxed);
  pb.linear = pb.streams && is_dense(pb);
  plan_forward(pb, true);
  if (pb.n_axes > 1 && (pb.n_axes > 2 ? pb.slice.strip : pb.strip) != pb.axes[pb.n_axes - 1].n_out) pb.linear = false;
  plan_backward(pb);
  if (empty) pb.units = 0;
  if (pb.planes == 0 || pb.inner == 0) pb.back_units = 0;
}

std::vector<Target> make_targets(const Problem& pb) {
  std::vector<Target> table;
  if (pb.offset_count > kLongestTable) return table;
  for (i64 offset = 0; offset < pb.offset_count; ++offset) table.push_back(decoded(pb, offset));
  return table;
}

double estimated_seconds(const Problem& pb, bool backward) {
  double outputs = static_cast<double>(pb.planes) * pb.inner, inputs = outputs, visits = outputs;
  for (int a = 0; a < pb.n_axes; ++a) {
    outputs *= pb.axes[a].n_out;
    inputs *= pb.axes[a].size_in;
    visits *= static_cast<double>(pb.axes[a].n_out) * pb.axes[a].radix;
  }
  const bool roots = pb.op == Op::lp && !std::isinf(pb.p);
  if (pb.op == Op::median && !backward) return 1e-9 * outputs * (pb.median.by == MedianBy::network ? 0.2 * pb.offset_count : 30);
  if (backward) return 1e-9 * (inputs * 0.4 + (roots ? visits * 5 : outputs * 2));
  inputs *= static_cast<double>(pb.fold.count);
  return 1e-9 * (inputs * (roots && pb.p != 1 && pb.p != 2 ? 10 : 0.1 * dtype_bytes(pb.in)) + outputs * (roots ? 5 : 0.5));
}

}  // namespace poolwise
