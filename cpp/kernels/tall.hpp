// Long windows that share most of what they see, over one or two axes: the cost of an output does not grow with its window.
//
// Along the last axis windows of 1, 2, 4, ... positions are made from each other, and a window from a few of them: two
// that overlap where combining an element twice changes nothing, disjoint ones by the binary digits of its length
// otherwise. Along the first axis rows are cut into blocks as long as a window, so that each window is the end of one
// block and the beginning of the next (van Herk 1992; Gil and Werman 1993): three combinations a row. Nothing is ever
// taken back out of a sum, so infinities and large elements leave no trace behind.
#pragma once

#include "direct.hpp"

namespace poolwise {
namespace {

template <class F>
class Tall {
  using Lane = typename F::Lane;
  using Row = typename F::Row;
  using Element = typename F::Element;

 public:
  Tall(const Problem& pb, F& family, Scratch& scratch)
      : pb_(pb), family_(family), last_(pb.axes[pb.n_axes - 1]), outer_(pb.axes[0]), rows_(pb, family, scratch, 1),
        inner_(pb.inner), stride_(last_.stride_in * family.element_size()),
        row_stride_(outer_.stride_in * family.element_size()), pitch_(pb.strip * pb.inner), towers_(last_.radix > kFewSources) {
    if (pb.n_axes == 2) {
      ring_ = family.take_row(scratch, outer_.radix * pitch_);
      prefix_ = family.take_row(scratch, pitch_);
    }
    if (!towers_) return;
    evens_ = !F::kPositions && has_one_form(last_);
    i64 longest = 0;
    for (i64 lo = 0; lo < last_.n_out; lo += pb.strip) {
      const Extent e = extent(lo, min_of(lo + pb.strip, last_.n_out));
      longest = max_of(longest, e.end - e.begin);
    }
    line_ = scratch.take<Lane>(longest * inner_);
    for (levels_ = 0; (i64{2} << levels_) <= last_.radix; ++levels_) {}
    for (int l = 0; l <= levels_; ++l) level_[l] = family.take_row(scratch, longest * inner_);
  }

  // As Direct::run, with blocks of one row. Units are strips of tiles.
  template <class Begin, class End>
  void run(const void* x, i64 begin, i64 end, Begin&& destination, End&& finish) {
    const i64 strips = (last_.n_out + pb_.strip - 1) / pb_.strip;
    for (i64 unit = begin; unit < end; ++unit) {
      const i64 a = unit % strips * pb_.strip, b = min_of(a + pb_.strip, last_.n_out);
      const i64 tile = unit / strips % pb_.tall, plane = unit / strips / pb_.tall;
      const Element* base = static_cast<const Element*>(x) + batch_offset(pb_, plane) * family_.element_size();
      auto emit = [&](i64 o, auto&& make) {
        const i64 at = plane * pb_.out_plane + (o * last_.n_out + a) * inner_;
        i64 pitch = (b - a) * inner_;
        const auto dst = destination(at, pitch, o, a, b);
        make(dst);
        finish(base, o, 1, at, a, b, dst, pitch);
      };
      family_.begin();
      if (pb_.n_axes == 1) {
        emit(0, [&](auto dst) { across(base, a, b, dst); });
      } else {
        const i64 lo = tile * pb_.tile;
        down(base, lo, min_of(lo + pb_.tile, outer_.n_out), a, b, emit);
      }
    }
  }

 private:
  struct Extent {
    i64 begin, end;
  };

  // Rows of outputs lo..hi-1, columns a..b-1. Row p of x, reduced, is in slot p mod length from the start of its block; once
  // its block is complete, so is the combination of it with all later rows of the block.
  template <class Emit>
  void down(const Element* base, i64 lo, i64 hi, i64 a, i64 b, Emit&& emit) {
    const i64 length = outer_.radix, n = (b - a) * inner_, unit = outer_.offset_unit;
    const i64 first = window_at(outer_, lo).start, end = last_position(outer_, window_at(outer_, hi - 1)) + 1;
    auto slot = [&](i64 p) { return ring_.at((p - first) % length * pitch_); };
    i64 o = lo;
    for (i64 block = first; block < end; block += length) {
      const i64 stop = min_of(block + length, end);
      Row prefix = slot(block);
      for (i64 p = block; p < stop; ++p) {
        across(base + p * row_stride_, a, b, slot(p));
        if (p > block) {
          join(prefix, slot(p), (p - block) * unit, n, prefix_);
          prefix = prefix_;
        }
        for (; o < hi; ++o) {
          const Window w = window_at(outer_, o);
          if (w.start + w.count != p + 1 || w.start > block) break;
          const Row parts[2] = {w.start < block ? slot(w.start) : prefix, prefix};
          const i64 marks[2] = {0, (block - w.start) * unit};
          emit(o, [&](auto dst) { family_.merge(parts, marks, w.start < block ? 2 : 1, n, dst, false, result_lines(pb_, 1, 0, 0)); });
        }
      }
      for (i64 p = stop - 2; p >= block; --p) join(slot(p), slot(p + 1), unit, n, slot(p));
      // Windows cut short by the end of the array.
      for (; o < hi; ++o) {
        const Window w = window_at(outer_, o);
        if (w.start + w.count != stop || w.start < block) break;
        const Row part = slot(w.start);
        const i64 mark = 0;
        emit(o, [&](auto dst) { family_.merge(&part, &mark, 1, n, dst, false, result_lines(pb_, 1, 0, 0)); });
      }
    }
  }

  // Row `to` becomes a and then b, which lies `mark` further on; it may be row a.
  void join(Row a, Row b, i64 mark, i64 n, Row to) {
    const Row parts[2] = {a, b};
    const i64 marks[2] = {0, mark};
    // A vector at the end of a row may be visited twice: where that must not be, what is there already is added to.
    if (F::kRepeats || !a.is(to)) return family_.merge(parts, marks, 2, n, to, false);
    family_.merge(parts + 1, marks + 1, 1, n, to, true);
  }

  // Outputs a..b-1 of the last axis over one row.
  template <class Dst>
  void across(const Element* from, i64 a, i64 b, Dst dst) {
    const i64 mark = 0;
    if (!towers_) return rows_.reduce(&from, &mark, 1, a, b, dst, Lines{1, row_stride_, 0});
    const Extent e = extent(a, b);
    const Lane* line = read(from, e);
    if constexpr (!F::kRepeats) {
      if (evens_) return chain(line, e.end - e.begin, b - a, dst);
    }
    build(line, e.end - e.begin);
    const i64 lo = evens_ ? a : max_of(a, min_of(last_.first, b)), hi = evens_ ? b : max_of(lo, min_of(b, last_.last));
    auto edge = [&](i64 o) {
      const Window w = window_at(last_, o);
      outputs(w.start - e.begin, w.count, 1, dst.at((o - a) * inner_));
    };
    for (i64 o = a; o < lo; ++o) edge(o);
    if (lo < hi) {
      const i64 start = form_start(last_, lo) - e.begin;
      outputs(start, last_.window, hi - lo, dst.at((lo - a) * inner_));
    }
    for (i64 o = hi; o < b; ++o) edge(o);
  }

  // Positions that outputs a..b-1 need; beyond the ends of the array where windows are completed there.
  Extent extent(i64 a, i64 b) const {
    if (evens_) return {form_start(last_, a), form_start(last_, b - 1) + last_.window};
    Extent e{window_at(last_, a).start, 0};
    for (i64 o = max_of(a, b - 2); o < b; ++o) e.end = max_of(e.end, last_position(last_, window_at(last_, o)) + 1);
    return e;
  }

  // The row as lanes, with what changes nothing beyond the ends of the array.
  const Lane* read(const Element* from, Extent e) {
    const i64 begin = max_of(e.begin, 0), end = min_of(e.end, last_.size_in);
    if constexpr (same<Element, Lane>) {
      if (begin == e.begin && end == e.end && !family_.prepares() && last_.stride_in == inner_) {
        look(from + begin * stride_, end - begin);
        return from + begin * stride_;
      }
    }
    const Lane nothing = family_.nothing();
    i64 i = 0;
    for (; i < (begin - e.begin) * inner_; ++i) line_[i] = nothing;
    Lane* real = line_ + i;
    if constexpr (same<Element, Lane>) {
      if (!family_.prepares()) {
        if (last_.stride_in == inner_) __builtin_memcpy(real, from + begin * stride_, static_cast<u64>((end - begin) * inner_) * sizeof(Lane));
        else
          for (i64 p = begin; p < end; ++p)
            for (i64 c = 0; c < inner_; ++c) line_[i++] = from[p * stride_ + c];
      }
    }
    if constexpr (F::kMayPrepare) {
      if (family_.prepares()) family_.prepare(from + begin * stride_, end - begin, real);
    }
    look(real, end - begin);
    for (i = (end - e.begin) * inner_; i < (e.end - e.begin) * inner_; ++i) line_[i] = nothing;
    return line_;
  }

  void look(const Lane* p, i64 positions) {
    if constexpr (F::kInspects) {
      if (family_.plain) family_.inspect(p, positions * inner_, 1, 0);
    }
  }

  // n windows of disjoint parts, all of one length, by its binary digits from the highest: a window of 2 k or 2 k + 1
  // positions is two of k, and one position.
  template <class Dst>
  void chain(const Lane* line, i64 positions, i64 n, Dst dst) {
    const i64 whole = last_.window, zero = 0;
    int bit = 62 - __builtin_clzll(static_cast<u64>(whole));  // the second highest
    if (whole & ((i64{1} << bit) - 1)) family_.template across<1>(&line, &zero, 1, positions * inner_, 1, level_[0], false);
    i64 length = 2 + (whole >> bit & 1);
    const Lane* lanes[3] = {line, line + inner_, line + 2 * inner_};
    const i64 marks[3] = {};
    family_.template across<1>(lanes, marks, static_cast<int>(length), (positions - length + 1) * inner_, 1, level_[1], false);
    for (int to = 2; --bit >= 0; to ^= 3) {
      const Row half = level_[to ^ 3];
      Row parts[3] = {half, half.at(length * inner_), level_[0].at(2 * length * inner_)};
      const int k = 2 + static_cast<int>(whole >> bit & 1);
      length = 2 * length + k - 2;
      if (bit > 0) family_.merge(parts, marks, k, (positions - length + 1) * inner_, level_[to], false);
      else spaced(parts, marks, k, n, dst);
    }
  }

  // level_[l] holds the combinations of 2^l positions from each one on.
  void build(const Lane* line, i64 positions) {
    const i64 zero = 0;
    if (!evens_) family_.template across<1>(&line, &zero, 1, positions * inner_, 1, level_[0], false);
    const Lane* two[2] = {line, line + inner_};
    const i64 marks[2] = {0, 1};
    if (positions > 1) family_.template across<1>(two, marks, 2, (positions - 1) * inner_, 1, level_[1], false);
    for (int l = 1; l < levels_; ++l) {
      const i64 half = i64{1} << l, n = positions - 2 * half + 1;
      if (n <= 0) return;
      const Row parts[2] = {level_[l], level_[l].at(half * inner_)};
      const i64 shift[2] = {0, half};
      family_.merge(parts, shift, 2, n * inner_, level_[l + 1], false);
    }
  }

  // n windows, the first of which is `parts` put together.
  template <class Dst>
  void spaced(Row* parts, const i64* marks, int k, i64 n, Dst dst) {
    if (last_.stride == 1) return family_.merge(parts, marks, k, n * inner_, dst, false);
    for (i64 i = 0; i < n; ++i) {
      family_.merge(parts, marks, k, inner_, dst.at(i * inner_), false);
      for (int r = 0; r < k; ++r) parts[r] = parts[r].at(last_.stride * inner_);
    }
  }

  // n windows of `count` positions, the first from `start` of the line on.
  template <class Dst>
  void outputs(i64 start, i64 count, i64 n, Dst dst) {
    Row parts[kGroup] = {};
    i64 marks[kGroup] = {};
    int k = 0, top = 0;
    while ((i64{2} << top) <= count) ++top;
    if constexpr (F::kRepeats) {
      parts[k++] = level_[top].at(start * inner_);
      const i64 rest = count - (i64{1} << top);
      if (rest > 0) {
        parts[k] = level_[top].at((start + rest) * inner_);
        marks[k++] = rest;
      }
    } else {
      i64 at = 0;
      for (int l = top; l >= 0; --l) {
        if (!(count >> l & 1)) continue;
        parts[k] = level_[l].at((start + at) * inner_);
        marks[k++] = at;
        at += i64{1} << l;
      }
    }
    spaced(parts, marks, k, n, dst);
  }

  const Problem& pb_;
  F& family_;
  const Axis &last_, &outer_;
  Rows<F> rows_;
  i64 inner_;
  i64 stride_, row_stride_;  // of x, in units of Element
  i64 pitch_;                // of the ring
  bool towers_;              // whether windows of the last axis are made of shorter ones
  bool evens_ = false;
  Row ring_ = {}, prefix_ = {};
  Lane* line_ = nullptr;
  int levels_ = 0;
  Row level_[kGroup + 1] = {};
};

// Calls f with the walk for one or two axes; see Direct for `grouped`.
template <class F, class Body>
i64 with_walk(const Problem& pb, F& family, Scratch& scratch, i64 block, bool grouped, Body&& body) {
  if (pb.tall) {
    Tall<F> walk(pb, family, scratch);
    return body(walk);
  }
  Direct<F> walk(pb, family, scratch, block, grouped);
  return body(walk);
}

}  // namespace
}  // namespace poolwise
