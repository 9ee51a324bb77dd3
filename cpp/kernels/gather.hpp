// Gradients where few windows see each element: every element of gx is the sum of what those windows send, made in one
// pass in registers, and written once. Windows have no gaps; sums are added in scan order of the outputs, in double where
// there is more than one term.
//
// A row of gx is all positions of the last axis for one position on each axis before. In it, neighbours whose windows lie
// alike are done a vector at a time: channels of one position, whole stretches at stride 1, and at larger strides each
// residue of the position by itself, the residues being put between each other as they are stored.
#pragma once

#include "lanes.hpp"
#include "rows.hpp"

namespace poolwise {
namespace {

// T: the array's type. Acc: float where each element has at most one term, else double. kSelect: whether each output sends
// its gradient to one element of its window (max, min), or a share to all (avg, sum).
template <class T, class Acc, bool kSelect>
class Gather {
  using Lane = Storage<T>;

 public:
  Gather(const Problem& pb, const Call& call, Scratch& scratch)
      : pb_(pb), last_(pb.axes[pb.n_axes - 1]), g_(static_cast<const Lane*>(call.gy)),
        chosen_(static_cast<const std::uint8_t*>(call.offsets)), gx_(static_cast<Lane*>(call.gx)) {
    for (int a = 0; a < pb.n_axes; ++a) cover_[a] = scratch.take<Range>(pb.axes[a].size_in);
    if (last_.stride > 1 && pb.inner == 1) residue_ = scratch.take<Lane>(last_.n_out + 1);
    if (!scratch.base) return;
    for (int a = 0; a < pb.n_axes; ++a) cover(pb.axes[a], cover_[a]);
    if (pb.n_axes > 1) across_ = interior(pb.n_axes - 2, false);
    const Range along = interior(pb.n_axes - 1, true);
    lo_ = along.begin;
    hi_ = along.end;
  }

  // Rows begin..end-1 of gx. Rows that uniform windows see alike are done together: what a row needs besides its sums cost
  // more than these.
  void run(i64 begin, i64 end) {
    const int depth = pb_.n_axes - 1;
    const i64 length = last_.in_block * last_.size_in;
    if (depth == 0) {
      rows_ = 0;
      lines_[rows_++] = {begin * pb_.out_plane, 0, 1};
      return write(gx_ + begin * length, end - begin, pb_.out_plane, length);
    }
    const Axis& axis = pb_.axes[depth - 1];
    for (i64 row = begin, n; row < end; row += n) {
      i64 at[kMaxAxes] = {}, rest = row;
      for (int a = depth - 1; a >= 0; --a) {
        at[a] = rest % pb_.axes[a].size_in;
        rest /= pb_.axes[a].size_in;
      }
      const i64 p = at[depth - 1];
      const bool alike = p >= across_.begin && p < across_.end;
      n = alike ? min_of(end - row, across_.end - p) : 1;
      const i64 step = alike ? axis.stride : 1;
      for (i64 residue = 0; residue < min_of(step, n); ++residue) {
        rows_ = 0;
        at[depth - 1] = p + residue;
        take_rows(0, at, rest * pb_.out_plane, 0, 1);
        write(gx_ + (row + residue) * length, (n - residue + step - 1) / step, axis.out_block, step * length);
      }
    }
  }

 private:
  struct Range {
    i64 begin, end;
  };

  // A row of outputs whose windows see the row of gx.
  struct Line {
    i64 y_at, mark, divisor;
  };

  struct Source {
    const Lane* g;
    const std::uint8_t* chosen;
    i64 code;
    double share;
  };

  // The outputs whose windows hold each position: starts and ends rise with the output.
  static void cover(const Axis& axis, Range* to) {
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

  i64 share_of(const Window& w) const { return w.count + (pb_.count_padding ? w.padded : 0); }

  // Positions that uniform windows alone see, each as many as its residue allows; in whole rounds of residues, if so asked.
  Range interior(int a, bool whole) const {
    const Axis& axis = pb_.axes[a];
    auto inside = [&](i64 p) {
      const Range r = cover_[a][p];
      if (r.begin < axis.first || r.end > axis.last || p < axis.base) return false;
      const i64 residue = (p - axis.base) % axis.stride;
      return r.end - r.begin == (residue < axis.window ? (axis.window - residue - 1) / axis.stride + 1 : 0);
    };
    Range r{0, 0};
    while (r.begin < axis.size_in && (!inside(r.begin) || (whole && (r.begin - axis.base) % axis.stride != 0))) ++r.begin;
    r.end = r.begin;
    while (r.end < axis.size_in && inside(r.end)) ++r.end;
    if (whole) r.end -= (r.end - r.begin) % axis.stride;
    return r;
  }

  void take_rows(int a, const i64* at, i64 y_at, i64 mark, i64 divisor) {
    if (a == pb_.n_axes - 1) {
      lines_[rows_++] = {y_at, mark, divisor};
      return;
    }
    const Axis& axis = pb_.axes[a];
    const Range r = cover_[a][at[a]];
    for (i64 o = r.begin; o < r.end; ++o) {
      const Window w = window_at(axis, o);
      take_rows(a + 1, at, y_at + o * axis.out_block, mark + (at[a] - w.start) * axis.offset_unit, divisor * share_of(w));
    }
  }

  // What outputs r of the last axis send to position p.
  int sources(i64 p, Range r, Source* to) const {
    int k = 0;
    for (int l = 0; l < rows_; ++l)
      for (i64 o = r.begin; o < r.end; ++o, ++k) {
        const Window w = window_at(last_, o);
        const i64 y_at = lines_[l].y_at + o * pb_.inner;
        to[k].g = g_ + y_at;
        if constexpr (kSelect) {
          to[k].chosen = chosen_ + y_at;
          to[k].code = lines_[l].mark + p - w.start;
        } else {
          const double divisor = static_cast<double>(lines_[l].divisor * share_of(w));
          to[k].share = pb_.op == Op::sum ? 1 : 1 / (pb_.divisor != 0 ? pb_.divisor : divisor);
        }
      }
    return k;
  }

  // `count` rows; y_step and to_step are how far apart they are in y and in gx.
  void write(Lane* to, i64 count, i64 y_step, i64 to_step) {
    const i64 inner = pb_.inner, s = last_.stride;
    const Range* columns = cover_[pb_.n_axes - 1];
    auto one_by_one = [&](i64 begin, i64 end) {
      for (i64 p = begin; p < end; ++p) {
        sum(0, sources(p, columns[p], sources_), inner, to + p * inner, Lines{count, y_step, to_step});
      }
    };
    // Rows that are asked for in advance: what the processor looks ahead on its own ends with the row.
    const i64 bytes = last_.size_in * inner * static_cast<i64>(sizeof(Lane)), far = (kAhead + bytes - 1) / max_of(bytes, 1);
    far_y_ = far * y_step;
    far_to_ = far * to_step;
    one_by_one(0, lo_);
    if (s == 1) {
      if (lo_ < hi_) {
        sum(0, sources(lo_, columns[lo_], sources_), (hi_ - lo_) * inner, to + lo_ * inner, Lines{count, y_step, to_step});
      }
    } else if (inner > 1) {
      by_residue(to, count, y_step, to_step);
    } else if (s == 2) {
      if (lo_ < hi_) {
        const int first = sources(lo_, columns[lo_], sources_);
        const int k = first + sources(lo_ + 1, columns[lo_ + 1], sources_ + first);
        for (i64 l = 0; l < count; ++l) sum_two(first, k, l * y_step, (hi_ - lo_) / 2, to + l * to_step + lo_);
      }
    } else {
      const i64 n = (hi_ - lo_) / s;
      for (i64 residue = 0; n > 0 && residue < s; ++residue) {
        const int k = sources(lo_ + residue, columns[lo_ + residue], sources_);
        for (i64 l = 0; l < count; ++l) {
          sum(0, k, n, residue_, Lines{1, 0, 0}, l * y_step);
          for (i64 i = 0; i < n; ++i) to[l * to_step + lo_ + i * s + residue] = residue_[i];
        }
      }
    }
    one_by_one(hi_, last_.size_in);
  }

  // The interior at larger strides, channels side by side.
  void by_residue(Lane* to, i64 count, i64 y_step, i64 to_step) {
    const i64 inner = pb_.inner, s = last_.stride;
    if (lo_ >= hi_) return;
    // As many residues at once as there is room for: all, but for strides beyond a window.
    for (i64 residue = 0, next; residue < s; residue = next) {
      int ends[kMostTerms], k = 0;
      for (next = residue; next < s && next - residue < kMostTerms && k <= kMostTerms; ++next)
        ends[next - residue] = k += sources(lo_ + next, cover_[pb_.n_axes - 1][lo_ + next], sources_ + k);
      for (i64 l = 0; l < count; ++l)
        for (i64 p = lo_, from = l * y_step; p < hi_; p += s, from += inner)
          for (i64 r = residue; r < next; ++r)
            sum(r > residue ? ends[r - residue - 1] : 0, ends[r - residue], inner, to + l * to_step + (p + r) * inner,
                Lines{1, 0, 0}, from);
    }
  }

  // U vectors of sums of sources begin..end-1, from element i of each.
  template <class V, int U>
  inline __attribute__((always_inline)) void add_up(int begin, int end, i64 i, V* total) const {
    constexpr i64 lanes = sizeof(V) / sizeof(Acc);
    for (int u = 0; u < U; ++u) total[u] = V{};
    for (int k = begin; k < end; ++k) {
      const Source& s = sources_[k];
#pragma GCC unroll 4
      for (int u = 0; u < U; ++u) {
        const i64 at = i + u * lanes;
#if defined(__AVX512F__)
        // What was not chosen becomes zero as it is converted, which saves an instruction of the busiest port.
        if constexpr (kSelect && sizeof(V) == 64 && same<T, float> && same<Acc, double>) {
          const __mmask8 mask = static_cast<__mmask8>(chosen_mask<8>(s.chosen + at, s.code));
          total[u] += (V)_mm512_maskz_cvtps_pd(mask, _mm256_loadu_ps(s.g + at));
          continue;
        }
#endif
        V g;
        if constexpr (same<T, Acc>) g = load<V>(s.g + at);
        else g = widen_lanes<T, V, Acc>(load<Like<Lane, V, Acc>>(s.g + at));
        if constexpr (kSelect) total[u] = add_where(total[u], g, s.chosen + at, s.code);
        else total[u] += g * s.share;
      }
    }
  }

#if defined(__AVX512F__)
  template <int lanes>
  static inline __attribute__((always_inline)) __mmask16 chosen_mask(const std::uint8_t* chosen, i64 code) {
    __m128i bytes{};
    __builtin_memcpy(&bytes, chosen, lanes);
    return _mm_cmpeq_epi8_mask(bytes, _mm_set1_epi8(static_cast<char>(code)));
  }
#endif

  template <class V>
  static inline __attribute__((always_inline)) V add_where(V total, V g, const std::uint8_t* chosen, i64 code) {
    if constexpr (same<V, Acc>) {
      // Without a branch, which nobody can predict. (A sum that starts from +0 is never -0: adding zero changes nothing.)
      using Bits = typename Choose<sizeof(Acc) == 8, i64, std::int32_t>::type;
      const Bits mask = -static_cast<Bits>(*chosen == code);
      return total + __builtin_bit_cast(Acc, static_cast<Bits>(__builtin_bit_cast(Bits, g) & mask));
    } else {
      constexpr int lanes = sizeof(V) / sizeof(Acc);
#if defined(__AVX512F__)
      if constexpr (sizeof(V) == 64) {
        const __mmask16 mask = chosen_mask<lanes>(chosen, code);
        if constexpr (lanes == 16) return (V)_mm512_mask_add_ps((__m512)total, mask, (__m512)total, (__m512)g);
        else return (V)_mm512_mask_add_pd((__m512d)total, static_cast<__mmask8>(mask), (__m512d)total, (__m512d)g);
      }
#endif
#if defined(__AVX2__)
      if constexpr (sizeof(V) == 32) {
        __m128i bytes{};
        __builtin_memcpy(&bytes, chosen, lanes);
        if constexpr (lanes == 8) {
          const auto there = (Vector<std::int32_t, 32>)_mm256_cvtepu8_epi32(bytes) == static_cast<std::int32_t>(code);
          return there ? total + g : total;
        } else {
          const auto there = (Vector<i64, 32>)_mm256_cvtepu8_epi64(bytes) == code;
          return there ? total + g : total;
        }
      }
#endif
      V sum = total;
      for (int l = 0; l < lanes; ++l) sum[l] = chosen[l] == code ? total[l] + g[l] : total[l];
      return sum;
    }
  }

  template <class V>
  static inline __attribute__((always_inline)) Like<Lane, V, Acc> narrowed(V v) {
    if constexpr (same<T, Acc>) return v; else return narrow_lanes<T, V, Acc>(v);
  }

  void fetch_ahead(int k, i64 from, i64 at, const Lane* to, i64 bytes) const {
    for (i64 b = 0; b < bytes; b += 64) {
      __builtin_prefetch(to + at + far_to_ + b / static_cast<i64>(sizeof(Lane)), 1);
      if (k > 0) __builtin_prefetch(sources_[k - 1].g + from + at + far_y_ + b / static_cast<i64>(sizeof(Lane)));
    }
    if constexpr (kSelect)
      if (k > 0) __builtin_prefetch(sources_[k - 1].chosen + from + at + far_y_);
  }

  // Sources begin..k-1, from element `from` on, into n elements of each line.
  __attribute__((noinline)) void sum(int begin, int k, i64 n, Lane* to, Lines lines, i64 from = 0) const {
    using V = Vector<Acc, kVectorBytes>;
    constexpr i64 lanes = kVectorBytes / sizeof(Acc);
    for (i64 l = 0; l < lines.count; ++l, from += lines.from, to += lines.to) {
      i64 i = 0;
      for (V total[4]; i + 4 * lanes <= n; i += 4 * lanes) {
        fetch_ahead(k, from, i, to, 4 * lanes * static_cast<i64>(sizeof(Lane)));
        add_up<V, 4>(begin, k, from + i, total);
        for (int u = 0; u < 4; ++u) store(to + i + u * lanes, narrowed(total[u]));
      }
      if (n >= lanes) {
        // The last vector is moved back to end with the row.
        for (V total[1]; i < n; i += lanes) {
          const i64 at = min_of(i, n - lanes);
          add_up<V, 1>(begin, k, from + at, total);
          store(to + at, narrowed(total[0]));
        }
        continue;
      }
      for (Acc total[1]; i < n; ++i) {
        add_up<Acc, 1>(begin, k, from + i, total);
        to[i] = narrowed(total[0]);
      }
    }
  }

  // n pairs of elements: the first of each from the first `half` sources, the second from the rest up to k.
  __attribute__((noinline)) void sum_two(int half, int k, i64 from, i64 n, Lane* to) const {
    using V = Vector<Acc, kVectorBytes>;
    constexpr i64 lanes = kVectorBytes / sizeof(Acc);
    i64 i = 0;
    auto pairs = [&]<int U>(i64 at) __attribute__((always_inline)) {
      V even[U], odd[U];
      add_up<V, U>(0, half, from + at, even);
      add_up<V, U>(half, k, from + at, odd);
      for (int u = 0; u < U; ++u) interleave(narrowed(even[u]), narrowed(odd[u]), to + 2 * (at + u * lanes), typename CountTo<lanes>::type{});
    };
    for (; i + 2 * lanes <= n; i += 2 * lanes) {
      fetch_ahead(k, from, i, to + i, 4 * lanes * static_cast<i64>(sizeof(Lane)));
      pairs.template operator()<2>(i);
    }
    if (n >= lanes) {
      for (; i < n; i += lanes) pairs.template operator()<1>(min_of(i, n - lanes));
      return;
    }
    for (; i < n; ++i) {
      Acc even[1], odd[1];
      add_up<Acc, 1>(0, half, from + i, even);
      add_up<Acc, 1>(half, k, from + i, odd);
      to[2 * i] = narrowed(even[0]);
      to[2 * i + 1] = narrowed(odd[0]);
    }
  }

  template <class N, int... I>
  static inline __attribute__((always_inline)) void interleave(N a, N b, Lane* to, Indices<I...>) {
    constexpr int n = sizeof...(I);
    store(to, __builtin_shufflevector(a, b, (I / 2 + I % 2 * n)...));
    store(to + n, __builtin_shufflevector(a, b, (n / 2 + I / 2 + I % 2 * n)...));
  }

  const Problem& pb_;
  const Axis& last_;
  const Lane* g_;
  const std::uint8_t* chosen_;
  Lane* gx_;
  Range* cover_[kMaxAxes] = {};
  Lane* residue_ = nullptr;
  i64 far_y_ = 0, far_to_ = 0;
  Range across_ = {0, 0};  // rows that are seen alike, on the axis before the last
  i64 lo_ = 0, hi_ = 0;    // positions of the last axis that are
  int rows_ = 0;
  Line lines_[kMostTerms];
  mutable Source sources_[2 * kMostTerms];
};

template <class T, class Acc, bool kSelect>
i64 gather_backward(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  Scratch scratch{memory};
  Gather<T, Acc, kSelect> gather(pb, call, scratch);
  if (!memory) return static_cast<i64>(scratch.used);
  gather.run(begin * pb.gather, min_of(end * pb.gather, pb.gather_rows));
  return 0;
}

}  // namespace
}  // namespace poolwise
