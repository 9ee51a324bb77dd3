// Compact offsets to public flat indices, at the speed of writing them: an index is eight times as long as its offset.
#include "kernels.hpp"
#include "stream.hpp"

namespace poolwise {
namespace {

// What each offset adds to the index of its window's first element.
struct Shifts {
  i64 of[kLongestTable];
  i64 known;  // entries; for single bytes all of them

  __attribute__((noinline)) explicit Shifts(const Problem& pb) : known(pb.offset_count <= kLongestTable ? pb.offset_count : 0) {
    i64 j[kMaxAxes] = {}, shift = 0;
    for (i64 offset = 0; offset < known; ++offset) {
      of[offset] = shift;
      for (int a = pb.n_axes - 1; a >= 0; --a) {
        const Axis& axis = pb.axes[a];
        shift += axis.step * axis.index_stride;
        if (++j[a] < axis.radix) break;
        shift -= axis.radix * axis.step * axis.index_stride;
        j[a] = 0;
      }
    }
    // Offsets are the caller's data and may lie beyond the table.
    if (pb.offset_bytes == 1)
      for (; known < 256; ++known) of[known] = 0;
  }
};

__attribute__((noinline)) i64 shift_of(const Problem& pb, u64 offset) {
  i64 shift = 0;
  for (int a = pb.n_axes - 1; a > 0; --a) {
    const u64 radix = static_cast<u64>(pb.axes[a].radix);
    shift += static_cast<i64>(offset % radix) * pb.axes[a].step * pb.axes[a].index_stride;
    offset /= radix;
  }
  return shift + static_cast<i64>(offset) * pb.axes[0].step * pb.axes[0].index_stride;
}

#if defined(__AVX512F__)
// Eight outputs at a time. kFew: at most 16 offsets, whose shifts fit two registers.
template <bool kFew>
inline __attribute__((always_inline)) void spread_bytes(const i64* shifts, const std::uint8_t* offsets, i64 n, i64 first,
                                                        i64 step, i64* indices, bool past) {
  const __m512i low = _mm512_loadu_si512(shifts), high = _mm512_loadu_si512(shifts + 8), ahead = _mm512_set1_epi64(8 * step);
  __m512i start = (__m512i)(Vector<i64, 64>{0, step, 2 * step, 3 * step, 4 * step, 5 * step, 6 * step, 7 * step} + first);
  auto index = [&](__m128i bytes) __attribute__((always_inline)) {
    const __m512i offset = _mm512_maskz_cvtepu8_epi64(0xff, bytes);
    if constexpr (kFew) return _mm512_add_epi64(start, _mm512_permutex2var_epi64(low, offset, high));
    else return _mm512_add_epi64(start, _mm512_mask_i64gather_epi64(low, 0xff, offset, shifts, 8));
  };
  i64 i = 0;
  past = whole_lines(past, indices, n);
  for (; i + 8 <= n; i += 8) {
    put(indices + i, (Vector<i64, 64>)index(_mm_loadu_si64(offsets + i)), All{}, past);
    start = _mm512_add_epi64(start, ahead);
  }
  if (i == n) return;
  const auto rest = static_cast<__mmask8>((1 << (n - i)) - 1);
  _mm512_mask_storeu_epi64(indices + i, rest, index(_mm_maskz_loadu_epi8(rest, offsets + i)));
}
#endif

// n outputs in a row; `first` is the index that the first one's window starts at, and each next one's starts `step` on.
template <class Offset>
inline __attribute__((always_inline)) void spread(const Problem& pb, const Shifts& shifts, const Offset* offsets, i64 n,
                                                  i64 first, i64 step, i64* indices) {
  if constexpr (sizeof(Offset) == 1) {
#if defined(__AVX512F__)
    if (pb.offset_count <= 16) spread_bytes<true>(shifts.of, offsets, n, first, step, indices, pb.streams);
    else spread_bytes<false>(shifts.of, offsets, n, first, step, indices, pb.streams);
#else
    for (i64 i = 0; i < n; ++i) indices[i] = first + i * step + shifts.of[offsets[i]];
#endif
  } else {
    const u64 known = static_cast<u64>(shifts.known);
    for (i64 i = 0; i < n; ++i) {
      const u64 offset = static_cast<u64>(offsets[i]);
      indices[i] = first + i * step + (offset < known ? shifts.of[offset] : shift_of(pb, offset));
    }
  }
}

template <class Offset>
void convert(const Problem& pb, const Offset* offsets, i64* indices, i64 begin, i64 end) {
  const int depth = pb.n_axes - 1;
  const Axis last = pb.axes[depth];  // a copy, which no store can alias
  const Shifts shifts(pb);
  const i64 inner = pb.inner, row = last.n_out * inner;
  i64 outputs[kMaxAxes], rest = begin;
  for (int a = depth - 1; a >= 0; --a) {
    outputs[a] = rest % pb.axes[a].n_out;
    rest /= pb.axes[a].n_out;
  }
  for (i64 r = begin; r < end; ++r) {
    i64 line = 0;
    for (int a = 0; a < depth; ++a) line += window_at(pb.axes[a], outputs[a]).start * pb.axes[a].index_stride;
    const Offset* from = offsets + r * row;
    i64* to = indices + r * row;
    for (i64 o = 0, next; o < last.n_out; o = next) {
      // Windows at even distances, where a window's elements are not those of several channels.
      next = inner == 1 && o == last.first && last.first < last.last ? last.last : o + 1;
      const i64 first = line + window_at(last, o).start * last.index_stride, step = inner == 1 ? last.stride * last.index_stride : 0;
      spread(pb, shifts, from + o * inner, (next - o) * inner, first, step, to + o * inner);
    }
    for (int a = depth - 1; a >= 0 && ++outputs[a] == pb.axes[a].n_out; --a) outputs[a] = 0;
  }
  end_stream(pb.streams);
}

}  // namespace

void PW_ISA_NAME(indices)(const Problem& pb, const void* offsets, i64* indices, i64 begin, i64 end) {
  switch (pb.offset_bytes) {
    case 1: return convert(pb, static_cast<const std::uint8_t*>(offsets), indices, begin, end);
    case 2: return convert(pb, static_cast<const std::uint16_t*>(offsets), indices, begin, end);
    case 4: return convert(pb, static_cast<const std::int32_t*>(offsets), indices, begin, end);
    default: return convert(pb, static_cast<const i64*>(offsets), indices, begin, end);
  }
}

}  // namespace poolwise
