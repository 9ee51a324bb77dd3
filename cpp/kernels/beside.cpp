// Small planes side by side: elements that have one place in so many planes are copied to lie together, and the planes pooled as
// channels of one. A row of 7 is half a vector, and what there is to do for each row is done for every one of a plane; of
// channels a vector is always full. To move planes there, or results back, takes as long as to copy them.
#include "kernels.hpp"
#include "simd.hpp"

namespace poolwise {
namespace {

// Vectors are put together of pieces of 16 bytes, each of one plane, and turned within those. Pieces that follow each other in a
// vector are of planes `part` apart, as many as a piece has elements.
constexpr int kPiece = 16;
template <class L>
constexpr int part_of_piece = kPiece / sizeof(L);

// Lanes of a and b by turns, of the lower (0) or upper (1) half of each piece.
template <int Upper, class L, class V, int... I>
inline __attribute__((always_inline)) V zipped(V a, V b, Indices<I...>) {
  constexpr int n = sizeof...(I), part = part_of_piece<L>;
  return __builtin_shufflevector(a, b, (I / part * part + Upper * part / 2 + I % part / 2 + I % 2 * n)...);
}

// Rows of as many vectors as a piece has lanes become columns, within pieces.
template <class L, int W>
inline __attribute__((always_inline)) void turn(Vector<L, W>* v) {
  constexpr int part = part_of_piece<L>;
  using Lanes = typename CountTo<W / sizeof(L)>::type;
#pragma GCC unroll 4
  for (int done = 1; done < part; done *= 2) {
    Vector<L, W> next[part];
#pragma GCC unroll 16
    for (int i = 0; i < part / 2; ++i) {
      next[2 * i] = zipped<0, L>(v[i], v[i + part / 2], Lanes{});
      next[2 * i + 1] = zipped<1, L>(v[i], v[i + part / 2], Lanes{});
    }
#pragma GCC unroll 16
    for (int i = 0; i < part; ++i) v[i] = next[i];
  }
}

// Where planes of n elements lie, one behind the other, from the first on.
template <class L>
struct Planes {
  L* p;
  i64 n;
  inline __attribute__((always_inline)) Planes at(i64 e) const { return {p + e, n}; }
  inline __attribute__((always_inline)) L* next() {
    L* here = p;
    p += n;
    return here;
  }
};

// The first `left` of them: to be read, the last again and again; or to be written, then what is lost.
template <class L>
struct FewPlanes {
  L* p;
  i64 n, left;
  L* lost;
  inline __attribute__((always_inline)) FewPlanes at(i64 e) const { return {p + e, n, left, lost}; }
  inline __attribute__((always_inline)) L* next() {
    if (left == 0) return lost;
    L* here = p;
    if (left > 1 || lost) {
      p += n;
      --left;
    }
    return here;
  }
};

// Pieces of consecutive vectors of planes are read into v, or written from there. Of the widest vectors two pieces of a plane at
// once, for as many vectors more: fewer, longer reads and writes.
template <class L, int W>
struct Pieces;

template <class L>
struct Pieces<L, 16> {
  using V = Vector<L, 16>;
  static constexpr int kVectors = part_of_piece<L>;
  static inline __attribute__((always_inline)) void read(auto planes, V* v) {
#pragma GCC unroll 16
    for (int i = 0; i < kVectors; ++i) v[i] = load<V>(planes.next());
  }
  static inline __attribute__((always_inline)) void write(const V* v, auto planes) {
#pragma GCC unroll 16
    for (int i = 0; i < kVectors; ++i) store(planes.next(), v[i]);
  }
};

#if defined(__AVX2__)
template <class L>
struct Pieces<L, 32> {
  using V = Vector<L, 32>;
  static constexpr int kVectors = part_of_piece<L>;
  static inline __attribute__((always_inline)) void read(auto planes, V* v) {
#pragma GCC unroll 16
    for (int i = 0; i < kVectors; ++i) v[i] = (V)_mm256_castsi128_si256(load<__m128i>(planes.next()));
#pragma GCC unroll 16
    for (int i = 0; i < kVectors; ++i) v[i] = (V)_mm256_inserti128_si256((__m256i)v[i], load<__m128i>(planes.next()), 1);
  }
  static inline __attribute__((always_inline)) void write(const V* v, auto planes) {
#pragma GCC unroll 16
    for (int i = 0; i < kVectors; ++i) store(planes.next(), half_of<0, L>(v[i]));
#pragma GCC unroll 16
    for (int i = 0; i < kVectors; ++i) store(planes.next(), half_of<1, L>(v[i]));
  }
};
#endif

#if defined(__AVX512F__)
template <class L>
struct Pieces<L, 64> {
  using V = Vector<L, 64>;
  static constexpr int part = part_of_piece<L>, kVectors = 2 * part;
  // Four pieces of two vectors, the first two of each, or the last; the first and third, or the second and fourth.
  template <int A, int B, int C, int D>
  static inline __attribute__((always_inline)) V taken(V x, V y) {
    const __m512i halves = _mm512_setr_epi64(2 * A, 2 * A + 1, 2 * B, 2 * B + 1, 2 * C, 2 * C + 1, 2 * D, 2 * D + 1);
    return (V)_mm512_maskz_permutex2var_epi64(0xff, (__m512i)x, halves, (__m512i)y);
  }
  static inline __attribute__((always_inline)) void read(auto planes, V* v) {
    V both[kVectors];
#pragma GCC unroll 16
    for (int i = 0; i < kVectors; ++i) both[i] = (V)_mm512_castsi256_si512(load<__m256i>(planes.next()));
#pragma GCC unroll 16
    for (int i = 0; i < kVectors; ++i) both[i] = (V)_mm512_maskz_inserti64x4(0xff, (__m512i)both[i], load<__m256i>(planes.next()), 1);
#pragma GCC unroll 16
    for (int i = 0; i < part; ++i) {
      v[i] = taken<0, 4, 2, 6>(both[i], both[i + part]);
      v[i + part] = taken<1, 5, 3, 7>(both[i], both[i + part]);
    }
  }
  static inline __attribute__((always_inline)) void write(const V* v, auto planes) {
    V both[kVectors];
#pragma GCC unroll 16
    for (int i = 0; i < part; ++i) {
      both[i] = taken<0, 4, 2, 6>(v[i], v[i + part]);
      both[i + part] = taken<1, 5, 3, 7>(v[i], v[i + part]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kVectors; ++i) store(planes.next(), half_of<0, L>(both[i]));
#pragma GCC unroll 16
    for (int i = 0; i < kVectors; ++i) store(planes.next(), half_of<1, L>(both[i]));
  }
};
#endif

// Calls f(first element) for as many at a time as a block of vectors has; the last moved back to end at n. Asks for the planes
// behind those at p: to write where nothing is at hand, one line in each of so many planes, waits for each.
template <class L, int W, class F>
inline __attribute__((always_inline)) void in_blocks(const L* p, i64 n, F&& f) {
  constexpr i64 rows = Pieces<L, W>::kVectors, bytes = rows * W;
  const char* ahead = reinterpret_cast<const char*>(p + n * static_cast<i64>(W / sizeof(L)));
  for (i64 e = 0; e < n; e += rows, ahead += bytes) {
#pragma GCC unroll 16
    for (i64 b = 0; b < bytes; b += kLine) __builtin_prefetch(ahead + b, 1);
    f(min_of(e, n - rows));
  }
}

template <class L, int W, class From>
__attribute__((noinline)) void beside_by_vectors(From from, i64 n, L* to, i64 lanes) {
  using P = Pieces<L, W>;
  in_blocks<L, W>(from.p, n, [&](i64 at) __attribute__((always_inline)) {
    Vector<L, W> v[P::kVectors];
    P::read(from.at(at), v);
#pragma GCC unroll 2
    for (int i = 0; i < P::kVectors; i += part_of_piece<L>) turn<L, W>(v + i);
#pragma GCC unroll 16
    for (int i = 0; i < P::kVectors; ++i) store(to + (at + i) * lanes, v[i]);
  });
}

template <class L, int W, class To>
__attribute__((noinline)) void apart_by_vectors(const L* from, i64 lanes, i64 n, To to) {
  using P = Pieces<L, W>;
  in_blocks<L, W>(to.p, n, [&](i64 at) __attribute__((always_inline)) {
    Vector<L, W> v[P::kVectors];
#pragma GCC unroll 16
    for (int i = 0; i < P::kVectors; ++i) v[i] = load<Vector<L, W>>(from + (at + i) * lanes);
#pragma GCC unroll 2
    for (int i = 0; i < P::kVectors; i += part_of_piece<L>) turn<L, W>(v + i);
    P::write(v, to.at(at));
  });
}

// Calls vectors.operator()<W>(first column) for groups of columns that fill vectors of W bytes, or one(column) where planes are
// too small for vectors, until the first `count` of `lanes` columns are done.
template <class L, class Vectors, class One>
inline __attribute__((always_inline)) void in_columns(i64 count, i64 lanes, i64 n, Vectors&& vectors, One&& one) {
  i64 c = 0;
  [[maybe_unused]] auto wide = [&]<int W>() __attribute__((always_inline)) {
    for (constexpr i64 many = W / sizeof(L); n >= Pieces<L, W>::kVectors && c < count && c + many <= lanes; c += many)
      vectors.template operator()<W>(c);
  };
#if defined(__AVX512F__)
  if constexpr (sizeof(L) > 1) wide.template operator()<64>();  // of bytes it would be more vectors than there are
#endif
#if defined(__AVX2__)
  wide.template operator()<32>();
#endif
  wide.template operator()<16>();
  for (; c < count; ++c) one(c);
}

// `count` planes of n elements, one behind the other, to rows of `lanes`, the last plane as often as there is room: what is
// pooled there must not fail.
template <class L>
void put_beside(const L* from, i64 count, i64 n, L* to, i64 lanes) {
  in_columns<L>(lanes, lanes, n, [&]<int W>(i64 c) {
    if (c + static_cast<i64>(W / sizeof(L)) <= count) return beside_by_vectors<L, W>(Planes<const L>{from + c * n, n}, n, to + c, lanes);
    const i64 first = min_of(c, count - 1);
    beside_by_vectors<L, W>(FewPlanes<const L>{from + first * n, n, count - first, nullptr}, n, to + c, lanes);
  }, [&](i64 c) {
    for (i64 e = 0; e < n; ++e) to[e * lanes + c] = from[min_of(c, count - 1) * n + e];
  });
}

template <class L>
void put_apart(const L* from, i64 lanes, i64 count, i64 n, L* to) {
  in_columns<L>(count, lanes, n, [&]<int W>(i64 c) {
    if (c + static_cast<i64>(W / sizeof(L)) <= count) return apart_by_vectors<L, W>(from + c, lanes, n, Planes<L>{to + c * n, n});
    L lost[W / sizeof(L)];
    apart_by_vectors<L, W>(from + c, lanes, n, FewPlanes<L>{to + c * n, n, count - c, lost});
  }, [&](i64 c) {
    for (i64 e = 0; e < n; ++e) to[c * n + e] = from[e * lanes + c];
  });
}

// An array of the call, of which `n` elements of `item` bytes belong to each plane, and where it lies side by side.
struct Copied {
  char* whole;
  i64 n;
  int item;
  char* beside;

  template <class Move>
  void as_lanes(Move&& move) const {
    switch (item) {
      case 1: return move(std::uint8_t{});
      case 2: return move(std::uint16_t{});
      case 4: return move(std::uint32_t{});
      default: return move(u64{});
    }
  }
};

}  // namespace

// Units are groups of planes, as many as `beside->together` pools at once.
i64 PW_ISA_NAME(beside)(const Problem& pb, const Call& call, i64 begin, i64 end, char* memory) {
  const Beside& beside = *pb.beside;
  const Problem& together = *beside.together;
  const i64 lanes = beside.lanes, at_once = lanes * together.planes;
  const bool backward = call.gx != nullptr;
  const UnitFn fn = backward ? beside.gradients : call.offsets ? beside.offsets : beside.values;
  Scratch scratch{memory};
  Copied given[4], made[2];
  int n_given = 0, n_made = 0;
  Call pooled = call;
  auto copied = [&](Copied* list, int& count, const void* whole, i64 n, int item, auto& beside_at) {
    if (!whole) return;
    Copied& array = list[count++] = {static_cast<char*>(const_cast<void*>(whole)), n, item, scratch.take<char>(at_once * n * item)};
    beside_at = array.beside;
  };
  const int in = dtype_bytes(pb.in), out = dtype_bytes(pb.out);
  copied(given, n_given, call.x, pb.in_plane, in, pooled.x);
  copied(given, n_given, call.gy, pb.out_plane, out, pooled.gy);
  copied(backward ? given : made, backward ? n_given : n_made, call.y, pb.out_plane, out, pooled.y);
  copied(backward ? given : made, backward ? n_given : n_made, call.offsets, pb.out_plane, pb.offset_bytes, pooled.offsets);
  copied(made, n_made, call.gx, pb.in_plane, in, pooled.gx);
  if (!memory) return static_cast<i64>(scratch.used) + fn(together, call, 0, 0, nullptr);
  char* more = memory + scratch.used;
  for (i64 first = begin * at_once; first < min_of(end * at_once, pb.planes); first += at_once) {
    auto each = [&](const Copied& array, auto&& move) {
      array.as_lanes([&]<class L>(L) {
        for (i64 t = 0; t < together.planes; ++t) {
          const i64 plane = first + t * lanes, there = min_of(plane, pb.planes - 1);
          move(reinterpret_cast<L*>(array.whole) + there * array.n, pb.planes - plane, reinterpret_cast<L*>(array.beside) + t * lanes * array.n);
        }
      });
    };
    for (int a = 0; a < n_given; ++a)
      each(given[a], [&](auto* whole, i64 left, auto* at) { put_beside(whole, max_of(1, min_of(left, lanes)), given[a].n, at, lanes); });
    fn(together, pooled, 0, backward ? together.back_units : together.units, more);
    for (int a = 0; a < n_made; ++a)
      each(made[a], [&](auto* whole, i64 left, auto* at) { put_apart(at, lanes, min_of(left, lanes), made[a].n, whole); });
  }
  return 0;
}

}  // namespace poolwise
