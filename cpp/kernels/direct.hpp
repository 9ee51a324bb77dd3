// The common case of the walk, with nothing looked up per row: one or two axes, windows of at most kGroup positions an axis,
// which have gaps only where they step by one. Same order of combination and the same families as Walk (walk.hpp), so the same results.
//
// Of more axes it does the last two, for Walk; of three whose windows lie apart on the first two, all (Fold).
//
// Where windows share rows, a row is reduced once, along the last axis, and kept for the windows that see it. Where order does
// not matter columns come first instead if windows step by two, since what is taken apart into every second element is half as
// much then; or if an end of the array cuts windows: columns are reduced into rows with room at both ends, so that no output
// is made for itself.
//
// A unit is a tile of rows, done in strips of columns so narrow that the reduced rows which windows share stay in the
// first-level cache (an NHWC row of 112x64 float32 is 28 KB: a ring of whole rows ran from the second level), and in
// blocks of rows that families combine in one call: one call a row cost 35 ns, as much as 100 outputs.
#pragma once

#include "band.hpp"

namespace poolwise {
namespace {

template <class F>
class Direct {
  using Lane = typename F::Lane;
  using Row = typename F::Row;
  using Element = typename F::Element;

 public:
  // `grouped`: several small planes may be done together.
  Direct(const Problem& pb, F& family, Scratch& scratch, i64 block, bool grouped = false)
      : pb_(pb), family_(family), last_(pb.axes[pb.n_axes - 1]),
        rows_(pb, family, scratch, pb.n_axes == 1 || pb.slots > 0 ? 1 : pb.fold.count * pb.axes[0].radix), bands_(pb, family, scratch),
        block_(block), group_(grouped ? pb.group : 1), row_stride_(pb.axes[0].stride_in * family.element_size()), pitch_(pb.strip * pb.inner) {
    if (pb.slots > 0) ring_ = family.take_row(scratch, max_of(pb.slots, group_ * pb.axes[0].size_in) * pitch_);
    for (const i64 row_bytes = last_.n_out * pb.inner * dtype_bytes(pb.out); pb.streams && row_bytes * aligned_ % kLine != 0;) aligned_ *= 2;
    const bool cut = last_.last - last_.first < last_.n_out;
    by_columns_ = F::kByColumns && !bands_.serves() && pb.n_axes > 1 && pb.slots > 0 && group_ <= 1 && pb.inner == 1 && last_.step == 1 &&
                  last_.stride_in == 1 && (last_.stride == 2 || (last_.stride == 1 && cut)) && !family.prepares() &&
                  has_one_form(last_) && family.takes_columns();
    if (by_columns_) {
      column_pitch_ = last_.stride * (pb.strip - 1) + last_.window;
      columns_ = family.take_row(scratch, block_ * column_pitch_);
    }
  }

  // destination(at, pitch, first output row, lo, hi) is where partial results of elements at, at + 1, ... of y go, and sets
  // how far apart the rows of a block are there; finish(plane of x, first output row, rows, at, lo, hi, row, pitch)
  // completes columns lo..hi-1 of a block of rows; finish(..., planes) those of all rows of planes that lie one behind the other.
  template <class Begin, class End>
  void run(const void* x, i64 begin, i64 end, Begin&& destination, End&& finish) {
    const Axis& outer = pb_.axes[0];
    const i64 row_elements = last_.n_out * pb_.inner;
    if (group_ > 1) {  // a unit is a plane
      for (i64 plane = begin, n; plane < end; plane += n) {
        n = min_of(group_, end - plane);
        const Element* base = static_cast<const Element*>(x) + batch_offset(pb_, plane) * family_.element_size();
        planes(base, plane, n, destination);
        i64 pitch = row_elements;
        const i64 at = plane * pb_.out_plane, rows = pb_.n_axes == 1 ? 1 : outer.n_out;
        finish(base, 0, rows, at, 0, last_.n_out, destination(at, pitch, 0, 0, last_.n_out), pitch, n);
      }
      return;
    }
    i64 plane = begin / pb_.tiles, tile = begin % pb_.tiles;
    for (i64 unit = begin; unit < end; ++unit) {
      const i64 lo = tile * pb_.tile, hi = min_of(lo + pb_.tile, outer.n_out);
      const Element* base = static_cast<const Element*>(x) + batch_offset(pb_, plane) * family_.element_size();
      const i64 plane_at = plane * pb_.out_plane;
      if (pb_.n_axes == 1) {
        for (i64 a = lo; a < hi; a += pb_.strip) {
          family_.begin();
          const i64 b = min_of(a + pb_.strip, hi), at = plane_at + a * pb_.inner, mark = 0;
          i64 pitch = (b - a) * pb_.inner;
          const auto dst = destination(at, pitch, 0, a, b);
          rows_.reduce(&base, &mark, 1, a, b, dst, result_lines(pb_, 1, 0, 0));
          finish(base, 0, 1, at, a, b, dst, pitch);
        }
      } else {
        for (i64 a = 0; a < last_.n_out; a += pb_.strip) {
          const i64 b = min_of(a + pb_.strip, last_.n_out);
          family_.begin();
          each_block(base, lo, hi, a, b, [&](i64 o, i64 rows, auto&& reduce) {
            const i64 at = plane_at + o * row_elements + a * pb_.inner;
            i64 pitch = (b - a) * pb_.inner;
            const auto dst = destination(at, pitch, o, a, b);
            reduce(dst, pitch);
            finish(base, o, rows, at, a, b, dst, pitch);
          });
        }
      }
      if (++tile == pb_.tiles) {
        tile = 0;
        ++plane;
      }
    }
  }

  // Rows lo..hi-1 of outputs of one plane.
  __attribute__((noinline)) void rows(const Element* base, i64 lo, i64 hi, Row to) {
    const i64 pitch = last_.n_out * pb_.inner;
    for (i64 a = 0; a < last_.n_out; a += pb_.strip) {
      const i64 b = min_of(a + pb_.strip, last_.n_out);
      family_.begin();
      each_block(base, lo, hi, a, b, [&](i64 o, i64, auto&& reduce) { reduce(to.at((o - lo) * pitch + a * pb_.inner), pitch); });
    }
    family_.end();  // what is merged with these may have been otherwise
  }

 private:
  // Some planes that lie one behind the other, whole rows: their rows are reduced in one call, and each row of outputs, if
  // there is more than one, is merged for all of them.
  template <class Begin>
  __attribute__((noinline)) void planes(const Element* base, i64 first, i64 n, Begin&& destination) {
    const Axis& outer = pb_.axes[0];
    const i64 height = outer.size_in, width = last_.n_out * pb_.inner, zero = 0;
    family_.begin();
    i64 pitch = 0;
    if (pb_.n_axes == 1)
      return rows_.reduce(&base, &zero, 1, 0, last_.n_out, destination(first * pb_.out_plane, pitch, 0, 0, last_.n_out),
                          Lines{n, height * row_stride_, width});
    rows_.reduce(&base, &zero, 1, 0, last_.n_out, ring_, Lines{n * height, row_stride_, pitch_});
    auto merge = [&](i64 o, i64 elements, Lines lines) {
      const Window w = window_at(outer, o);
      Row parts[kGroup];
      i64 marks[kGroup];
      for (i64 r = 0; r < w.count; ++r) {
        parts[r] = ring_.at((w.start + r * outer.step) * pitch_);
        marks[r] = r * outer.offset_unit;
      }
      family_.merge(parts, marks, static_cast<int>(w.count), elements, destination(first * pb_.out_plane + o * width, pitch, o, 0, last_.n_out), false, lines);
    };
    const i64 uniform = outer.last - outer.first;
    // Outputs of all planes as if they were one: those between planes come out wrong, and are made again as edges.
    const bool joined = outer.stride == 1 && outer.n_out == height && uniform > 0 &&
                        destination(first * pb_.out_plane, pitch, outer.first, 0, last_.n_out).runs();
    if (joined) merge(outer.first, ((n - 1) * height + uniform) * width, Lines{1, 0, 0});
    for (i64 o = 0; o < outer.n_out; ++o)
      if (!joined || o < outer.first || o >= outer.last) merge(o, width, Lines{n, height * pitch_, pb_.out_plane});
  }

  // Calls visit(first row, rows, reduce) for blocks of rows lo..hi-1, of which reduce(dst, pitch) makes columns a..b-1.
  template <class Visit>
  inline __attribute__((always_inline)) void each_block(const Element* base, i64 lo, i64 hi, i64 a, i64 b, Visit&& visit) {
    const Axis& outer = pb_.axes[0];
    i64 reduced = 0, seen = 0;
    if constexpr (F::kByColumns) {
      if (by_columns_) open_columns(a, b);
    }
    for (i64 o = lo, next; o < hi; o = next) {
      const bool uniform = o >= outer.first && o < outer.last;
      next = uniform ? min_of(min_of(outer.last, hi), end_of_block(o)) : o + 1;
      visit(o, next - o, [&](auto dst, i64 pitch) {
        if (bands_.serves() && bands_.make(base, o, next - o, a, b, dst, pitch)) return;
        if constexpr (F::kByColumns) {
          if (by_columns_ && columns_block(base, o, next - o, b - a, dst, pitch, seen)) return;
        }
        if (pb_.slots > 0) shared_block(base, o, next - o, a, b, dst, pitch, reduced);
        else block(base, o, next - o, a, b, dst, pitch);
      });
    }
  }

  // Where results are streamed, blocks begin with whole lines if rows ever do, but for the first.
  i64 end_of_block(i64 o) const {
    if (aligned_ > block_) return o + block_;
    return o % aligned_ == 0 ? o + block_ - block_ % aligned_ : o + aligned_ - o % aligned_;
  }

  template <class Dst>
  void block(const Element* base, i64 o, i64 lines, i64 a, i64 b, Dst dst, i64 pitch) {
    const Axis& outer = pb_.axes[0];
    const Window w = window_at(outer, o);
    const Element* from[kGroup];
    i64 marks[kGroup];
    int n = 0;
    for (i64 f = 0; f < pb_.fold.count; ++f)
      for (i64 r = 0; r < w.count; ++r, ++n) {
        from[n] = base + f * pb_.fold.stride * family_.element_size() + (w.start + r * outer.step) * row_stride_;
        marks[n] = f * pb_.fold.offset_unit + r * outer.offset_unit;
      }
    rows_.reduce(from, marks, n, a, b, dst, result_lines(pb_, lines, outer.stride * row_stride_, pitch));
  }

  // Makes room in the rows of reduced columns where windows of columns a..b-1 reach beyond the ends of the array.
  void open_columns(i64 a, i64 b) {
    if (a == opened_a_ && b == opened_b_) return;  // nothing is written there but here
    opened_a_ = a;
    opened_b_ = b;
    const i64 start = form_start(last_, a), end = form_start(last_, b - 1) + last_.window;
    real_begin_ = max_of(start, 0);
    real_end_ = min_of(end, last_.size_in);
    room_ = real_begin_ - start;
    for (i64 r = 0; r < block_; ++r) {
      family_.clear(columns_.at(r * column_pitch_), room_);
      family_.clear(columns_.at(r * column_pitch_ + room_ + real_end_ - real_begin_), end - real_end_);
    }
  }

  // `lines` rows of outputs from o on, n columns of each; false where order matters. Rows of x before `seen` were looked at.
  template <class Dst>
  bool columns_block(const Element* base, i64 o, i64 lines, i64 n, Dst dst, i64 pitch, i64& seen) {
    if constexpr (same<Element, Lane>) {
      const Axis& outer = pb_.axes[0];
      const Window w = window_at(outer, o);
      const i64 width = real_end_ - real_begin_, step = outer.stride * row_stride_;
      if constexpr (F::kInspects) {
        const i64 end = last_position(outer, w) + (lines - 1) * outer.stride + 1;
        seen = max_of(seen, lowest_from(outer, w));
        if (family_.plain) family_.inspect(base + seen * row_stride_ + real_begin_, width, end - seen, row_stride_);
        if (!family_.plain) return false;
        seen = max_of(seen, end);
      }
      const Lane* from[kGroup];
      i64 marks[kGroup] = {};
      for (i64 r = 0; r < w.count; ++r) from[r] = base + (w.start + r * outer.step) * row_stride_ + real_begin_;
      const i64 ahead = pb_.linear ? kInTurns : step * ((kAhead / static_cast<i64>(sizeof(Lane)) + outer.stride * width - 1) / (outer.stride * width));
      family_.template across<1>(from, marks, static_cast<int>(w.count), width, 1, columns_.at(room_), false,
                                  Lines{lines, step, column_pitch_, ahead, static_cast<int>(outer.stride)});
      Row parts[kGroup];
      for (i64 j = 0; j < last_.window; ++j) parts[j] = columns_.at(j);
      const Lines all = result_lines(pb_, lines, column_pitch_, pitch);
      if (last_.stride == 1) family_.merge(parts, marks, static_cast<int>(last_.window), n, dst, false, all);
      else family_.merge_halves(parts, static_cast<int>(last_.window), n, dst, all);
      return true;
    }
    return false;
  }

  // Reduced row p is in slot p mod slots; rows before `reduced` are there already.
  template <class Dst>
  void shared_block(const Element* base, i64 o, i64 lines, i64 a, i64 b, Dst dst, i64 pitch, i64& reduced) {
    const Axis& outer = pb_.axes[0];
    const Window w = window_at(outer, o);
    const i64 mask = pb_.slots - 1, end = last_position(outer, w) + (lines - 1) * outer.stride + 1, zero = 0;
    for (i64 p = max_of(reduced, lowest_from(outer, w)), n; p < end; p += n) {
      n = min_of(end - p, pb_.slots - (p & mask));
      const Element* from = base + p * row_stride_;
      rows_.reduce(&from, &zero, 1, a, b, ring_.at((p & mask) * pitch_), Lines{n, row_stride_, pitch_});
    }
    reduced = max_of(reduced, end);
    Row parts[kGroup];
    i64 marks[kGroup];
    for (i64 r = 0; r < w.count; ++r) marks[r] = r * outer.offset_unit;
    for (i64 l = 0, n; l < lines; l += n) {
      const i64 start = w.start + l * outer.stride, room = pb_.slots - (start & mask) - (last_position(outer, w) - w.start + 1);
      for (i64 r = 0; r < w.count; ++r) parts[r] = ring_.at(((start + r * outer.step) & mask) * pitch_);
      // Windows that do not run over the end of the ring go together.
      n = room < 0 ? 1 : min_of(lines - l, room / outer.stride + 1);
      const i64 width = (b - a) * pb_.inner;
      // Rows that follow each other are one.
      const bool joined = dst.runs() && outer.stride == 1 && width == pitch_ && pitch == pitch_;
      family_.merge(parts, marks, static_cast<int>(w.count), joined ? n * width : width, dst.line(l * pitch), false,
                    result_lines(pb_, joined ? 1 : n, outer.stride * pitch_, pitch));
    }
  }

  const Problem& pb_;
  F& family_;
  const Axis& last_;
  Rows<F> rows_;
  Bands<F> bands_;
  i64 block_;       // most rows of outputs at once
  i64 group_;       // most planes at once
  i64 row_stride_;  // of x, in units of Element
  i64 pitch_;       // of the ring
  i64 aligned_ = 1;  // rows of outputs that are whole lines together, where that matters
  Row ring_ = {};
  bool by_columns_;  // whether columns come first: rows that begin with room_, then what lies from real_begin_ to real_end_ of x
  i64 column_pitch_ = 0, room_ = 0, real_begin_ = 0, real_end_ = 0, opened_a_ = -1, opened_b_ = -1;
  Row columns_ = {};
};

}  // namespace
}  // namespace poolwise
