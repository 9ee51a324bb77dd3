// What a blur and its gradient share: weighted sums of rows in double.
#pragma once

#include "half.hpp"
#include "kernels.hpp"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace poolwise {
namespace {

// A row that is summed: where it starts, in elements from the plane's start, and its weight.
struct WeightedRow {
  i64 at;
  double weight;
};

// GCC 12 splits a conversion of floats into halves.
template <class V, class N>
inline __attribute__((always_inline)) V to_double(N v) {
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64 && sizeof(N) == 32) return (V)_mm512_maskz_cvtps_pd(0xff, (__m256)v);
#endif
#if defined(__AVX2__)
  if constexpr (sizeof(V) == 32 && sizeof(N) == 16) return (V)_mm256_cvtps_pd((__m128)v);
#endif
  return __builtin_convertvector(v, V);
}

template <class V, class E, class Lanes>
inline __attribute__((always_inline)) V read(const E* p, Lanes lanes) {
  if constexpr (same<V, double>) return static_cast<double>(*p);
  else if constexpr (same<E, double>) return load<V>(p, lanes);
  else return to_double<V>(load<Like<E, V, double>>(p, lanes));
}

// One dtype's rows as float or double, which hold it exactly.
template <class T, class E>
void copy_elements(const void* from, i64 at, i64 step, i64 positions, i64 inner, i64 inner_stride, E* to) {
  const T* p = static_cast<const T*>(from) + at;
  auto one = [](T v) __attribute__((always_inline)) {
    if constexpr (same<T, F16> || same<T, BF16>) return v.widen(); else return v;
  };
  if (inner == 1 || (step == inner && inner_stride == 1)) {
    const i64 stride = inner == 1 ? step : 1, n = positions * inner;
    if (stride == 1)
      for (i64 i = 0; i < n; ++i) to[i] = one(p[i]);
    else
      for (i64 i = 0; i < n; ++i) to[i] = one(p[i * stride]);
    return;
  }
  for (i64 i = 0; i < positions; ++i)
    for (i64 c = 0; c < inner; ++c) to[i * inner + c] = one(p[i * step + c * inner_stride]);
}

// E: float or double, in which rows are read.
template <class E>
struct Rows {
  static constexpr int kAtOnce = 5;
  using CopyFn = void (*)(const void*, i64, i64, i64, i64, i64, E*);

  CopyFn copy;
  bool plain;  // the dtype is E
  E *copies[kAtOnce], *spare;

  static CopyFn copy_for(Dtype t) {
    if constexpr (same<E, double>) return copy_elements<double, double>;
    else return t == Dtype::f16 ? copy_elements<F16, float> : t == Dtype::bf16 ? copy_elements<BF16, float>
        : copy_elements<float, float>;
  }

  Rows(Dtype t, i64 longest, Scratch& scratch) : copy(copy_for(t)), plain(t == Dtype::f32 || t == Dtype::f64) {
    for (E*& row : copies) row = scratch.take<E>(longest);
    spare = scratch.take<E>(longest);
  }

  template <int K, bool kShift>
  static __attribute__((noinline)) void add(const E* const* given, const WeightedRow* weights, const E* base, double inside,
      bool first, i64 n, double* __restrict to) {
    const E* row[K];
    double weight[K];
    for (int k = 0; k < K; ++k) {
      row[k] = given[k];
      weight[k] = weights[k].weight;
    }
    auto body = [&]<class V>(i64 i, auto lanes) __attribute__((always_inline)) {
      const V shift = kShift ? read<V>(base + i, lanes) : V{};
      V sum = first ? (kShift ? shift * inside : V{}) : load<V>(to + i, lanes);
      for (int k = 0; k < K; ++k) {
        const V v = read<V>(row[k] + i, lanes);
        sum += weight[k] * (kShift ? v - shift : v);
      }
      store(to + i, sum, lanes);
    };
    sweep<double, true>(n, false, body);
  }

  // to = sum of weight * row, over `positions` places `step` apart with `inner` elements beside each. With kShift the
  // first row times `inside` plus the weighted differences from it: equal elements come back to the bit.
  template <bool kShift>
  void sum(const void* x, const WeightedRow* rows, i64 n_rows, double inside, i64 at, i64 step, i64 positions, i64 inner,
      i64 inner_stride, double* to) {
    const i64 n = positions * inner;
    const bool direct = plain && (inner == 1 ? step == 1 || positions == 1
                                        : inner_stride == 1 && (step == inner || positions == 1));
    const E* base = nullptr;
    for (i64 r = 0; r < n_rows; r += kAtOnce) {
      const int k = static_cast<int>(min_of(kAtOnce, n_rows - r));
      const E* row[kAtOnce];
      for (int i = 0; i < k; ++i) {
        row[i] = static_cast<const E*>(x) + rows[r + i].at + at;
        if (direct) continue;
        E* own = kShift && r > 0 && i == 0 ? spare : copies[i];  // the base stays where it is
        copy(x, rows[r + i].at + at, step, positions, inner, inner_stride, own);
        row[i] = own;
      }
      if (r == 0) base = row[0];
      const WeightedRow* w = rows + r;
      switch (k) {
        case 1: add<1, kShift>(row, w, base, inside, r == 0, n, to); break;
        case 2: add<2, kShift>(row, w, base, inside, r == 0, n, to); break;
        case 3: add<3, kShift>(row, w, base, inside, r == 0, n, to); break;
        case 4: add<4, kShift>(row, w, base, inside, r == 0, n, to); break;
        default: add<5, kShift>(row, w, base, inside, r == 0, n, to); break;
      }
    }
  }
};

struct Range {
  i64 begin, end;
};

// Outputs or positions `tile` of `n`, cut into pieces of `size`.
inline Range cut(i64 tile, i64 size, i64 n) { return {tile * size, min_of((tile + 1) * size, n)}; }

// Units of work in order, counted up instead of divided anew: inner tile, column tile, index on each axis but the last,
// plane.
struct Counter {
  i64 inner, inner_tiles, column, column_tiles, plane;
  i64 index[kMaxAxes], size[kMaxAxes];
  int axes;

  void start(i64 unit) {
    inner = unit % inner_tiles;
    unit /= inner_tiles;
    column = unit % column_tiles;
    unit /= column_tiles;
    for (int a = axes - 1; a >= 0; --a) {
      index[a] = unit % size[a];
      unit /= size[a];
    }
    plane = unit;
  }
  void next() {
    if (++inner < inner_tiles) return;
    inner = 0;
    if (++column < column_tiles) return;
    column = 0;
    for (int a = axes - 1; a >= 0; --a) {
      if (++index[a] < size[a]) return;
      index[a] = 0;
    }
    ++plane;
  }
};

inline i64 edge_row(const Axis& axis, i64 output) { return output < axis.first ? output : output - (axis.last - axis.first); }

inline bool is_edge(const Axis& axis, i64 output) { return output < axis.first || output >= axis.last; }

}  // namespace
}  // namespace poolwise
