// Gradients of max, min and lp with p = inf: each output sends its gradient to one element.
#include "back.hpp"
#include "gather.hpp"
#include "kernels.hpp"

namespace poolwise {
namespace {

inline Target target_of(const Problem& pb, i64 offset) { return pb.targets ? pb.targets[offset] : decoded(pb, offset); }

#if defined(__AVX2__)
// GCC 12 converts vectors of bytes one element at a time.
template <class Wide, int lanes>
inline __attribute__((always_inline)) Wide widen_bytes(const void* p) {
  __m128i bytes{};
  __builtin_memcpy(&bytes, p, lanes);
#if defined(__AVX512F__)
  if constexpr (lanes == 8) return (Wide)_mm512_maskz_cvtepu8_epi64(0xff, bytes);
  else return (Wide)_mm512_maskz_cvtepu8_epi32(0xffff, bytes);
#else
  if constexpr (lanes == 4) return (Wide)_mm256_cvtepu8_epi64(bytes);
  else return (Wide)_mm256_cvtepu8_epi32(bytes);
#endif
}
#endif

// A: the type in which gradients are added: float32's and float64's own, in place; of half types, and where norms are shared,
// double in a buffer.
template <class A, class Offset, bool kSigned>
struct Selection {
  const Problem& pb;
  const Offset* offsets;
  const double* signs;  // x of the tile, for its sign
  A* sums;
  i64 n;

  // Adds to a run of inputs what the outputs over them that chose `offset` have.
  static __attribute__((noinline)) void add_chosen(A* __restrict to, const A* __restrict g, const Offset* __restrict chosen, Offset offset, i64 count) {
    i64 i = 0;
    // Left to itself the compiler takes a vector of offsets at a time, and the rest of a row one by one.
#if defined(__AVX2__)
    if constexpr (sizeof(Offset) == 1) {
      constexpr int lanes = kVectorBytes / sizeof(A);
      using V = Vector<A, kVectorBytes>;
      using Wide = Vector<typename Choose<sizeof(A) == 8, i64, std::int32_t>::type, kVectorBytes>;
      for (; i + lanes <= count; i += lanes) {
        const Wide same_offset = widen_bytes<Wide, lanes>(chosen + i) == offset;
        store(to + i, load<V>(to + i) + (same_offset ? load<V>(g + i) : V{}));
      }
    }
#endif
    for (; i < count; ++i) to[i] += chosen[i] == offset ? g[i] : A(0);
  }

  // Outputs o_begin..o_end-1 of one row. Small windows compare each offset with every position of the window, a vector of
  // outputs at a time: 9 such passes for 3x3 cost a tenth of looking up where each output goes.
  void row(const BackUnit& unit, i64 mark, const A* g, i64 at, i64 o_begin, i64 o_end, i64 row0, i64 base) const {
    const Axis& last = pb.axes[pb.n_axes - 1];
    const i64 inner = pb.inner;
    if constexpr (!kSigned && sizeof(Offset) == 1) {
      const bool flat = last.stride == 1;
      if (pb.back_split < pb.n_axes - 1 && pb.targets && pb.offset_count <= 32 && (flat || inner >= 8)) {
        const i64 a = max_of(o_begin, min_of(last.first, o_end)), b = max_of(a, min_of(o_end, last.last));
        const i64 length = flat ? (b - a) * inner : inner;
        one_by_one(unit, mark, g, at, o_begin, a, row0, base);
        for (i64 o = a; o < b; o += flat ? b - a : 1) {
          const i64 from = (o - o_begin) * inner, start = base + (last.base + last.stride * (o - last.first)) * inner;
          // For a given input a falling j is a rising output: scan order.
          for (i64 j = last.window - 1; j >= 0; --j)
            for (i64 offset = j; offset < pb.offset_count; offset += last.radix) {
              const Target t = pb.targets[offset];
              const i64 to = start + t.shift;
              if (t.prefix != mark || static_cast<u64>(row0 + t.row) >= static_cast<u64>(unit.hi - unit.lo) || to < 0 || to + length > n) continue;
              add_chosen(sums + to, g + from, offsets + at + from, static_cast<Offset>(offset), length);
            }
        }
        return one_by_one(unit, mark, g + (b - o_begin) * inner, at + (b - o_begin) * inner, b, o_end, row0, base);
      }
    }
    one_by_one(unit, mark, g, at, o_begin, o_end, row0, base);
  }

  // The same where no axis lies before the split: an element that is in the tile is in the right row of it.
  void one_by_one(const A* g, i64 at, i64 o_begin, i64 o_end, i64 base) const {
    const Axis& last = pb.axes[pb.n_axes - 1];
    const u64 count = static_cast<u64>(pb.offset_count), size = static_cast<u64>(n);
    const Target* targets = pb.targets;
    A* const to = sums;
    for (i64 o = o_begin; o < o_end; ++o) {
      const i64 first = base + window_at(last, o).start * pb.inner;
      for (i64 c = first; c < first + pb.inner; ++c, ++at, ++g) {
        const u64 offset = static_cast<u64>(offsets[at]);
        if (offset >= count) continue;
        const u64 place = static_cast<u64>(c + targets[offset].shift);
        if (place < size) to[place] += *g;
      }
    }
  }

  void one_by_one(const BackUnit& unit, i64 mark, const A* g, i64 at, i64 o_begin, i64 o_end, i64 row0, i64 base) const {
    if constexpr (!kSigned) {
      if (pb.back_split == 0 && pb.n_axes > 1 && pb.targets) return one_by_one(g, at, o_begin, o_end, base);
    }
    const Axis& last = pb.axes[pb.n_axes - 1];
    const bool last_is_split = pb.back_split == pb.n_axes - 1;
    const u64 rows = static_cast<u64>(unit.hi - unit.lo);
    for (i64 o = o_begin; o < o_end; ++o) {
      const i64 start = window_at(last, o).start;
      const i64 first_row = last_is_split ? start - unit.lo : row0;
      const i64 first = last_is_split ? (start - unit.lo) * pb.inner : base + start * pb.inner;
      for (i64 c = 0; c < pb.inner; ++c, ++at, ++g) {
        const u64 offset = static_cast<u64>(offsets[at]);
        if (offset >= static_cast<u64>(pb.offset_count)) continue;
        const Target t = target_of(pb, static_cast<i64>(offset));
        if (t.prefix != mark || static_cast<u64>(first_row + t.row) >= rows) continue;
        const i64 to = first + c + t.shift;
        // Offsets are the caller's data: one that points outside the tile must not write there.
        if (static_cast<u64>(to) >= static_cast<u64>(n)) continue;
        if constexpr (kSigned) {
          const double x = signs[to];
          sums[to] += x == 0 ? *g * A(0) : x < 0 ? -*g : *g;
        } else {
          sums[to] += *g;
        }
      }
    }
  }
};

template <class A, class Offset, bool kSigned>
i64 select_backward(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  const WidenFn widen = widen_for(pb.in);
  const bool in_place = sizeof(A) == 4 || pb.in == Dtype::f64;
  const int depth = pb.n_axes - 1;
  const i64 tile = pb.back_tile * pb.axes[pb.back_split].in_block;
  Scratch scratch{memory};
  A* buffer = in_place ? nullptr : scratch.take<A>(tile);
  double* wide_row = in_place ? nullptr : scratch.take<double>(longest_row(pb) * pb.inner);
  double* signs = kSigned ? scratch.take<double>(tile) : nullptr;
  if (!memory) return static_cast<i64>(scratch.used);
  const i64 item = dtype_bytes(pb.in);
  const char *gy = static_cast<const char*>(call.gy), *x = static_cast<const char*>(call.x);
  char* gx = static_cast<char*>(call.gx);
  for_each_back_unit(pb, begin, end, [&](const BackUnit& unit) {
    A* sums = in_place ? reinterpret_cast<A*>(gx + unit.at * item) : buffer;
    for (i64 i = 0; i < unit.n; ++i) sums[i] = 0;
    if constexpr (kSigned) widen(x + unit.at * item, unit.n, signs);
    const Selection<A, Offset, kSigned> selection{pb, static_cast<const Offset*>(call.offsets), signs, sums, unit.n};
    auto row = [&](i64 mark, i64 at, i64 o_begin, i64 o_end, i64 row0, i64 base) {
      const A* g;
      if (in_place) {
        g = reinterpret_cast<const A*>(gy + at * item);
      } else {
        widen(gy + at * item, (o_end - o_begin) * pb.inner, wide_row);
        g = reinterpret_cast<const A*>(wide_row);
      }
      selection.row(unit, mark, g, at, o_begin, o_end, row0, base);
    };
    const Range range = touching(pb, unit);
    for_each_covering(pb, unit, 0, Covering{unit.plane * pb.out_plane, 0, 1, 1}, [&](const Covering& cover) {
      const Axis& split = pb.axes[pb.back_split];
      if (pb.back_split == depth)
        return row(cover.mark, cover.y_at + range.begin * pb.inner, range.begin, range.end, 0, 0);
      i64 o[kMaxAxes] = {};
      o[pb.back_split] = range.begin;
      i64 at = cover.y_at + range.begin * split.out_block;
      const i64 row_elements = pb.axes[depth].n_out * pb.inner;
      if (range.begin >= range.end || row_elements == 0) return;
      for (;; at += row_elements) {
        const i64 row0 = window_at(split, o[pb.back_split]).start - unit.lo;
        i64 base = row0 * split.in_block;
        for (int a = pb.back_split + 1; a < depth; ++a) base += window_at(pb.axes[a], o[a]).start * pb.axes[a].in_block;
        row(cover.mark, at, 0, pb.axes[depth].n_out, row0, base);
        int a = depth - 1;
        for (; a >= pb.back_split; --a) {
          if (++o[a] < (a == pb.back_split ? range.end : pb.axes[a].n_out)) break;
          o[a] = 0;
        }
        if (a < pb.back_split) return;
      }
    });
    if (!in_place) narrow_for(pb.in)(reinterpret_cast<const double*>(sums), unit.n, gx + unit.at * item);
  });
  return 0;
}

template <class A, bool kSigned>
UnitFn select_for_offsets(const Problem& pb) {
  switch (pb.offset_bytes) {
    case 1: return select_backward<A, std::uint8_t, kSigned>;
    case 2: return select_backward<A, std::uint16_t, kSigned>;
    case 4: return select_backward<A, std::int32_t, kSigned>;
    default: return select_backward<A, i64, kSigned>;
  }
}

template <bool kSigned>
UnitFn select_fn(const Problem& pb) {
  if (!is_float(pb.in) || pb.in != pb.out) return nullptr;
  bool shared = false;
  for (int a = 0; a < pb.n_axes; ++a) shared |= pb.axes[a].ring > 0;
  if (pb.in == Dtype::f32 && !(kSigned && shared)) return select_for_offsets<float, kSigned>(pb);
  return select_for_offsets<double, kSigned>(pb);
}

UnitFn gather_fn(const Problem& pb) {
  if (pb.in == Dtype::f64) return gather_backward<GatherChosen, double>;
  return pb.in == Dtype::f32 ? gather_backward<GatherChosen, float> : PW_ISA_NAME(gather_narrow)(pb, true);
}

}  // namespace

UnitFn PW_ISA_NAME(back_select)(const Problem& pb, bool with_sign) {
  if (with_sign) return select_fn<true>(pb);
  return pb.gather ? gather_fn(pb) : select_fn<false>(pb);
}

}  // namespace poolwise
