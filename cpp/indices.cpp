#include "indices.hpp"

namespace poolwise {
namespace {

// What an offset adds to the index of its window's first element.
i64 shift_of(const Problem& pb, u64 offset) {
  i64 shift = 0;
  for (int a = pb.n_axes - 1; a > 0; --a) {
    const u64 radix = static_cast<u64>(pb.axes[a].radix);
    if (radix == 1) continue;
    shift += static_cast<i64>(offset % radix) * pb.axes[a].step * pb.axes[a].index_stride;
    offset /= radix;
  }
  return shift + static_cast<i64>(offset) * pb.axes[0].step * pb.axes[0].index_stride;
}

template <class Offset>
void convert(const Problem& pb, const Offset* offsets, i64* indices, i64 begin, i64 end) {
  const int depth = pb.n_axes - 1;
  const Axis& last = pb.axes[depth];
  if (pb.out_plane == 0) return;
  // Two divisions took longer than all else; offsets are the caller's data and may lie beyond the table.
  i64 table[kLongestTable];
  const i64 known = pb.offset_count <= kLongestTable ? pb.offset_count : 0;
  for (i64 offset = 0; offset < known; ++offset) table[offset] = shift_of(pb, static_cast<u64>(offset));
  for (i64 plane = begin; plane < end; ++plane) {
    i64 at = plane * pb.out_plane;
    i64 o[kMaxAxes] = {};
    for (;;) {
      i64 line = 0;
      for (int a = 0; a < depth; ++a) line += window_at(pb.axes[a], o[a]).start * pb.axes[a].index_stride;
      for (i64 i = 0; i < last.n_out; ++i) {
        const i64 first = line + window_at(last, i).start * last.index_stride;
        for (i64 c = 0; c < pb.inner; ++c, ++at) {
          const u64 offset = static_cast<u64>(offsets[at]);
          indices[at] = first + (offset < static_cast<u64>(known) ? table[offset] : shift_of(pb, offset));
        }
      }
      int a = depth - 1;
      while (a >= 0 && ++o[a] == pb.axes[a].n_out) o[a--] = 0;
      if (a < 0) break;
    }
  }
}

}  // namespace

void offsets_to_indices(const Problem& pb, const void* offsets, i64* indices, i64 begin, i64 end) {
  switch (pb.offset_bytes) {
    case 1: return convert(pb, static_cast<const std::uint8_t*>(offsets), indices, begin, end);
    case 2: return convert(pb, static_cast<const std::uint16_t*>(offsets), indices, begin, end);
    case 4: return convert(pb, static_cast<const std::int32_t*>(offsets), indices, begin, end);
    default: return convert(pb, static_cast<const i64*>(offsets), indices, begin, end);
  }
}

}  // namespace poolwise
