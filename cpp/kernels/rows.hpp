// Rows of x reduced along the last axis, where windows have at most kGroup positions.
#pragma once

#include "walk.hpp"

namespace poolwise {
namespace {

constexpr i64 kAhead = 2048;  // bytes that are asked for in advance
constexpr i64 kTogetherBytes = 8 << 10;  // of x that outputs of few channels are made from at once

template <class F>
class Rows {
  using Lane = typename F::Lane;
  using Element = typename F::Element;

 public:
  // At most `copies` rows at once, strips of pb.strip outputs.
  Rows(const Problem& pb, F& family, Scratch& scratch, i64 copies)
      : pb_(pb), family_(family), last_(pb.axes[pb.n_axes - 1]), position_stride_(last_.stride_in),
        stride_(last_.stride_in * family.element_size()) {
    if (family.prepares()) {
      position_stride_ = pb.inner;
      i64 longest = 0;
      for (i64 lo = 0; lo < last_.n_out; lo += pb.strip) longest = max_of(longest, span(lo, min_of(lo + pb.strip, last_.n_out)));
      for (i64 r = 0; r < copies; ++r) prepared_[r] = scratch.take<Lane>(longest * pb.inner);
    }
    // A step for one or a few channels costs as much as one for a vector of them. (By twos one channel is loaded so.)
    const i64 step = last_.stride * pb.inner, step_bytes = step * static_cast<i64>(sizeof(Lane));
    const bool few = pb.inner > 1 ? last_.stride > 1 && pb.inner * static_cast<i64>(sizeof(Lane)) < kVectorBytes / 2
                                  : last_.stride > 2 && last_.stride <= F::kFarthestPick;
    if (F::kVectors && few && position_stride_ == pb.inner && step_bytes <= 2 * kVectorBytes) {
      together_ = kTogetherBytes / step_bytes;
      neighbours_ = family.take_row(scratch, together_ * step + kVectorBytes);
    }
  }

  // Outputs lo..hi-1 of the last axis over n rows that start at column 0, for each line.
  template <class Dst>
  __attribute__((noinline)) void reduce(const Element* const* from, const i64* marks, int n, i64 lo, i64 hi, Dst dst, Lines lines) {
    if constexpr (F::kMayPrepare) {
      if (family_.prepares()) {
        const i64 origin = origin_of(lo), length = span(lo, hi);
        for (i64 l = 0; l < lines.count; ++l) {
          for (int r = 0; r < n; ++r) family_.prepare(from[r] + l * lines.from + origin * stride_, length, prepared_[r]);
          inspect(prepared_, n, 0, length * pb_.inner, Lines{1, 0, 0});
          dense(prepared_, marks, n, origin, lo, hi, dst.line(l * lines.to), Lines{1, 0, 0});
        }
        return;
      }
    }
    if constexpr (same<Element, Lane>) {
      const i64 origin = origin_of(lo), width = span(lo, hi) * pb_.inner;
      inspect(from, n, origin * stride_, width, lines);
      // Rows of this strip that hold as much as is to be asked for in advance.
      lines.ahead = pb_.linear ? kInTurns : lines.from * ((kAhead / static_cast<i64>(sizeof(Lane)) + width - 1) / width);
      dense(from, marks, n, 0, lo, hi, dst, lines);
    }
  }

 private:
  i64 origin_of(i64 lo) const { return lowest_from(last_, window_at(last_, lo)); }
  i64 span(i64 lo, i64 hi) const { return end_up_to(last_, window_at(last_, hi - 1)) - origin_of(lo); }

  void inspect(const Lane* const* from, int n, i64 first, i64 width, Lines lines) {
    if constexpr (F::kInspects) {
      if (!family_.plain) return;
      for (int r = 0; r < n; ++r) {
        if (position_stride_ == pb_.inner && lines.from == width) {
          family_.inspect(from[r] + first, width * lines.count, 1, 0);
        } else if (position_stride_ == pb_.inner) {
          family_.inspect(from[r] + first, width, lines.count, lines.from);
        } else {
          for (i64 p = 0; p < width / pb_.inner; ++p)
            family_.inspect(from[r] + first + p * position_stride_, pb_.inner, lines.count, lines.from);
        }
      }
    }
  }

  inline __attribute__((always_inline)) int gather(const Lane* const* rows, const i64* marks, int n, i64 start, i64 count,
                                                   const Lane** src, i64* mark) const {
    int k = 0;
    for (int r = 0; r < n; ++r)
      for (i64 j = 0; j < count; ++j, ++k) {
        src[k] = rows[r] + start + j * last_.step * position_stride_;
        mark[k] = marks[r] + j;
      }
    return k;
  }

  template <class Dst>
  void dense(const Lane* const* from, const i64* marks, int n, i64 origin, i64 lo, i64 hi, Dst dst, Lines lines) {
    const i64 inner = pb_.inner;
    const i64 a = max_of(lo, min_of(last_.first, hi)), b = max_of(a, min_of(hi, last_.last));
    const Lane* src[kGroup] = {};
    i64 mark[kGroup] = {};
    auto edges = [&](i64 begin, i64 end) {
      for (i64 o = begin; o < end; ++o) {
        const Window w = window_at(last_, o);
        const int k = gather(from, marks, n, (w.start - origin) * position_stride_, w.count, src, mark);
        family_.template across<1>(src, mark, k, inner, 1, dst.at((o - lo) * inner), false, lines);
      }
    };
    // Edges come last: first, they would meet memory in an order that nothing fetches ahead.
    if (a < b) {
      const i64 start = (last_.base + last_.stride * (a - last_.first) - origin) * position_stride_;
      const i64 stride = last_.stride * position_stride_;
      const int k = gather(from, marks, n, start, last_.window, src, mark);
      const Dst to = dst.at((a - lo) * inner);
      // Rows of which each begins where the one before ends, here and there, are one: outputs between their middles come out
      // wrong, and are made again as edges.
      const i64 width = (hi - lo) * inner;
      const bool joined = dst.runs() && n == 1 && lines.count > 1 && position_stride_ == inner && lines.to == width &&
                          lines.from == last_.stride * width && lines.from == last_.size_in * inner &&
                          (last_.stride == 1 || (last_.stride == 2 && inner == 1));
      if (joined) {
        const i64 all = (lines.count - 1) * width + (b - a) * inner;
        const Lines one{1, 0, 0, lines.ahead == 0 ? 0 : near_};
        if (last_.stride == 1) family_.template across<1>(src, mark, k, all, 1, to, false, one);
        else by_stride(src, mark, k, all, stride, to, one);
      } else if (last_.stride == 1 && position_stride_ == inner) {
        family_.template across<1>(src, mark, k, (b - a) * inner, 1, to, false, lines);
      } else if (together_ > 0) {
        few_channels(src, mark, k, b - a, stride, to, lines);
      } else if (inner == 1) {
        by_stride(src, mark, k, b - a, stride, to, lines);
      } else {
        for (i64 l = 0; l < lines.count; ++l) {
          family_.template across<1>(src, mark, k, inner, 1, to.line(l * lines.to), false,
                                      Lines{b - a, stride, inner, near_, 0, lines.past});
          for (int s = 0; s < k; ++s) src[s] += lines.from;
        }
      }
    }
    edges(lo, a);
    edges(b, hi);
  }

  template <class Dst>
  inline __attribute__((always_inline)) void by_stride(const Lane* const* src, const i64* mark, int k, i64 n, i64 stride, Dst dst,
                                                       Lines lines) {
    if constexpr (F::kPairs) {
      if (stride == 2 && last_.window == 2 && last_.step == 1 && position_stride_ == 1 && family_.takes_pairs()) {
        const Lane* rows[kGroup] = {};
        for (int r = 0; 2 * r < k; ++r) rows[r] = src[2 * r];
        return family_.across_pairs(rows, k / 2, n, dst, lines);
      }
    }
    if constexpr (F::kVectors) {
      if (stride == 2) return family_.template across<2>(src, mark, k, n, stride, dst, false, lines);
    }
    family_.template across<0>(src, mark, k, n, stride, dst, false, lines);
  }

  // Lines of n outputs of few channels: windows start at every position, of which those that are wanted are picked.
  template <class Dst>
  void few_channels(const Lane* const* sources, const i64* mark, int k, i64 n, i64 stride, Dst dst, Lines lines) {
    const i64 inner = pb_.inner, zero = 0, near = lines.ahead != 0 ? near_ : 0, most = max_of(1, together_ / n);
    const Lane* src[kGroup];
    for (i64 l = 0, rows; l < lines.count; l += rows) {
      rows = min_of(most, lines.count - l);
      const Dst line = dst.line(l * lines.to);
      if constexpr (F::kGroups) {
        if (last_.stride == 2 && last_.window == 2 && last_.step == 1) {
          for (int r = 0; 2 * r < k; ++r) src[r] = sources[2 * r] + l * lines.from;
          rows = 1;
          if (family_.across_groups(src, k / 2, n, inner, line, near)) continue;
        }
      }
      for (i64 o = 0, many; o < n; o += many) {
        many = min_of(together_, n - o);  // n, of several rows
        for (int s = 0; s < k; ++s) src[s] = sources[s] + l * lines.from + o * stride;
        family_.template across<1>(src, mark, k, (many - 1) * stride + inner, 1, neighbours_, false,
                                   Lines{rows, lines.from, many * stride, rows > 1 ? lines.ahead : near});
        const Dst to = line.at(o * inner);
        if constexpr (same<Dst, typename F::Row>) {
          if (rows == 1 || lines.to == many * inner) F::pick(neighbours_, rows * many, inner, stride, to);
          else
            for (i64 r = 0; r < rows; ++r) F::pick(neighbours_.at(r * many * stride), many, inner, stride, to.line(r * lines.to));
        } else {
          F::pick(neighbours_, rows * many, inner, stride, neighbours_);
          family_.merge(&neighbours_, &zero, 1, many * inner, to, false, Lines{rows, many * inner, lines.to});
        }
      }
    }
  }

  const Problem& pb_;
  F& family_;
  const Axis& last_;
  const i64 near_ = pb_.linear ? kInTurns : kAhead / static_cast<i64>(sizeof(Lane));  // as Lines::ahead, along a row
  i64 together_ = 0;  // outputs of few channels that are made at once
  typename F::Row neighbours_ = {};
  i64 position_stride_;  // of rows as they are read, in lanes
  i64 stride_;           // of x, in units of Element
  Lane* prepared_[kGroup] = {};
};

}  // namespace
}  // namespace poolwise
