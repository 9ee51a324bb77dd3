// The walk of every combining operator (a monoid and a finish) over its windows.
//
// Rows are reduced along the innermost axis first, where memory is contiguous, and the reduced rows are then combined
// along each outer axis. Where windows share positions the reduced rows are kept in a ring, so that each is made once.
// Innermost first is also what makes a strict comparison keep the first element in scan order. (direct.hpp combines columns
// first where that does not matter.)
//
// A Family supplies the arithmetic:
//   Element               what x points to; unsigned char where the family reads it through prepare() only
//   element_size()        in units of Element
//   Lane                  element type of a row as the leaf reads it
//   Row                   a row of partial results; at(n) is the row n elements on
//   take_row(scratch, n)  storage for one
//   prepares()            whether rows must be copied (gathered, widened, transformed) before they are read
//   prepare(...)          that copy
//   kVectors              whether across<S> has anything faster than scalars for S > 1
//   across<S>(...)        dst[i] = combination over sources s of source[s][S*i]
//   merge(...)            dst[i] = combination over rows r of rows[r][i]
//   pick(...)             groups of a row's elements, one behind the other (pick_groups)
//   kFarthestPick         up to how far apart single elements are made with all between them, and picked
//   kByColumns            whether columns may be combined before rows (direct.hpp); then also
//   takes_columns()       whether that pays; it is the way then, where nothing that was looked at speaks against it
//   merge_halves(...)     merge, of every second element of the rows
//   clear(row, n)         elements that change nothing
//   kPairs                whether windows of two columns that step by two may be taken columns first without a row between; then also
//   takes_pairs()         whether that is so for what was looked at, and
//   across_pairs(...)     dst[i] = combination of elements 2*i and 2*i + 1 of each row
//   kGroups               whether the same may be for groups of bytes (groups.hpp); then also
//   across_groups(...)    that, and whether it was done
// A mark goes with every source and row: the offset that it adds (used by families that keep positions).
#pragma once

#include "stream.hpp"

namespace poolwise {
namespace {

// Rows combined in one call: how many, what each adds to the sources and to the destination, how far ahead of the sources
// memory is asked for (0: not at all; kInTurns: as in_turns() says), and for how many of the last ones, where the others
// were sources of a line before (0: there are none), and whether results go past the caches (stream.hpp). The processor
// looks some hundred elements ahead on its own, which hides neither the start of each row nor the work between them.
constexpr i64 kInTurns = -1 - static_cast<i64>(~0ull >> 1);

struct Lines {
  i64 count, from, to;
  i64 ahead = 0;
  int fresh = 0;
  bool past = false;
};

// Lines of a result, which nothing here reads again.
inline Lines result_lines(const Problem& pb, i64 count, i64 from, i64 to) { return {count, from, to, 0, 0, pb.streams}; }

// Whether n elements of each line, the first of which are at p, are whole lines of the cache that are to go past it.
template <class L>
inline __attribute__((always_inline)) bool go_past(const Lines& lines, const L* p, i64 n) {
  return whole_lines(lines.past, p, lines.count > 1 ? n | lines.to : n);
}

// Asks for memory `ahead` of p, from where a vector is about to be read.
template <class V, class L>
inline __attribute__((always_inline)) void ask_ahead(const L* p, i64 ahead) {
  if (ahead == kInTurns) fetch_in_turns<V>(p); else if (ahead != 0) __builtin_prefetch(p + ahead);
}

// Which sources' memory is asked for in advance, a vector of S-th elements each: the first and the last, where that is another
// row, and of windows of 2 x 2 those between where they are of other channels; or the fresh ones. Known before a row begins:
// looked for at each vector it cost as much as the vector.
enum class Asks { none, first, ends, four, last_two, last };

template <int S, class L>
inline Asks asks_of(const L* const* sources, int k, const Lines& lines) {
  constexpr i64 wide = S * static_cast<i64>(kVectorBytes / sizeof(L));
  if (lines.ahead == 0) return Asks::none;
  if (lines.fresh == 1) return Asks::last;
  if (lines.fresh == 2 && k > 2) return Asks::last_two;
  if (k == 4 && sources[1] - sources[0] > wide) return Asks::four;
  return sources[k - 1] - sources[0] > wide ? Asks::ends : Asks::first;
}

template <int S, class V, class L>
inline __attribute__((always_inline)) void fetch_ahead(Asks asks, const L* const* sources, int k, i64 at, i64 ahead) {
  if constexpr (sizeof(V) >= 16) {
    constexpr i64 lanes = sizeof(V) / sizeof(L);
    if (asks == Asks::none) return;
    const bool turns = ahead == kInTurns;
    auto ask = [&](const L* p) __attribute__((always_inline)) {
#pragma GCC unroll 4
      for (int s = 0; s < S; ++s) {
        const L* q = p + at + s * lanes;
        if (turns) fetch_in_turns<V>(q); else __builtin_prefetch(q + ahead);
      }
    };
    if (asks != Asks::last) ask(sources[asks == Asks::last_two ? k - 2 : 0]);
    if (asks == Asks::first) return;
    ask(sources[k - 1]);
    if (k != 4 || asks != Asks::four) return;
    ask(sources[1]);
    ask(sources[2]);
  }
}

constexpr i64 kPicked = 256;  // outputs that are made at once where they are picked

template <class F>
class Direct;

// Its larger members are kept out of line: inlined into each other they took minutes to compile.
template <class F>
class Walk {
  using Lane = typename F::Lane;
  using Row = typename F::Row;

 public:
  // `planes` reduces the last two axes where it is given; see direct.hpp.
  Walk(const Problem& pb, F& family, Scratch& scratch, Direct<F>* planes = nullptr)
      : pb_(pb), family_(family), last_(pb.axes[pb.n_axes - 1]), planes_(planes), depth_(pb.n_axes - 1) {
    for (int a = 0; a < pb.n_axes; ++a) stride_[a] = pb.axes[a].stride_in * family.element_size();
    const i64 block = pb.axes[pb.split].out_block;
    for (int level = pb.split; level < depth_; ++level) {
      const Axis& axis = pb.axes[level];
      if (axis.ring > 0) {
        tags_[level] = scratch.take<i64>(axis.ring);
        ring_[level] = family.take_row(scratch, axis.ring * axis.out_block);
        ring_base_[level] = nullptr;
      } else if (level + 1 < depth_) {
        spare_[level] = family.take_row(scratch, axis.out_block);
      }
    }
    if (pb.split > 0 && pb.split < depth_) tile_spare_ = family.take_row(scratch, pb.tile * block);
    position_stride_ = last_.stride_in;
    if (family.prepares()) {
      // Positions that one tile of outputs of the last axis can span.
      const i64 outputs = pb.split == depth_ ? pb.tile : last_.n_out;
      i64 longest = 0;
      for (i64 lo = 0; lo < last_.n_out; lo += outputs) {
        const i64 hi = min_of(lo + outputs, last_.n_out);
        longest = max_of(longest, reach(hi) - origin_of(lo));
      }
      prepared_ = scratch.take<Lane>(longest * pb.inner);
      position_stride_ = pb.inner;
    }
    if constexpr (F::kRepeats) {  // sums would be added in another order
      if (pb.inner == 1 && position_stride_ == 1 && last_.stride > 2 && last_.stride <= F::kFarthestPick) {
        picked_ = min_of(last_.n_out, kPicked);
        all_ = family.take_row(scratch, picked_ * last_.stride + kVectorBytes);
      }
    }
  }

  // Units are tiles; emit(plane, outputs (index per axis before the split), lo, hi, row) finishes each.
  template <class Begin, class End>
  void run(const void* x, i64 begin, i64 end, Begin&& destination, End&& finish) {
    x_ = static_cast<const typename F::Element*>(x);
    const i64 block = pb_.axes[pb_.split].out_block;
    i64 outputs[kMaxAxes] = {};
    for (i64 unit = begin; unit < end; ++unit) {
      i64 rest = unit;
      const i64 lo = rest % pb_.tiles * pb_.tile;
      const i64 hi = min_of(lo + pb_.tile, pb_.axes[pb_.split].n_out);
      rest /= pb_.tiles;
      i64 line = rest;
      for (int a = pb_.split - 1; a >= 0; --a) {
        outputs[a] = rest % pb_.axes[a].n_out;
        rest /= pb_.axes[a].n_out;
      }
      const i64 plane = rest;
      const i64 at = line * pb_.axes[pb_.split].n_out * block + lo * block;
      Row dst = destination(at);
      const typename F::Element* base = x_ + batch_offset(pb_, plane) * family_.element_size();
      if (pb_.split == depth_) rows_of_line(base, outputs, lo, hi, dst);
      else if (pb_.split == 0) reduce(0, base, lo, hi, dst);
      else blocks_of_tile(base, outputs, lo, hi, dst);
      finish(base, outputs, at, lo, hi, dst);
    }
  }

 private:
  using Element = typename F::Element;

  // The positions that outputs lo..hi-1 of the last axis may read, from origin_of(lo) to reach(hi).
  i64 origin_of(i64 lo) const { return lowest_from(last_, window_at(last_, lo)); }
  i64 reach(i64 hi) const { return end_up_to(last_, window_at(last_, hi - 1)); }

  // Every combination of positions that the windows of outputs[0..split-1] see, in scan order.
  template <class Visit>
  void prefixes(const Element* base, const i64* outputs, Visit&& visit) {
    Window w[kMaxAxes];
    i64 j[kMaxAxes] = {};
    for (int a = 0; a < pb_.split; ++a) w[a] = window_at(pb_.axes[a], outputs[a]);
    for (;;) {
      const Element* p = base;
      i64 mark = 0;
      for (int a = 0; a < pb_.split; ++a) {
        p += (w[a].start + pb_.axes[a].step * j[a]) * stride_[a];
        mark += j[a] * pb_.axes[a].offset_unit;
      }
      visit(p, mark);
      int a = pb_.split - 1;
      while (a >= 0 && ++j[a] == w[a].count) j[a--] = 0;
      if (a < 0) return;
    }
  }

  void rows_of_line(const Element* base, const i64* outputs, i64 lo, i64 hi, Row dst) {
    const Element* rows[kGroup];
    i64 marks[kGroup];
    int n = 0;
    bool accumulate = false;
    prefixes(base, outputs, [&](const Element* p, i64 mark) {
      if (n == kGroup) {
        leaf(rows, marks, n, lo, hi, dst, accumulate);
        accumulate = true;
        n = 0;
      }
      rows[n] = p;
      marks[n++] = mark;
    });
    leaf(rows, marks, n, lo, hi, dst, accumulate);
  }

  void blocks_of_tile(const Element* base, const i64* outputs, i64 lo, i64 hi, Row dst) {
    bool first = true;
    const i64 n = (hi - lo) * pb_.axes[pb_.split].out_block;
    prefixes(base, outputs, [&](const Element* p, i64 mark) {
      Row to = first ? dst : tile_spare_;
      reduce(pb_.split, p, lo, hi, to);
      // The mark of the first combination is 0: every j is.
      if (!first) family_.merge(&to, &mark, 1, n, dst, true);
      first = false;
    });
  }

  // Outputs lo..hi-1 of the axis `level` and all outputs of the later axes, for x at `base`.
  void reduce(int level, const Element* base, i64 lo, i64 hi, Row dst) {
    const Axis& axis = pb_.axes[level];
    if constexpr (F::kVectors) {
      if (planes_ && level == depth_ - 1) return planes_->rows(base, lo, hi, dst);
    }
    if (level == depth_) {
      const i64 mark = 0;
      return leaf(&base, &mark, 1, lo, hi, dst, false);
    }
    if (axis.ring > 0) return reduce_with_ring(level, base, lo, hi, dst);
    const i64 block = axis.out_block;
    for (i64 o = lo; o < hi; ++o) {
      const Window w = window_at(axis, o);
      const Row to = dst.at((o - lo) * block);
      const Element* p = base + w.start * stride_[level];
      const i64 stride = axis.step * stride_[level];
      if (level + 1 == depth_) {
        const Element* rows[kGroup];
        i64 marks[kGroup];
        for (i64 j = 0; j < w.count; j += kGroup) {
          const int n = static_cast<int>(min_of(w.count - j, kGroup));
          for (int r = 0; r < n; ++r) {
            rows[r] = p + (j + r) * stride;
            marks[r] = (j + r) * axis.offset_unit;
          }
          leaf(rows, marks, n, 0, last_.n_out, to, j > 0);
        }
        continue;
      }
      const i64 inner_n = pb_.axes[level + 1].n_out;
      reduce(level + 1, p, 0, inner_n, to);
      for (i64 j = 1; j < w.count; ++j) {
        reduce(level + 1, p + j * stride, 0, inner_n, spare_[level]);
        const i64 mark = j * axis.offset_unit;
        family_.merge(&spare_[level], &mark, 1, block, to, true);
      }
    }
  }

  __attribute__((noinline)) void reduce_with_ring(int level, const Element* base, i64 lo, i64 hi, Row dst) {
    const Axis& axis = pb_.axes[level];
    const i64 block = axis.out_block, inner_n = pb_.axes[level + 1].n_out;
    i64* tags = tags_[level];
    if (ring_base_[level] != base) {
      for (i64 s = 0; s < axis.ring; ++s) tags[s] = -1;
      ring_base_[level] = base;
    }
    const i64 step = axis.step % axis.ring;
    Row parts[kGroup];
    i64 marks[kGroup];
    for (i64 o = lo; o < hi; ++o) {
      const Window w = window_at(axis, o);
      i64 slot = w.start % axis.ring;
      for (i64 j = 0; j < w.count; j += kGroup) {
        const int n = static_cast<int>(min_of(w.count - j, kGroup));
        for (int r = 0; r < n; ++r) {
          const i64 p = w.start + axis.step * (j + r);
          parts[r] = ring_[level].at(slot * block);
          marks[r] = (j + r) * axis.offset_unit;
          if (tags[slot] != p) {
            tags[slot] = p;
            reduce(level + 1, base + p * stride_[level], 0, inner_n, parts[r]);
          }
          slot += step;
          if (slot >= axis.ring) slot -= axis.ring;
        }
        family_.merge(parts, marks, n, block, dst.at((o - lo) * block), j > 0);
      }
    }
  }

  // Outputs lo..hi-1 of the last axis, combined over `n` input rows (and over what dst holds if `accumulate`).
  __attribute__((noinline)) void leaf(const Element* const* rows, const i64* marks, int n, i64 lo, i64 hi, Row dst, bool accumulate) {
    if (lo >= hi) return;
    if constexpr (F::kMayPrepare) {
      if (family_.prepares()) {
        const i64 origin = origin_of(lo), end = reach(hi);
        for (int r = 0; r < n; ++r) {
          family_.prepare(rows[r] + origin * stride_[depth_], end - origin, prepared_);
          const Lane* row = prepared_;
          dense_leaf(&row, marks + r, 1, origin, lo, hi, dst, accumulate || r > 0);
        }
        return;
      }
    }
    if constexpr (same<Element, Lane>) dense_leaf(rows, marks, n, 0, lo, hi, dst, accumulate);
  }

  __attribute__((noinline)) void dense_leaf(const Lane* const* rows, const i64* marks, int n, i64 origin, i64 lo, i64 hi, Row dst, bool accumulate) {
    const i64 a = max_of(lo, min_of(last_.first, hi)), b = max_of(a, min_of(hi, last_.last));
    for (i64 o = lo; o < a; ++o) at_output(rows, marks, n, origin, o, dst.at((o - lo) * pb_.inner), accumulate);
    if (a < b) uniform(rows, marks, n, origin, a, b, dst.at((a - lo) * pb_.inner), accumulate);
    for (i64 o = b; o < hi; ++o) at_output(rows, marks, n, origin, o, dst.at((o - lo) * pb_.inner), accumulate);
  }

  // One output position: a vector of `inner` elements.
  __attribute__((noinline)) void at_output(const Lane* const* rows, const i64* marks, int n, i64 origin, i64 o, Row dst, bool accumulate) {
    const Window w = window_at(last_, o);
    const i64 step = last_.step * position_stride_, start = (w.start - origin) * position_stride_;
    if (pb_.inner == 1 && step == 1 && w.count >= F::kLongWindow) {
      for (int r = 0; r < n; ++r) family_.segment(rows[r] + start, w.count, marks[r], dst, accumulate || r > 0);
      return;
    }
    sources<1>(rows, marks, n, start, step, w.count, pb_.inner, 1, dst, accumulate);
  }

  // Outputs a..b-1, all in the uniform range of the last axis.
  __attribute__((noinline)) void uniform(const Lane* const* rows, const i64* marks, int n, i64 origin, i64 a, i64 b, Row dst, bool accumulate) {
    const i64 stride = last_.stride * position_stride_;
    const i64 start = (last_.base + last_.stride * (a - last_.first) - origin) * position_stride_;
    const i64 step = last_.step * position_stride_;
    const bool flat = last_.stride == 1 && position_stride_ == pb_.inner;
    if (pb_.inner == 1 && step == 1 && last_.window >= F::kLongWindow && (b - a < 16 || stride >= last_.window)) {
      for (i64 o = a; o < b; ++o) at_output(rows, marks, n, origin, o, dst.at(o - a), accumulate);
    } else if (flat) {
      sources<1>(rows, marks, n, start, step, last_.window, (b - a) * pb_.inner, 1, dst, accumulate);
    } else if (pb_.inner == 1) {
      if constexpr (F::kVectors) {
        if (stride == 2) return sources<2>(rows, marks, n, start, step, last_.window, b - a, stride, dst, accumulate);
      }
      if (picked_ > 0) return picked(rows, marks, n, start, step, b - a, dst, accumulate);
      sources<0>(rows, marks, n, start, step, last_.window, b - a, stride, dst, accumulate);
    } else {
      for (i64 o = a; o < b; ++o)
        sources<1>(rows, marks, n, start + (o - a) * stride, step, last_.window, pb_.inner, 1, dst.at((o - a) * pb_.inner),
                   accumulate);
    }
  }

  // The same where windows start at every position, of which those that are wanted are picked.
  void picked(const Lane* const* rows, const i64* marks, int n_rows, i64 start, i64 step, i64 n, Row dst, bool accumulate) {
    const i64 stride = last_.stride, zero = 0;
    for (i64 o = 0, many; o < n; o += many) {
      many = min_of(picked_, n - o);
      sources<1>(rows, marks, n_rows, start + o * stride, step, last_.window, (many - 1) * stride + 1, 1, all_, false);
      F::pick(all_, many, 1, stride, accumulate ? all_ : dst.at(o));
      if (accumulate) family_.merge(&all_, &zero, 1, many, dst.at(o), true);
    }
  }

  // Feeds (row, j) for all rows and 0 <= j < count to the family, in scan order, kGroup sources at a time.
  template <int S>
  __attribute__((noinline)) void sources(const Lane* const* rows, const i64* marks, int n_rows, i64 start, i64 step, i64 count, i64 n, i64 stride,
               Row dst, bool accumulate) {
    const Lane* src[kGroup] = {};
    i64 mark[kGroup] = {};
    int k = 0;
    for (int r = 0; r < n_rows; ++r) {
      const Lane* p = rows[r] + start;
      for (i64 j = 0; j < count; ++j) {
        if (k == kGroup) {
          family_.template across<S>(src, mark, k, n, stride, dst, accumulate);
          accumulate = true;
          k = 0;
        }
        src[k] = p + j * step;
        mark[k++] = marks[r] + j;
      }
    }
    family_.template across<S>(src, mark, k, n, stride, dst, accumulate);
  }

  const Problem& pb_;
  F& family_;
  const Axis& last_;
  Direct<F>* planes_;
  int depth_;  // index of the last axis
  const Element* x_ = nullptr;
  i64 position_stride_;
  i64 stride_[kMaxAxes];  // of x, in units of Element
  Lane* prepared_ = nullptr;
  i64* tags_[kMaxAxes] = {};
  Row ring_[kMaxAxes] = {};
  const Element* ring_base_[kMaxAxes] = {};
  Row spare_[kMaxAxes] = {};
  Row tile_spare_ = {};
  i64 picked_ = 0;  // outputs that are made at once where they are picked
  Row all_ = {};    // from these
};

}  // namespace
}  // namespace poolwise
