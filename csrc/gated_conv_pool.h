// The CPU's gated pooling, a plane at a time: rows are pooled across, kept while they are hot, then pooled down.
#pragma once

#include <algorithm>
#include <limits>

#include "gated_conv_plan.h"

namespace fs::pool {

inline constexpr std::int64_t kWidth = 16;  // rows are this many columns longer, or less, so that loops have no tail
inline constexpr std::int64_t kParts = 8;   // groups of channels, each with its own sum of dgate

struct Shape {
  std::int64_t images, channels, height, width;
  std::int64_t step, margin;  // of the rows of a working plane, without and with `margin` columns on either side
  std::int64_t wide() const { return step + 2 * margin; }
  std::int64_t plane() const { return height * step; }
};

// A dilation beyond the image reaches as far as one that just leaves it.
inline int reach(const Shape& s, int dilation) {
  return static_cast<int>(std::min<std::int64_t>(dilation, std::max(s.height, s.width)));
}

inline Shape shape_of(const std::int64_t (&n)[4], const Branches& branches) {
  Shape s{n[0], n[1], n[2], n[3], (n[3] + kWidth - 1) / kWidth * kWidth, 0};
  for (int k = 0; k < branches.count; ++k) s.margin = std::max<std::int64_t>(s.margin, reach(s, branches.dilation[k]));
  s.margin = (s.margin + kWidth - 1) / kWidth * kWidth;
  return s;
}

// The working planes of one worker.
template <class T>
struct Planes {
  T *in, *across, *sum;  // (H, wide) with its margins; (H, step); (H, step)
  T *grown, *best;       // backward: (H, wide) gradients; the maximum's place
  T* border;             // a row outside the image
};

template <class T>
struct Memory {
  T* gates;  // (N, branches, H, step), 0 beyond the width; one-hot when hard
  T* parts;  // (N, kParts, branches, H, step), backward
  T* ones;   // (H, step), backward
  char* planes;
  std::int64_t planes_bytes, bytes;
};

template <class T>
Planes<T> cut_planes(rows::Cutter& cut, const Shape& s) {
  Planes<T> p{};
  p.in = cut.take<T>(s.height * s.wide()), p.across = cut.take<T>(s.plane()), p.sum = cut.take<T>(s.plane());
  p.grown = cut.take<T>(s.height * s.wide()), p.best = cut.take<T>(s.plane());
  p.border = cut.take<T>(s.wide());
  return p;
}

template <class T>
Memory<T> memory(char* from, const Shape& s, int branches, bool backward, std::int64_t workers) {
  rows::Cutter cut{from}, one;
  Memory<T> m{};
  m.gates = cut.take<T>(s.images * branches * s.plane());
  m.parts = cut.take<T>(backward ? s.images * kParts * branches * s.plane() : 0);
  m.ones = cut.take<T>(backward ? s.plane() : 0);
  cut_planes<T>(one, s);
  m.planes_bytes = one.used;
  m.planes = cut.take<char>(one.used * workers);
  m.bytes = cut.used;
  return m;
}

// Gates as the planes read them.
template <class T>
void spread_gates(const GatedPool<T>& a, const Shape& s, T* gates) {
  const std::int64_t rows = s.images * a.branches.count * s.height;
  for_each_worker(rows, a.workers, [&](std::int64_t i, std::int64_t) {
    T* const out = gates + i * s.step;
    const std::int64_t n = i / s.height / a.branches.count, k = i / s.height % a.branches.count, v = i % s.height;
    for (std::int64_t u = 0; u < s.width; ++u)
      out[u] = a.gate.data ? a.gate.data[i * s.width + u]
                           : T(a.chosen.data[(n * s.height + v) * s.width + u] == static_cast<std::uint8_t>(k));
    std::fill(out + s.width, out + s.step, T(0));
  });
}

// Row loops; n is a multiple of kWidth.
template <bool Max, class T>
FS_HD T join(T a, T b) {
  if constexpr (Max) return (b > a) | (b != b) ? b : a;  // NaN wins
  return a + b;
}
template <bool Max, class V>
FS_HD void join_into(V& a, const V& b) {  // the same of vectors
  if constexpr (Max)
    for (std::size_t i = 0; i < sizeof(V) / sizeof(a[0]); ++i) a[i] = join<true>(a[i], b[i]);
  else
    a += b;
}
template <bool Max, class T>
FS_HD void pool_across(const T* in, T* out, std::int64_t dilation, std::int64_t n) {
  for (std::int64_t u = 0; u < n; u += rows::kVector<T>) {
    auto value = rows::load(in + u);
    join_into<Max>(value, rows::load(in + u - dilation));
    join_into<Max>(value, rows::load(in + u + dilation));
    __builtin_memcpy(out + u, &value, sizeof value);
  }
}

template <bool Max, class T>
FS_HD void pool_down(const T* above, const T* here, const T* below, const T* gate, T* sum, T factor, std::int64_t n) {
  for (std::int64_t u = 0; u < n; u += rows::kVector<T>) {
    auto value = rows::load(here + u);
    join_into<Max>(value, rows::load(above + u));
    join_into<Max>(value, rows::load(below + u));
    value = rows::load(sum + u) + factor * rows::load(gate + u) * value;
    __builtin_memcpy(sum + u, &value, sizeof value);
  }
}

// Row v of a plane that has margins; a row outside the image is the border.
template <class T>
FS_HD const T* row_of(const Shape& s, const T* plane, std::int64_t step, std::int64_t v, const T* border) {
  return v >= 0 && v < s.height ? plane + v * step : border;
}

// p.sum += gate pool(p.in) of one branch; p.in and the border hold what lies outside.
template <bool Max, class T>
FS_HD void pool_branch(const Shape& s, const Planes<T>& p, int dilation, const T* gate) {
  std::int64_t next = 0;
  for (std::int64_t v = 0; v < s.height; ++v) {
    for (; next < s.height && next <= v + dilation; ++next)
      pool_across<Max>(p.in + next * s.wide() + s.margin, p.across + next * s.step, dilation, s.step);
    pool_down<Max>(row_of(s, p.across, s.step, v - dilation, p.border), p.across + v * s.step,
                   row_of(s, p.across, s.step, v + dilation, p.border), gate + v * s.step, p.sum + v * s.step,
                   Max ? T(1) : T(1) / T(9), s.step);
  }
}

// Copies a plane between its margins.
template <class T>
FS_HD void fill_in(const Shape& s, const Planes<T>& p, const T* plane) {
  for (std::int64_t v = 0; v < s.height; ++v) {
    T* const row = p.in + v * s.wide() + s.margin;
    for (std::int64_t u = 0; u < s.width; ++u) row[u] = plane[v * s.width + u];
  }
}

// What lies outside the image, once for every worker: its planes' margins and the border.
template <class T>
void fill_margins(const Shape& s, const Memory<T>& m, std::int64_t workers, bool maximum) {
  for (std::int64_t worker = 0; worker < workers; ++worker) {
    rows::Cutter cut{m.planes + worker * m.planes_bytes};
    const Planes<T> p = cut_planes<T>(cut, s);
    const T outside = maximum ? -std::numeric_limits<T>::infinity() : T(0);
    std::fill(p.in, p.in + s.height * s.wide(), outside);
    std::fill(p.border, p.border + s.wide(), outside);
  }
}

template <bool Max, class T>
FS_HD void pool_plane(const Shape& s, const Planes<T>& p, const Branches& b, const T* x, const T* gates, T* y) {
  fill_in(s, p, x);
  for (std::int64_t i = 0; i < s.plane(); ++i) p.sum[i] = 0;
  for (int k = 0; k < b.count; ++k) pool_branch<Max>(s, p, reach(s, b.dilation[k]), gates + k * s.plane());
  for (std::int64_t v = 0; v < s.height; ++v)
    for (std::int64_t u = 0; u < s.width; ++u) y[v * s.width + u] = p.sum[v * s.step + u];
}

FS_CLONES inline void pool_plane(const Shape& s, const Planes<float>& p, const Branches& b, bool maximum,
                                 const float* x, const float* gates, float* y) {
  maximum ? pool_plane<true>(s, p, b, x, gates, y) : pool_plane<false>(s, p, b, x, gates, y);
}
FS_CLONES inline void pool_plane(const Shape& s, const Planes<double>& p, const Branches& b, bool maximum,
                                 const double* x, const double* gates, double* y) {
  maximum ? pool_plane<true>(s, p, b, x, gates, y) : pool_plane<false>(s, p, b, x, gates, y);
}

template <class T>
void forward(const GatedPool<T>& a) {
  const Shape s = shape_of(a.x.shape, a.branches);
  const Memory<T> m = memory<T>(rows::aligned(a.scratch.data), s, a.branches.count, false, a.workers);
  spread_gates(a, s, m.gates);
  fill_margins(s, m, a.workers, a.maximum);
  for_each_worker(s.images * s.channels, a.workers, [&](std::int64_t i, std::int64_t worker) {
    rows::Cutter cut{m.planes + worker * m.planes_bytes};
    const Planes<T> p = cut_planes<T>(cut, s);
    pool_plane(s, p, a.branches, a.maximum, a.x.data + i * s.height * s.width,
               m.gates + i / s.channels * a.branches.count * s.plane(), a.y.data + i * s.height * s.width);
  });
}

}  // namespace fs::pool
