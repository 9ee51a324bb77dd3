// Gradients in gather form: every element of gx is the sum of what the windows that see it send, made at once and written
// once. Windows have no gaps. What an element is sent is added in a fixed order: by max in scan order of the outputs, by
// sums down the rows of outputs first and then along them.
//
// A row of gx is all positions of the last axis for one position on each axis before. Windows that are evenly spaced, and
// cut by the ends of the array at most, send to a row by one rule: from position p on its residue by the stride, at p / s,
// the outputs p / s + d for a few d. So what outputs send is first put in a row of its own, with room for those that lie
// outside, and no position at the ends is a case of its own.
#pragma once

#include "lanes.hpp"
#include "rows.hpp"

namespace poolwise {
namespace {

struct Span {
  i64 begin, end;
};

inline i64 floor_of(i64 a, i64 b) { return a / b - (a % b < 0); }

// Where the window of the first output would start were it whole.
inline i64 origin_of(const Axis& axis) { return form_start(axis, 0); }

// The outputs whose windows hold each position of an axis: starts and ends rise with the output.
inline void cover(const Axis& axis, Span* to) {
  i64 begin = 0, end = 0;
  for (i64 p = 0; p < axis.size_in; ++p) {
    while (begin < axis.n_out) {
      const Window w = window_at(axis, begin);
      if (w.start + w.count > p) break;
      ++begin;
    }
    while (end < axis.n_out && window_at(axis, end).start <= p) ++end;
    to[p] = {begin, end > begin ? end : begin};
  }
}

// The outputs i + first, i + first + 1, ... whose windows hold the positions stride*i + residue.
struct Taps {
  i64 first, count;
};

inline Taps taps_of(const Axis& axis, i64 residue) {
  const i64 at = residue - origin_of(axis);
  const i64 first = -floor_of(axis.window - 1 - at, axis.stride), last = floor_of(at, axis.stride);
  return {first, max_of(last - first + 1, 0)};
}

// Calls f.operator()<U>(i) so that blocks of U vectors cover n elements; the last is moved back to end with them. False
// where not even a vector fits.
template <i64 lanes, class F>
inline __attribute__((always_inline)) bool in_blocks(i64 n, F&& f) {
  if (n < lanes) return false;
  i64 i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) f.template operator()<4>(i);
  if (i + 2 * lanes <= n) {
    f.template operator()<2>(i);
    i += 2 * lanes;
  }
  if (i + lanes <= n) {
    f.template operator()<1>(i);
    i += lanes;
  }
  if (i < n) f.template operator()<1>(n - lanes);
  return true;
}

// The same for vectors of lanes L, f.operator()<V, U>(i), and down to vectors of 16 bytes: rows of small planes.
template <class L, class F>
inline __attribute__((always_inline)) bool in_vectors(i64 n, F&& f) {
  using V = Vector<L, kVectorBytes>;
  if (in_blocks<kVectorBytes / sizeof(L)>(n, [&]<int U>(i64 i) __attribute__((always_inline)) { f.template operator()<V, U>(i); }))
    return true;
  auto narrower = [&]<int kBytes>() __attribute__((always_inline)) {
    constexpr i64 lanes = kBytes / sizeof(L);
    if (n < lanes) return false;
    for (i64 i = 0; i < n; i += lanes) f.template operator()<Vector<L, kBytes>, 1>(min_of(i, n - lanes));
    return true;
  };
  if constexpr (kVectorBytes > 32)
    if (narrower.template operator()<32>()) return true;
  if constexpr (kVectorBytes > 16)
    if (narrower.template operator()<16>()) return true;
  return false;
}

// Asks for n elements from p on.
template <i64 n, class L>
inline __attribute__((always_inline)) void ask_for(const L* p) {
  p = at_hand(p);
#pragma GCC unroll 16
  for (u64 b = 0; b < n * sizeof(L); b += 64) __builtin_prefetch(reinterpret_cast<const char*>(p) + b);
}

// 2n elements, by turns from a and b; past the caches as put() says.
template <class N, class L, int... I>
inline __attribute__((always_inline)) void interleave(N a, N b, L* to, bool past, Indices<I...>) {
  constexpr int n = sizeof...(I);
  const N both[2] = {__builtin_shufflevector(a, b, (I / 2 + I % 2 * n)...), __builtin_shufflevector(a, b, (n / 2 + I / 2 + I % 2 * n)...)};
  put_all<L, 2>(to, both, past);
}

// n rounds of one element from each of s rows, which are `pitch` apart.
template <int S, class L>
__attribute__((noinline)) void take_turns(const L* __restrict from, i64 pitch, i64 n, L* __restrict to) {
  for (i64 i = 0; i < n; ++i)
#pragma GCC unroll 4
    for (int r = 0; r < S; ++r) to[i * S + r] = from[r * pitch + i];
}

template <class L>
void by_turns(const L* from, i64 pitch, i64 n, i64 s, L* to) {
  // The compiler shuffles what it knows the number of, in an eighth of the time.
  if (s == 3) return take_turns<3>(from, pitch, n, to);
  if (s == 4) return take_turns<4>(from, pitch, n, to);
  for (i64 r = 0; r < s; ++r)
    for (i64 i = 0; i < n; ++i) to[i * s + r] = from[r * pitch + i];
}

// Which windows see which row of gx, and which rows are seen alike.
class GatherRows {
 protected:
  // A row of outputs whose windows see the row of gx.
  struct Line {
    i64 y_at, mark, divisor;
  };

  GatherRows(const Problem& pb, Scratch& scratch)
      : pb_(pb), last_(pb.axes[pb.n_axes - 1]), even_(evenly_cut(last_) && (pb.inner > 1 || last_.stride <= max_of(last_.n_out, kMostTurns))) {
    for (int a = 0; a < pb.n_axes; ++a) cover_[a] = scratch.take<Span>(pb.axes[a].size_in);
    if (!scratch.base) return;
    for (int a = 0; a < pb.n_axes; ++a) cover(pb.axes[a], cover_[a]);
    if (pb.n_axes > 1) across_ = interior(pb.n_axes - 2);
  }

  // Rows begin..end-1 of gx, those that uniform windows see alike up to `most` at once: write(first element of gx, rows,
  // how far apart they are in y, and in gx), with the rows of outputs in lines_.
  template <class Write>
  void each_row(i64 begin, i64 end, i64 most, Write&& write) {
    const int depth = pb_.n_axes - 1;
    const i64 length = last_.in_block * last_.size_in;
    if (depth == 0) {
      rows_ = 1;
      for (i64 row = begin, n; row < end; row += n) {
        n = min_of(end - row, most);
        lines_[0] = {row * pb_.out_plane, 0, 1};
        write(row * length, n, pb_.out_plane, length);
      }
      return;
    }
    const Axis& axis = pb_.axes[depth - 1];
    if (small_planes_ && depth == 1 && begin % axis.size_in == 0 && end % axis.size_in == 0) {
      // A row of all planes at once: they have more in common than the rows of one.
      for (i64 row = begin, n; row < end; row += n * axis.size_in) {
        n = min_of((end - row) / axis.size_in, most);
        for (i64 p = 0; p < axis.size_in; ++p) {
          rows_ = 0;
          take_rows(0, &p, row / axis.size_in * pb_.out_plane, 0, 1);
          write((row + p) * length, n, pb_.out_plane, axis.size_in * length);
        }
      }
      return;
    }
    for (i64 row = begin, n; row < end; row += n) {
      i64 at[kMaxAxes] = {}, rest = row;
      for (int a = depth - 1; a >= 0; --a) {
        at[a] = rest % pb_.axes[a].size_in;
        rest /= pb_.axes[a].size_in;
      }
      const i64 p = at[depth - 1];
      const bool alike = p >= across_.begin && p < across_.end;
      const i64 step = alike ? axis.stride : 1;
      n = alike ? min_of(min_of(end - row, across_.end - p), most > end / step ? end : most * step) : 1;
      for (i64 residue = 0; residue < min_of(step, n); ++residue) {
        rows_ = 0;
        at[depth - 1] = p + residue;
        take_rows(0, at, rest * pb_.out_plane, 0, 1);
        write((row + residue) * length, (n - residue + step - 1) / step, axis.out_block, step * length);
      }
    }
  }


  // How many rows on memory is asked for: what the processor looks ahead on its own ends with the row.
  i64 rows_ahead(i64 item) const { return (kAhead - 1) / max_of(last_.size_in * last_.in_block * item, 1) + 1; }

  // Positions that uniform windows alone see, each as many as its residue allows; of the last axis whole rounds of residues.
  Span interior(int a) const {
    const Axis& axis = pb_.axes[a];
    const bool whole = a == pb_.n_axes - 1;
    auto inside = [&](i64 p) {
      const Span r = cover_[a][p];
      if (r.begin < axis.first || r.end > axis.last || p < axis.base) return false;
      const i64 residue = (p - axis.base) % axis.stride;
      return r.end - r.begin == (residue < axis.window ? (axis.window - residue - 1) / axis.stride + 1 : 0);
    };
    Span r{0, 0};
    while (r.begin < axis.size_in && (!inside(r.begin) || (whole && (r.begin - axis.base) % axis.stride != 0))) ++r.begin;
    r.end = r.begin;
    while (r.end < axis.size_in && inside(r.end)) ++r.end;
    if (whole) r.end -= (r.end - r.begin) % axis.stride;
    return r;
  }

  const Problem& pb_;
  const Axis& last_;
  const bool even_;  // the last axis is evenly_cut; windows that step farther than there are of them are better off as any others
  bool small_planes_ = false;
  Span* cover_[kMaxAxes] = {};
  int rows_ = 0;
  Line lines_[kMostTerms];

 private:
  void take_rows(int a, const i64* at, i64 y_at, i64 mark, i64 divisor) {
    if (a == pb_.n_axes - 1) {
      lines_[rows_++] = {y_at, mark, divisor};
      return;
    }
    const Axis& axis = pb_.axes[a];
    const Span r = cover_[a][at[a]];
    for (i64 o = r.begin; o < r.end; ++o) {
      const Window w = window_at(axis, o);
      take_rows(a + 1, at, y_at + o * axis.out_block, mark + (at[a] - w.start) * axis.offset_unit, divisor * divisor_of(pb_, w));
    }
  }

  Span across_ = {0, 0};  // rows that are seen alike, on the axis before the last
};

// max and min: each output sends its gradient to one element of its window. Terms are added in the array's own type, as
// the definition has it, those of half types in float.
template <class T>
class GatherChosen : GatherRows {
  using Lane = Storage<T>;
  using Acc = typename Choose<same<T, double>, double, float>::type;
  static constexpr int kTurns = kMostTurns;
  static constexpr i64 kSmall = 32;
  static constexpr i64 kRun = 4096;  // outputs

 public:
  GatherChosen(const Problem& pb, const Call& call, Scratch& scratch)
      : GatherRows(pb, scratch), g_(static_cast<const Lane*>(call.gy)), chosen_(static_cast<const std::uint8_t*>(call.offsets)),
        gx_(static_cast<Lane*>(call.gx)), outputs_(pb.planes * pb.out_plane) {
    const i64 s = last_.stride, n_out = last_.n_out, size = last_.size_in;
    // 255 is to stay free for outputs that are not there.
    in_runs_ = even_ && pb.inner == 1 && s <= kTurns && size >= s && pb.offset_count <= 255;
    // At a stride of 1 the rows of one plane may be one run, which only the shortest gain nothing from.
    small_planes_ = in_runs_ && size <= (s == 1 ? kSmall / 2 : kSmall);
    if (in_runs_) {
      for (i64 r = 0; r < s; ++r) {
        taps_[r] = taps_of(last_, r);
        left_ = max_of(left_, -taps_[r].first);
        right_ = max_of(right_, size / s + taps_[r].first + taps_[r].count - 1 - n_out);
      }
      // An output beyond the end of a row is, by its place, one at the start of the next; but where rows are as long as
      // their outputs' strides, none that lies there sends anything to where the one beyond the end would.
      flush_ = size == s * n_out;
      pitch_ = n_out + (flush_ ? 0 : max_of(left_, right_));
      most_ = max_of(1, min_of(64, 8192 / (s > 2 ? size : pitch_)));
      moved_ = scratch.take<std::uint8_t>(pb.gather_terms * (left_ + most_ * pitch_ + right_));
      shifts_ = scratch.take<Shift>(n_out - (last_.last - last_.first));
      if (s > 2) residues_ = scratch.take<Lane>(most_ * size);
    } else if (s > 1 && pb.inner == 1) {
      residues_ = scratch.take<Lane>(n_out + 1);
    }
    plan_planes(scratch);
    if (!scratch.base) return;
    const Span along = interior(pb.n_axes - 1);
    lo_ = along.begin;
    hi_ = along.end;
    if (!in_runs_) return;
    in_place_ = flush_ && left_ == 0 && right_ == 0;
    for (i64 o = 0; o < n_out; o = o + 1 == last_.first ? last_.last : o + 1) {
      const i64 shift = window_at(last_, o).start - origin_of(last_) - s * o;
      if (shift != 0) shifts_[n_shifts_++] = {o, static_cast<std::uint8_t>(shift)};
    }
    in_place_ &= n_shifts_ == 0;
  }

  void run(i64 begin, i64 end) {
    if (planes_ > 0 && begin % pb_.axes[0].size_in == 0 && end % pb_.axes[0].size_in == 0) {
      const i64 height = pb_.axes[0].size_in;
      for (i64 plane = begin / height; plane < end / height; plane += planes_)
        write_planes(plane, min_of(planes_, end / height - plane));
      return;
    }
    each_row(begin, end, in_runs_ ? most_ : end - begin, [&](i64 at, i64 count, i64 y_step, i64 to_step) {
      const i64 ahead = rows_ahead(sizeof(Lane));
      far_y_ = ahead * y_step;
      far_to_ = ahead * to_step;
      if (in_runs_) write_runs(gx_ + at, count, y_step, to_step);
      else write(gx_ + at, count, y_step, to_step);
    });
  }

 private:
  struct Source {
    const Lane* g;
    const std::uint8_t* chosen;
    std::uint32_t code;  // four times
  };

  // An output whose window lacks its first elements: its offsets are less than those of a whole one.
  struct Shift {
    i64 at;
    std::uint8_t by;
  };

  static std::uint32_t four(i64 code) { return static_cast<std::uint32_t>(code & 255) * 0x01010101u; }

  // Small planes are done as one run of all their outputs: rows whose outputs' strides reach their end, as above, and planes
  // whose rows do. What lies beyond an end is by its place the next row, or plane, which sends nothing there.
  void plan_planes(Scratch& scratch) {
    if (!in_runs_ || pb_.n_axes != 2) return;
    const Axis& outer = pb_.axes[0];
    const i64 s = last_.stride, down = outer.stride;
    if (!evenly_cut(outer) || s > 2 || down > kTurns || last_.size_in > kSmall || last_.size_in > s * last_.n_out ||
        outer.size_in > down * outer.n_out || pb_.out_plane > kRun)
      return;
    planes_ = max_of(1, kRun / pb_.out_plane);
    const i64 outputs = planes_ * pb_.out_plane;
    i64 farthest = 0;
    for (i64 r = 0; r < down; ++r) {
      rows_seen_[r] = taps_of(outer, r);
      farthest = max_of(farthest, max_of(-rows_seen_[r].first, rows_seen_[r].first + rows_seen_[r].count));
    }
    margin_ = (farthest + 1) * last_.n_out + left_ + right_;
    together_ = scratch.take<std::uint8_t>(outputs + 2 * margin_);
    near_ends_ = scratch.take<Lane>(outputs + 2 * margin_);
    rows_apart_ = down == 1 && last_.size_in == s * last_.n_out && outer.size_in == outer.n_out ? nullptr : scratch.take<Lane>(outputs * s);
  }

  __attribute__((noinline)) void write_planes(i64 first, i64 count) {
    const Axis& outer = pb_.axes[0];
    const i64 s = last_.stride, n_out = last_.n_out, down = outer.stride, height = outer.size_in, width = last_.size_in;
    const i64 outputs = count * pb_.out_plane, begin = first * pb_.out_plane;
    constexpr int nowhere = 255;
    std::uint8_t* moved = together_ + margin_;
    __builtin_memset(together_, nowhere, static_cast<u64>(margin_));
    __builtin_memcpy(moved, chosen_ + begin, static_cast<u64>(outputs));
    __builtin_memset(moved + outputs, nowhere, static_cast<u64>(margin_));
    // Offsets of cut windows as if they were whole.
    for (int e = 0; e < n_shifts_; ++e)
      for (i64 at = shifts_[e].at; at < outputs; at += n_out) moved[at] = static_cast<std::uint8_t>(moved[at] + shifts_[e].by);
    for (i64 o = 0; o < outer.n_out; o = o + 1 == outer.first ? outer.last : o + 1) {
      const i64 by = (window_at(outer, o).start - origin_of(outer) - down * o) * outer.offset_unit;
      if (by == 0) continue;
      for (i64 p = 0; p < count; ++p)
        for (i64 i = 0; i < n_out; ++i) {
          std::uint8_t& offset = moved[p * pb_.out_plane + o * n_out + i];
          offset = static_cast<std::uint8_t>(offset + by);
        }
    }
    // What is read beyond the first and the last output of all must exist, though it goes nowhere.
    const Lane* g = g_ + begin;
    if (begin < margin_ || begin + outputs + margin_ > outputs_) {
      Lane* copy = near_ends_ + margin_;
      __builtin_memcpy(copy, g, static_cast<u64>(outputs) * sizeof(Lane));
      for (i64 i = 0; i < margin_; ++i) copy[-1 - i] = copy[outputs + i] = Lane{};
      g = copy;
    }
    Lane* to = gx_ + first * pb_.in_plane;
    far_y_ = outputs;
    far_to_ = count * pb_.in_plane;
    for (i64 residue = 0; residue < min_of(down, height); ++residue) {
      int ends[kTurns] = {}, k = 0;
      const Taps rows = rows_seen_[residue];
      for (i64 r = 0; r < s; ++r) {
        for (i64 d = rows.first; d < rows.first + rows.count; ++d)
          for (i64 e = taps_[r].first; e < taps_[r].first + taps_[r].count; ++e, ++k) {
            const i64 code = (residue - origin_of(outer) - down * d) * outer.offset_unit + r - origin_of(last_) - s * e;
            sources_[k] = {g + d * n_out + e, moved + d * n_out + e, four(code)};
          }
        ends[r] = k;
      }
      run_of(ends, outputs, rows_apart_ ? rows_apart_ : to, rows_apart_ ? Lines{1, 0, 0} : result_lines(pb_, 1, 0, 0), 0, 0, 0);
      if (!rows_apart_) continue;
      const Lane* from = rows_apart_;
      for (i64 p = 0; p < count; ++p)
        for (i64 row = residue, o = 0; o < outer.n_out; ++o, row += down, from += s * n_out)
          if (row < height) __builtin_memcpy(to + (p * height + row) * width, from, static_cast<u64>(width) * sizeof(Lane));
    }
  }

  // What outputs r of the last axis send to position p.
  int sources(i64 p, Span r, Source* to) const {
    int k = 0;
    for (int l = 0; l < rows_; ++l)
      for (i64 o = r.begin; o < r.end; ++o, ++k) {
        const i64 y_at = lines_[l].y_at + o * pb_.inner;
        to[k] = {g_ + y_at, chosen_ + y_at, four(lines_[l].mark + p - window_at(last_, o).start)};
      }
    return k;
  }

  // Positions begin..end-1 of each line, one after the other.
  void one_by_one(i64 begin, i64 end, Lane* to, Lines lines, i64 from = 0) {
    const i64 inner = pb_.inner;
    for (i64 p = begin; p < end; ++p) {
      const int k = sources(p, cover_[pb_.n_axes - 1][p], few_);
      sum(few_, k, inner, to + p * inner, lines, from, from, lines.from);
    }
  }

  // `count` rows; y_step and to_step are how far apart they are in y and in gx.
  void write(Lane* to, i64 count, i64 y_step, i64 to_step) {
    const i64 inner = pb_.inner, s = last_.stride;
    const Span* columns = cover_[pb_.n_axes - 1];
    const Lines lines = result_lines(pb_, count, y_step, to_step);
    one_by_one(0, lo_, to, lines);
    if (lo_ < hi_) {
      if (s == 1) {
        sum(sources_, sources(lo_, columns[lo_], sources_), (hi_ - lo_) * inner, to + lo_ * inner, lines, 0, 0, y_step);
      } else if (inner > 1) {
        by_residue(to, count, y_step, to_step);
      } else {
        const i64 n = (hi_ - lo_) / s;
        for (i64 residue = 0; residue < s; ++residue) {
          const int k = sources(lo_ + residue, columns[lo_ + residue], sources_);
          for (i64 l = 0; l < count; ++l) {
            sum(sources_, k, n, residues_, Lines{1, 0, 0}, l * y_step, l * y_step, 0);
            for (i64 i = 0; i < n; ++i) to[l * to_step + lo_ + i * s + residue] = residues_[i];
          }
        }
      }
    }
    one_by_one(hi_, last_.size_in, to, lines);
  }

  // The interior at larger strides, channels side by side.
  void by_residue(Lane* to, i64 count, i64 y_step, i64 to_step) {
    const i64 inner = pb_.inner, s = last_.stride;
    // As many residues at once as there is room for: all, but for strides beyond a window.
    for (i64 residue = 0, next; residue < s; residue = next) {
      int ends[kMostTerms], k = 0;
      for (next = residue; next < s && next - residue < kMostTerms && k <= kMostTerms; ++next)
        ends[next - residue] = k += sources(lo_ + next, cover_[pb_.n_axes - 1][lo_ + next], sources_ + k);
      const Lines along = result_lines(pb_, (hi_ - lo_) / s, inner, s * inner);
      for (i64 l = 0; l < count; ++l)
        for (i64 r = residue; r < next; ++r) {
          const int first = r > residue ? ends[r - residue - 1] : 0;
          sum(sources_ + first, ends[r - residue] - first, inner, to + l * to_step + (lo_ + r) * inner, along, l * y_step, l * y_step, inner);
        }
    }
  }

  // The same where windows are evenly cut and there are no channels, in runs of rows or of one row.
  void write_runs(Lane* to, i64 count, i64 y_step, i64 to_step) {
    const i64 s = last_.stride, n = last_.size_in / s;
    const bool joined = flush_ && to_step == last_.size_in && y_step == last_.n_out;
    const std::uint8_t* offsets[kMostTerms];
    const i64 pitch = in_place_ ? y_step : pitch_;
    if (in_place_)
      for (int l = 0; l < rows_; ++l) offsets[l] = chosen_ + lines_[l].y_at;
    else move_offsets(count, y_step, offsets);
    int ends[kTurns] = {}, k = 0;
    i64 lowest = 0, highest = 0;
    for (i64 r = 0; r < s; ++r) {
      for (int l = 0; l < rows_; ++l)
        for (i64 d = taps_[r].first; d < taps_[r].first + taps_[r].count; ++d, ++k) {
          const i64 y_at = lines_[l].y_at + d;
          lowest = k ? min_of(lowest, y_at) : y_at;
          highest = k ? max_of(highest, y_at) : y_at;
          sources_[k] = {g_ + y_at, offsets[l] + d, four(lines_[l].mark + r - origin_of(last_) - s * d)};
        }
      ends[r] = k;
    }
    const i64 runs = joined ? 1 : count, length = joined ? count * n : n;
    // Of each run only what reads nothing before the first output of gy, nor beyond the last; most runs are whole.
    const i64 last_start = outputs_ - highest - length;
    const i64 first_whole = lowest < 0 ? (y_step - 1 - lowest) / y_step : 0, end_whole = last_start < 0 ? 0 : min_of(runs, last_start / y_step + 1);
    for (i64 run = 0, many; run < runs; run += many) {
      const bool whole = run >= first_whole && run < end_whole;
      many = whole ? end_whole - run : 1;
      const i64 from = run * y_step, a = whole ? 0 : max_of(0, min_of(length, -(lowest + from)));
      const i64 b = whole ? length : max_of(a, min_of(length, outputs_ - highest - from));
      run_of(ends, b - a, to + run * to_step + s * a, result_lines(pb_, many, y_step, to_step), from + a, run * pitch + a, pitch);
      if (whole) continue;
      for (i64 l = run; l < (joined ? count : run + 1); ++l) {
        const i64 begin = max_of(0, min_of(n, a - (l - run) * n)), end = max_of(begin, min_of(n, b - (l - run) * n));
        one_by_one(0, s * begin, to + l * to_step, Lines{1, 0, 0}, l * y_step);
        one_by_one(s * end, s * n, to + l * to_step, Lines{1, 0, 0}, l * y_step);
      }
    }
    one_by_one(s * n, last_.size_in, to, Lines{count, y_step, to_step});
  }

  // n rounds of residues of each line; sources of residue r end at ends[r].
  void run_of(const int* ends, i64 n, Lane* to, Lines lines, i64 from, i64 at, i64 at_step) const {
    const i64 s = last_.stride;
    if (s == 1) return sum(sources_, ends[0], n, to, lines, from, at, at_step);
    if (s == 2) return sum_two(ends[0], ends[1], n, to, lines, from, at, at_step);
    for (i64 r = 0; r < s; ++r) {
      const int first = r > 0 ? ends[r - 1] : 0;
      sum(sources_ + first, ends[r] - first, n, residues_ + r * lines.count * n, Lines{lines.count, lines.from, n}, from, at, at_step);
    }
    for (i64 l = 0; l < lines.count; ++l) by_turns(residues_ + l * n, lines.count * n, n, s, to + l * lines.to);
  }

  // Copies the offsets of the lines, those of cut windows as if they were whole; places[l] is line l.
  void move_offsets(i64 count, i64 y_step, const std::uint8_t** places) {
    constexpr int nowhere = 255;
    std::uint8_t *to = moved_, *group = nullptr;
    i64 first = 0, rows = 0;
    for (int l = 0; l < rows_; ++l) {
      // Lines that lie between those of another one share them.
      const i64 behind = lines_[l].y_at - first;
      const bool apart = !group || behind < 0 || behind % y_step != 0 || behind / y_step > rows;
      if (apart) {
        __builtin_memset(to, nowhere, static_cast<u64>(left_));
        group = to += left_;
        first = lines_[l].y_at;
        rows = 0;
      }
      const i64 skipped = apart ? 0 : behind / y_step, more = skipped + count - rows;
      if (!apart) to = group + rows * pitch_;
      if (more > 0) {
        const std::uint8_t* from = chosen_ + first + rows * y_step;
        if (pitch_ == y_step && y_step == last_.n_out) {
          __builtin_memcpy(to, from, static_cast<u64>(more * pitch_));
        } else {
          for (i64 r = 0; r < more; ++r) {
            __builtin_memcpy(to + r * pitch_, from + r * y_step, static_cast<u64>(last_.n_out));
            __builtin_memset(to + r * pitch_ + last_.n_out, nowhere, static_cast<u64>(pitch_ - last_.n_out));
          }
        }
        for (i64 r = 0; r < more; ++r)
          for (int e = 0; e < n_shifts_; ++e) {
            std::uint8_t& offset = to[r * pitch_ + shifts_[e].at];
            offset = static_cast<std::uint8_t>(offset + shifts_[e].by);
          }
        rows += more;
      }
      to = group + rows * pitch_;
      __builtin_memset(to, nowhere, static_cast<u64>(right_));
      to += right_;
      places[l] = group + skipped * pitch_;
    }
  }

  // U vectors of sums of k sources, from element i of each g and from element `at` of each row of offsets.
  template <class V, int U>
  static inline __attribute__((always_inline)) void add_up(const Source* from, int k, i64 i, i64 at, V* total) {
    constexpr i64 lanes = sizeof(V) / sizeof(Acc);
    for (int u = 0; u < U; ++u) total[u] = V{};
    for (const Source* s = from; s < from + k; ++s) {
      const Lane* g = at_hand(s->g + i);
      const std::uint8_t* chosen = at_hand(s->chosen + at);
#pragma GCC unroll 4
      for (int u = 0; u < U; ++u) total[u] = add_where(total[u], term<V>(g + u * lanes), chosen + u * lanes, s->code);
    }
  }

  template <class V>
  static inline __attribute__((always_inline)) V term(const Lane* g) {
    if constexpr (same<T, Acc>) return load<V>(g);
    else return widen_lanes<T, V, Acc>(load<Like<Lane, V, Acc>>(g));
  }

  template <class V>
  static inline __attribute__((always_inline)) V add_where(V total, V g, const std::uint8_t* chosen, std::uint32_t code) {
    // Without a branch, which nobody can predict. (A sum that starts from +0 is never -0: adding zero changes nothing.)
    using Bits = typename Choose<sizeof(Acc) == 8, i64, std::int32_t>::type;
    if constexpr (same<V, Acc>) {
      const Bits mask = -static_cast<Bits>(*chosen == (code & 255));
      return total + __builtin_bit_cast(Acc, static_cast<Bits>(__builtin_bit_cast(Bits, g) & mask));
    } else {
      using B = Like<Bits, V, Acc>;
      constexpr int lanes = sizeof(V) / sizeof(Acc);
#if defined(__AVX512F__)
      if constexpr (sizeof(V) == 64) {
        __m128i bytes{};
        __builtin_memcpy(&bytes, chosen, lanes);
        const __mmask16 mask = _mm_cmpeq_epi8_mask(bytes, _mm_set1_epi32(static_cast<int>(code)));
        if constexpr (lanes == 16) return (V)_mm512_mask_add_ps((__m512)total, mask, (__m512)total, (__m512)g);
        else return (V)_mm512_mask_add_pd((__m512d)total, static_cast<__mmask8>(mask), (__m512d)total, (__m512d)g);
      }
#endif
#if defined(__AVX2__)
      if constexpr (sizeof(V) == 32) {
        __m128i bytes{};
        __builtin_memcpy(&bytes, chosen, lanes);
        B there;
        if constexpr (lanes == 8) there = (B)_mm256_cvtepu8_epi32(bytes) == static_cast<Bits>(code & 255);
        else there = (B)_mm256_cvtepu8_epi64(bytes) == static_cast<Bits>(code & 255);
        return total + (V)((B)g & there);
      }
#endif
      if constexpr (sizeof(V) == 16) {
        // Each byte as often as a lane has bytes, by instructions that every machine has.
        typename Choose<lanes == 4, std::uint32_t, std::uint16_t>::type word;
        __builtin_memcpy(&word, chosen, lanes);
        const auto bytes = (Vector<std::uint8_t, 16>)Vector<std::uint32_t, 16>{word};
        const auto twice = (Vector<std::uint16_t, 16>)__builtin_shufflevector(bytes, bytes, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
        const auto four_times = (Vector<std::uint32_t, 16>)__builtin_shufflevector(twice, twice, 0, 0, 1, 1, 2, 2, 3, 3);
        B there;
        if constexpr (lanes == 4) there = (B)(four_times == code);
        else there = (B)((Vector<std::uint64_t, 16>)__builtin_shufflevector(four_times, four_times, 0, 0, 1, 1) == (std::uint64_t{code} << 32 | code));
        return total + (V)((B)g & there);
      }
    }
  }

  template <class V>
  static inline __attribute__((always_inline)) Like<Lane, V, Acc> narrowed(V v) {
    if constexpr (same<T, Acc>) return v; else return narrow_lanes<T, V, Acc>(v);
  }

  // The sums of k sources, from element i0 of each g and element at0 of their offsets on, into n elements of each line;
  // offsets of lines are at_step apart.
  __attribute__((noinline)) void sum(const Source* from, int k, i64 n, Lane* to, Lines lines, i64 i0, i64 at0, i64 at_step) const {
    const Lane *far_g = (k > 0 ? from[k - 1].g : g_) + far_y_, *far_to = to + far_to_;
    const std::uint8_t* far_chosen = (k > 0 ? from[k - 1].chosen : chosen_) + far_y_;
    for (i64 l = 0; l < lines.count; ++l, i0 += lines.from, at0 += at_step, to += lines.to, far_to += lines.to) {
      const bool past = whole_lines(lines.past, to, n);
      if (in_vectors<Acc>(n, [&]<class V, int U>(i64 i) __attribute__((always_inline)) {
            constexpr i64 lanes = sizeof(V) / sizeof(Acc);
            V total[U];
            if constexpr (U > 1) {
              if (!past) ask_for<U * lanes>(far_to + i);
              ask_for<U * lanes>(far_g + i0 + i);
              if (!in_runs_) ask_for<U * lanes>(far_chosen + at0 + i);
            }
            add_up<V, U>(from, k, i0 + i, at0 + i, total);
            Like<Lane, V, Acc> narrow[U];
#pragma GCC unroll 4
            for (int u = 0; u < U; ++u) narrow[u] = narrowed(total[u]);
            put_all<Lane, U>(to + i, narrow, past);
          }))
        continue;
      for (i64 i = 0; i < n; ++i) {
        Acc total[1];
        add_up<Acc, 1>(from, k, i0 + i, at0 + i, total);
        to[i] = narrowed(total[0]);
      }
    }
  }

  // n pairs of elements of each line: the first of each from the first `half` sources, the second from the rest up to k.
  __attribute__((noinline)) void sum_two(int half, int k, i64 n, Lane* to, Lines lines, i64 i0, i64 at0, i64 at_step) const {
    const Lane *far_g = (k > 0 ? sources_[k - 1].g : g_) + far_y_, *far_to = to + far_to_;
    for (i64 l = 0; l < lines.count; ++l, i0 += lines.from, at0 += at_step, to += lines.to, far_to += lines.to) {
      const bool past = whole_lines(lines.past, to, 2 * n);
      if (in_vectors<Acc>(n, [&]<class V, int U>(i64 i) __attribute__((always_inline)) {
            constexpr int lanes = sizeof(V) / sizeof(Acc);
            V even[U], odd[U];
            if constexpr (U > 1) {
              if (!past) ask_for<2 * U * lanes>(far_to + 2 * i);
              ask_for<U * lanes>(far_g + i0 + i);
            }
            add_up<V, U>(sources_, half, i0 + i, at0 + i, even);
            add_up<V, U>(sources_ + half, k - half, i0 + i, at0 + i, odd);
            for (int u = 0; u < U; ++u)
              interleave(narrowed(even[u]), narrowed(odd[u]), to + 2 * (i + u * lanes), past, typename CountTo<lanes>::type{});
          }))
        continue;
      for (i64 i = 0; i < n; ++i) {
        Acc even[1], odd[1];
        add_up<Acc, 1>(sources_, half, i0 + i, at0 + i, even);
        add_up<Acc, 1>(sources_ + half, k - half, i0 + i, at0 + i, odd);
        to[2 * i] = narrowed(even[0]);
        to[2 * i + 1] = narrowed(odd[0]);
      }
    }
  }

  const Lane* g_;
  const std::uint8_t* chosen_;
  Lane* gx_;
  i64 outputs_;
  Lane* residues_ = nullptr;
  i64 far_y_ = 0, far_to_ = 0;
  i64 lo_ = 0, hi_ = 0;  // positions of the last axis that uniform windows alone see
  Source sources_[kTurns * kMostTerms], few_[kMostTerms];

  // Where rows are done in runs.
  bool in_runs_ = false, flush_ = false, in_place_ = false;
  Taps taps_[kTurns] = {};
  i64 left_ = 0, right_ = 0;  // outputs before the first and beyond the last that positions would see
  i64 pitch_ = 0, most_ = 0;
  Taps rows_seen_[kTurns] = {};
  i64 planes_ = 0, margin_ = 0;  // planes of one run, and outputs before and beyond them that may be looked at
  Lane *near_ends_ = nullptr, *rows_apart_ = nullptr;
  std::uint8_t* together_ = nullptr;
  std::uint8_t* moved_ = nullptr;
  Shift* shifts_ = nullptr;
  int n_shifts_ = 0;
};

// sum and avg: each output sends a share to every element of its window. Rows of outputs are added up once, in double, a
// stretch of columns that stays in the first-level cache at a time; elements are sums along that.
//
// kNorm: lp with p = 2, where each element is sent its share of the window's norm: gy * x / y, added up as gy / y and
// multiplied by x at the end. Of float64, where that can leave the range, rows that come near its ends are made one by one.
template <class T, bool kNorm>
class GatherSums : GatherRows {
  using Lane = Storage<T>;
  using V = Vector<double, kVectorBytes>;
  static constexpr i64 kLanes = kVectorBytes / sizeof(double);
  static constexpr i64 kStretch = 2048;  // doubles
  using Turn = typename Choose<kNorm, double, Lane>::type;

 public:
  GatherSums(const Problem& pb, const Call& call, Scratch& scratch)
      : GatherRows(pb, scratch), g_(static_cast<const Lane*>(call.gy)), gx_(static_cast<Lane*>(call.gx)),
        x_(static_cast<const Lane*>(call.x)), y_(static_cast<const Lane*>(call.y)),
        shared_(kNorm ? pb.rescale != 0 : pb.op == Op::avg && pb.divisor == 0) {
    const i64 s = last_.stride, n_out = last_.n_out, kept = even_ ? 2 * (last_.radix / s) + 8 : kMostTerms + 8;
    one_ = scratch.take<double>(n_out);
    shares_ = scratch.take<double>(n_out);
    residues_ = even_ ? min_of(s, last_.size_in) : 0;
    taps_ = scratch.take<Taps>(residues_);
    // Taken without looking: where nothing is counted yet taps_ is null.
    for (i64 r = 0; r < residues_; ++r) {
      const Taps taps = taps_of(last_, r);
      if (taps_) taps_[r] = taps;
      left_ = max_of(left_, -taps.first);
      right_ = max_of(right_, (last_.size_in - 1 - r) / s + taps.first + taps.count - n_out);
    }
    at_once_ = max_of(kStretch / max_of(pb.inner, 1), 2 * kept);
    sent_ = scratch.take<double>((left_ + min_of(n_out, at_once_ + kept) + right_) * pb.inner);
    if (even_ && s > 2 && pb.inner == 1) {
      turns_ = scratch.take<Turn>(last_.size_in);
      if constexpr (kNorm) in_place_ = scratch.take<double>(last_.size_in);
    }
    if (scratch.base) shares(1, one_);
  }

  void run(i64 begin, i64 end) {
    if constexpr (!kNorm) {
      if (pb_.whole) return fill(begin, end);
    }
    each_row(begin, end, end - begin, [&](i64 at, i64 count, i64 y_step, i64 to_step) {
      const i64 ahead = rows_ahead(sizeof(Lane));
      far_y_ = ahead * y_step;
      far_to_ = ahead * to_step;
      bool equal = true;
      for (int l = 1; l < rows_; ++l) equal &= lines_[l].divisor == lines_[0].divisor;
      share_ = one_;
      weighted_ = false;
      if (rows_ > 0 && shared_) {
        weighted_ = !equal;
        for (int l = 0; l < rows_; ++l) weights_[l] = 1 / static_cast<double>(lines_[l].divisor);
        if (equal) share_ = shares_;
        if (equal && lines_[0].divisor != shared_by_) shares(shared_by_ = lines_[0].divisor, shares_);
      }
      for (i64 l = 0; l < count; ++l) {
        for (int r = 0; r < rows_; ++r) rows_of_g_[r] = g_ + lines_[r].y_at + l * y_step;
        row(gx_ + at + l * to_step);
        if constexpr (kNorm) repair(gx_ + at + l * to_step);
      }
    });
  }

 private:
  // What each output of the last axis sends of its gradient where `others` share it on the other axes.
  void shares(i64 others, double* to) const {
    const double whole = kNorm ? pb_.rescale : 1;
    for (i64 o = 0; o < last_.n_out; ++o)
      to[o] = shared_ ? whole / static_cast<double>(others * divisor_of(pb_, window_at(last_, o))) : pb_.op == Op::avg ? 1 / pb_.divisor : 1;
  }

  // Infinite elements, of which each is all of its window's norm; or a whole row.
  __attribute__((noinline)) void repair(Lane* to) const {
    const i64 n = last_.size_in * pb_.inner, inner = pb_.inner;
    const Lane* x = x_of(to);
    auto infinite = [](Lane v) {
      if constexpr (same<T, double>) return (__builtin_bit_cast(u64, v) & ~(1ull << 63)) == 0x7ff0000000000000ull;
      else if constexpr (same<T, float>) return (__builtin_bit_cast(std::uint32_t, v) & 0x7fffffffu) == 0x7f800000u;
      else return (v & 0x7fff) == T::kInfinity;
    };
    int any = out_of_range_;
    for (i64 i = 0; i < n; ++i) any |= infinite(x[i]);
    if (!any) return;
    for (i64 i = 0; i < n; ++i) {
      const bool whole = infinite(x[i]);
      if (!whole && !out_of_range_) continue;
      const Span seen = cover_[pb_.n_axes - 1][i / inner];
      const double element = wide<double>(x + i);
      double total = 0;
      for (int r = 0; r < rows_; ++r)
        for (i64 o = seen.begin; o < seen.end; ++o) {
          const Lane* g = rows_of_g_[r] + o * inner + i % inner;
          const double norm = wide<double>(y_of(g)), term = wide<double>(g) * share_[o] * (weighted_ ? weights_[r] : 1);
          if (norm != norm) total += norm;
          else if (whole) total += element > 0 ? term : -term;
          else total += element == 0 || norm == 0 ? term * 0 : term * (element / norm);
        }
      to[i] = narrowed(total);
    }
  }

  void row(Lane* to) {
    const i64 inner = pb_.inner, n_out = last_.n_out, size = last_.size_in, s = last_.stride;
    const Span* columns = cover_[pb_.n_axes - 1];
    origin_ = -left_;
    out_of_range_ = false;
    for (i64 e = 0; e < left_ * inner; ++e) sent_[e] = 0;
    for (i64 o = 0, p = 0, next, end; p < size; o = next, p = end) {
      next = min_of(n_out, o + at_once_);
      send(o, next);
      if (next == n_out) {
        for (i64 e = 0; e < right_ * inner; ++e) sent(n_out)[e] = 0;
        end = size;
      } else {
        // Positions that no later output sees; of evenly spaced windows whole rounds of residues.
        end = window_at(last_, next).start;
        if (even_) end -= end % s;
        end = max_of(end, p);
      }
      along(p, end, to);
      if (end == size) break;
      // What later positions still see moves to the front.
      const i64 first = max_of(origin_, even_ ? end / s - left_ : columns[end].begin);
      const double* from = sent(first);
      for (i64 e = 0; e < (next - first) * inner; ++e) sent_[e] = from[e];
      origin_ = first;
    }
  }

  double* sent(i64 o) const { return sent_ + (o - origin_) * pb_.inner; }

  // What outputs begin..end-1 of the last axis send, over all rows.
  void send(i64 begin, i64 end) {
    const i64 inner = pb_.inner;
    const double* share = share_;
    if (inner == 1) return down<true>(begin, end - begin, share + begin, sent(begin));
    const i64 a = max_of(begin, min_of(last_.first, end)), b = max_of(a, min_of(end, last_.last));
    for (i64 o = begin; o < a; ++o) down<false>(o * inner, inner, share + o, sent(o));
    if (a < b) down<false>(a * inner, (b - a) * inner, share + a, sent(a));
    for (i64 o = b; o < end; ++o) down<false>(o * inner, inner, share + o, sent(o));
  }

  template <bool kEach>
  void down(i64 from, i64 n, const double* share, double* to) const {
    if (weighted_) down_rows<kEach, true>(from, n, share, to);
    else down_rows<kEach, false>(from, n, share, to);
  }

  // The sums of rows, n elements from `from` on, times a share: kEach element's own, or one of all.
  template <bool kEach, bool kWeighted>
  __attribute__((noinline)) void down_rows(i64 from, i64 n, const double* share, double* to) const {
    auto add_up = [&]<class W, int U>(i64 i) __attribute__((always_inline)) {
      constexpr i64 lanes = sizeof(W) / sizeof(double);
      W total[U] = {};
      for (int r = 0; r < rows_; ++r) {
        const Lane* g = at_hand(rows_of_g_[r] + from + i);
#pragma GCC unroll 4
        for (int u = 0; u < U; ++u) {
          W term = sent_by<W>(g + u * lanes);
          if constexpr (kWeighted) term *= weights_[r];
          total[u] += term;
        }
      }
      for (int u = 0; u < U; ++u) {
        if constexpr (kEach) total[u] *= load<W>(share + i + u * lanes); else total[u] *= *share;
        store(to + i + u * lanes, total[u]);
      }
    };
    const Lane* ahead = rows_ > 0 ? rows_of_g_[rows_ - 1] + from + far_y_ : nullptr;
    if (in_blocks<kLanes>(n, [&]<int U>(i64 i) __attribute__((always_inline)) {
          if constexpr (U > 1) ask_for<U * kLanes>(ahead + i);
          add_up.template operator()<V, U>(i);
        }))
      return;
    for (i64 i = 0; i < n; ++i) add_up.template operator()<double, 1>(i);
  }

  // Positions begin..end-1 of a row.
  void along(i64 begin, i64 end, Lane* to) const {
    const i64 inner = pb_.inner, s = last_.stride;
    const Lines row = result_lines(pb_, 1, 0, 0);
    if (begin >= end) return;
    if (!even_) {
      const Span* seen = cover_[pb_.n_axes - 1];
      for (i64 p = begin, next; p < end; p = next) {
        const Span r = seen[p];
        for (next = p + 1; next < end && seen[next].begin == r.begin && seen[next].end == r.end;) ++next;
        alike(sent(r.begin), r.end - r.begin, next - p, to + p * inner, row);
      }
    } else if (s == 1) {
      add_along(sent(begin + taps_[0].first), taps_[0].count, (end - begin) * inner, to + begin * inner, row);
    } else if (inner > 1) {
      for (i64 r = 0; r < min_of(s, end - begin); ++r) {
        const Lines rounds = result_lines(pb_, (end - begin - r - 1) / s + 1, inner, s * inner);
        add_along(sent(begin / s + taps_[r].first), taps_[r].count, inner, to + (begin + r) * inner, rounds);
      }
    } else if (s == 2) {
      add_two(begin / 2, (end - begin) / 2, to + begin);
      if ((end - begin) % 2 != 0) add_along(sent(end / 2 + taps_[0].first), taps_[0].count, 1, to + end - 1, row);
    } else {
      const i64 n = (end - begin) / s;
      // Elements of norms are at hand only in their place.
      for (i64 r = 0; r < s; ++r) add_along<kNorm>(sent(begin / s + taps_[r].first), taps_[r].count, n, turns_ + r * n, Lines{1, 0, 0});
      if constexpr (kNorm) {
        by_turns(turns_, n, n, s, in_place_);
        Lane* at = to + begin;
        sweep<double, true>(n * s, true, [&]<class W>(i64 i, auto lanes) __attribute__((always_inline)) {
          store(at + i, narrowed(times(load<W>(in_place_ + i, lanes), wide<W>(x_of(at + i), lanes))), lanes);
        });
      } else {
        by_turns(turns_, n, n, s, to + begin);
      }
      for (i64 p = begin + n * s; p < end; ++p) {
        const Taps& taps = taps_[(p - begin) % s];
        add_along(sent(p / s + taps.first), taps.count, 1, to + p, row);
      }
    }
  }

  // Positions that the same k outputs see.
  void alike(const double* from, i64 k, i64 positions, Lane* to, Lines row) const {
    const i64 inner = pb_.inner, n = positions * inner;
    if (inner == 1) {
      double total[1];
      add<double, 1>(from, 1, k, total);
      if constexpr (kNorm) {
        sweep<double, true>(n, true, [&]<class W>(i64 i, auto lanes) __attribute__((always_inline)) {
          store(to + i, narrowed(times(static_cast<W>(W{} + total[0]), wide<W>(x_of(to + i), lanes))), lanes);
        });
      } else {
        const Lane value = narrowed(total[0]);
        sweep<Lane, true>(n, true, [&]<class W>(i64 i, auto lanes) __attribute__((always_inline)) { store(to + i, static_cast<W>(W{} + value), lanes); });
      }
    } else if (kNorm) {
      for (i64 p = 0; p < positions; ++p) add_along(from, k, inner, to + p * inner, row);
    } else {
      add_along(from, k, inner, to, row);
      for (i64 done = inner, more; done < n; done += more) {
        more = min_of(done, n - done);
        __builtin_memcpy(to + done, to, static_cast<u64>(more) * sizeof(Lane));
      }
    }
  }

  // Rows begin..end-1 of gx where planes are one window: all of a plane is sent the same.
  void fill(i64 begin, i64 end) {
    const i64 length = last_.in_block * last_.size_in;
    i64 others = 1;
    for (int a = 0; a < pb_.n_axes - 1; ++a) others *= divisor_of(pb_, window_at(pb_.axes[a], 0));
    shares(others, shares_);
    for (i64 at = begin * length, next; at < end * length; at = next) {
      const i64 plane = at / pb_.in_plane;
      next = min_of((plane + 1) * pb_.in_plane, end * length);
      const Lane value = narrowed(0.0 + wide<double>(g_ + plane) * shares_[0]);  // as a sum, never -0
      for (i64 i = at; i < next; ++i) gx_[i] = value;
    }
  }

  template <class W, int U>
  static inline __attribute__((always_inline)) void add(const double* from, i64 pitch, i64 k, W* total) {
    constexpr i64 lanes = sizeof(W) / sizeof(double);
    for (int u = 0; u < U; ++u) total[u] = W{};
    for (i64 d = 0; d < k; ++d, from = at_hand(from + pitch)) {
#pragma GCC unroll 4
      for (int u = 0; u < U; ++u) total[u] += load<W>(from + u * lanes);
    }
  }

  // n elements of each line: each the sum of k outputs, one position apart; the sums themselves where kRaw.
  template <bool kRaw = false, class Out>
  __attribute__((noinline)) void add_along(const double* from, i64 k, i64 n, Out* to, Lines lines) const {
    const i64 pitch = pb_.inner, far = far_to_;
    auto made = [&](auto total, const Out* at) __attribute__((always_inline)) {
      if constexpr (kRaw) return total; else return received(total, at);
    };
    for (i64 l = 0; l < lines.count; ++l, from += lines.from, to += lines.to) {
      const bool past = whole_lines(lines.past, to, n);
      if (in_blocks<kLanes>(n, [&]<int U>(i64 i) __attribute__((always_inline)) {
            V total[U];
            if (U > 1 && !past) ask_for<U * kLanes>(to + far + i);
            add<V, U>(from + i, pitch, k, total);
            Like<Out, V, double> narrow[U];
#pragma GCC unroll 4
            for (int u = 0; u < U; ++u) narrow[u] = made(total[u], to + i + u * kLanes);
            put_all<Out, U>(to + i, narrow, past);
          }))
        continue;
      for (i64 i = 0; i < n; ++i) {
        double total[1];
        add<double, 1>(from + i, pitch, k, total);
        to[i] = made(total[0], to + i);
      }
    }
  }

  // n pairs of elements at stride 2, from those of outputs i on.
  __attribute__((noinline)) void add_two(i64 i0, i64 n, Lane* to) const {
    const double *even_from = sent(i0 + taps_[0].first), *odd_from = sent(i0 + taps_[1].first);
    const Lane* far_to = to + far_to_;
    const bool past = whole_lines(pb_.streams, to, 2 * n);
    if (in_blocks<kLanes>(n, [&]<int U>(i64 i) __attribute__((always_inline)) {
          V even[U], odd[U];
          if (U > 1 && !past) ask_for<2 * U * kLanes>(far_to + 2 * i);
          add<V, U>(even_from + i, 1, taps_[0].count, even);
          add<V, U>(odd_from + i, 1, taps_[1].count, odd);
          for (int u = 0; u < U; ++u) {
            Lane* at = to + 2 * (i + u * kLanes);
            if constexpr (kNorm) {
              const Lane* x = x_of(at);
              even[u] = times(even[u], wide<V, 2>(x));
              odd[u] = times(odd[u], wide<V, 2>(x + 1));
            }
            interleave(narrowed(even[u]), narrowed(odd[u]), at, past, typename CountTo<kLanes>::type{});
          }
        }))
      return;
    for (i64 i = 0; i < n; ++i) {
      double even[1], odd[1];
      add<double, 1>(even_from + i, 1, taps_[0].count, even);
      add<double, 1>(odd_from + i, 1, taps_[1].count, odd);
      to[2 * i] = received(even[0], to + 2 * i);
      to[2 * i + 1] = received(odd[0], to + 2 * i + 1);
    }
  }

  template <class W, int S = 1, class Lanes = All>
  static inline __attribute__((always_inline)) W wide(const Lane* p, Lanes lanes = {}) {
    using N = Like<Lane, W, double>;
    if constexpr (same<T, double>) return load_strided<S, W>(p, lanes); else return widen_lanes<T, W, double>(load_strided<S, N>(p, lanes));
  }

  const Lane* y_of(const Lane* g) const { return y_ + (g - g_); }
  const Lane* x_of(const Lane* gx) const { return x_ + (gx - gx_); }

  // Whether a number is so large or small that its quotients may leave the range of float64.
  template <class W>
  static inline __attribute__((always_inline)) bool is_far(W v) {
    constexpr double least = 0x1p-400, most = 0x1p400;
    const W size = v < 0 ? -v : v;
    if constexpr (same<W, double>) return !(v == 0 || (size >= least && size <= most));
    else return any_bit(~((v == 0) | ((size >= least) & (size <= most))));
  }

  // What outputs send to each element before it is shared.
  template <class W>
  inline __attribute__((always_inline)) W sent_by(const Lane* g) const {
    const W term = wide<W>(g);
    if constexpr (kNorm) {
      const W norm = wide<W>(y_of(g));
      if constexpr (same<T, double>) out_of_range_ |= is_far(term) || is_far(norm);
      if constexpr (same<W, double>) return norm == 0 ? term * 0 : term / norm;
      else return (norm == 0 ? term * 0 : term) / (norm == 0 ? norm + 1 : norm);
    }
    return term;
  }

  // An element that no window sees may be NaN.
  template <class W>
  static inline __attribute__((always_inline)) W times(W total, W x) { return total == 0 ? total : total * x; }

  // What is stored at an element of gx that was sent so much.
  template <class W>
  inline __attribute__((always_inline)) Like<Lane, W, double> received(W total, const Lane* at) const {
    if constexpr (kNorm) total = times(total, wide<W>(x_of(at)));
    return narrowed(total);
  }

  template <class W>
  static inline __attribute__((always_inline)) Like<Lane, W, double> narrowed(W v) {
    if constexpr (same<T, double>) return v; else return narrow_lanes<T, W, double>(v);
  }

  const Lane* g_;
  Lane* gx_;
  const Lane *x_, *y_;  // of a norm
  bool shared_;         // whether outputs send as much less as their windows have elements
  double *one_, *shares_;  // shares of the outputs of the last axis alone, and with shared_by_ others
  i64 shared_by_ = 0;
  double* sent_;    // outputs origin_ on
  i64 origin_ = 0;
  Taps* taps_;
  i64 residues_ = 0, left_ = 0, right_ = 0;
  i64 at_once_;  // outputs
  mutable bool out_of_range_ = false;  // whether a row's sums are not to be trusted
  Turn *turns_ = nullptr, *in_place_ = nullptr;  // residues one behind the other, and by turns
  const double* share_ = nullptr;
  bool weighted_ = false;  // whether lines are shared by different numbers
  double weights_[kMostTerms];
  const Lane* rows_of_g_[kMostTerms];
  i64 far_y_ = 0, far_to_ = 0;
};

template <class T>
using GatherShares = GatherSums<T, false>;
template <class T>
using GatherNorms = GatherSums<T, true>;

// Whether rows of gx may be gathered though more windows see an element than the plan lets Gather have: what matters to
// sums is how many rows of outputs, and how many outputs along one.
inline bool in_rows(const Problem& pb) {
  if (pb.in != pb.out || !is_float(pb.in) || pb.back_split == pb.n_axes - 1) return false;
  i64 lines = 1;
  for (int a = 0; a < pb.n_axes; ++a) {
    const Axis& axis = pb.axes[a];
    const i64 most = (axis.window - 1) / axis.stride + 1;
    if (most > kMostTerms || !evenly_cut(axis)) return false;
    if (a < pb.n_axes - 1) lines *= most;
  }
  return lines <= kMostTerms;
}

template <template <class> class Gather, class T>
i64 gather_backward(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  Scratch scratch{memory};
  Gather<T> gather(pb, call, scratch);
  if (!memory) return static_cast<i64>(scratch.used);
  if (pb.gather) {
    gather.run(begin * pb.gather, min_of(end * pb.gather, pb.gather_rows));
    end_stream(pb.streams);
    return 0;
  }
  // Where the plan cut gx into tiles of positions on an axis before the last: rows all the same.
  const Axis &split = pb.axes[pb.back_split], &last = pb.axes[pb.n_axes - 1];
  const i64 rows = split.in_block / max_of(last.in_block * last.size_in, 1);
  for (i64 unit = begin; unit < end; ++unit) {
    const i64 lo = unit % pb.back_tiles * pb.back_tile, hi = min_of(lo + pb.back_tile, split.size_in);
    const i64 before = unit / pb.back_tiles * split.size_in;
    gather.run((before + lo) * rows, (before + hi) * rows);
  }
  end_stream(pb.streams);
  return 0;
}

}  // namespace
}  // namespace poolwise
