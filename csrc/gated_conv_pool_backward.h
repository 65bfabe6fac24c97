// The CPU's gradients of gated pooling. The average's dx is the average of gate dy, taps being symmetric; the maximum's
// goes to the tap that was largest: the centre, or else the first in row order that is larger than all before it.
#pragma once

#include "gated_conv_pool.h"

namespace fs::pool {

// sum[u] += product of dy and the pooled x, for dgate.
template <class T>
FS_HD void add_product(const T* __restrict dy, const T* __restrict pooled, T* __restrict sum, std::int64_t n) {
  for (std::int64_t u = 0; u < n; ++u) sum[u] += dy[u] * pooled[u];
}

// One branch of an average: dgate's sum from x, dx's sum (p.sum) from gate dy.
template <class T>
FS_HD void average_back(const Shape& s, const Planes<T>& p, int dilation, const T* gate, const T* x, const T* dy,
                        T* dgate, const T* ones) {
  T* const dx = p.sum;
  if (dgate) {
    Planes<T> pooled = p;
    pooled.sum = p.best;
    fill_in(s, p, x);
    for (std::int64_t i = 0; i < s.plane(); ++i) pooled.sum[i] = 0;
    pool_branch<false>(s, pooled, dilation, ones);
    for (std::int64_t v = 0; v < s.height; ++v)
      add_product(dy + v * s.width, pooled.sum + v * s.step, dgate + v * s.step, s.width);
  }
  fill_in(s, p, dy);
  for (std::int64_t v = 0; v < s.height; ++v)
    for (std::int64_t u = 0; u < s.width; ++u) p.in[v * s.wide() + s.margin + u] *= gate[v * s.step + u];
  Planes<T> spread = p;
  spread.sum = dx;
  pool_branch<false>(s, spread, dilation, ones);
}

// Row v: where the maximum of a branch is, and what it is.
template <class T>
FS_HD void find_best(const Shape& s, const Planes<T>& p, std::int64_t v, int dilation, T* __restrict best,
                     T* __restrict most) {
  const T* const centre = p.in + v * s.wide() + s.margin;
  for (std::int64_t u = 0; u < s.step; ++u) most[u] = centre[u], best[u] = T(4);
  for (int tap = 0; tap < kTaps; ++tap) {
    const T* const row = row_of(s, p.in, s.wide(), v + (tap / 3 - 1) * dilation, p.border) + s.margin;
    const std::int64_t shift = (tap % 3 - 1) * dilation;
    const T here = static_cast<T>(tap);
    for (std::int64_t u = 0; u < s.step; ++u) {
      const T value = row[u + shift];
      const bool better = (value > most[u]) | ((value != value) & (most[u] == most[u]));
      most[u] = better ? value : most[u], best[u] = better ? here : best[u];
    }
  }
}

// One branch of a maximum; p.in holds x, p.grown gathers dx with its margins.
template <class T>
FS_HD void maximum_back(const Shape& s, const Planes<T>& p, int dilation, const T* gate, const T* dy, T* dgate) {
  for (std::int64_t v = 0; v < s.height; ++v) {
    T *const best = p.best, *const most = p.across;
    find_best(s, p, v, dilation, best, most);
    if (dgate) add_product(dy + v * s.width, most, dgate + v * s.step, s.width);
    for (std::int64_t u = 0; u < s.width; ++u) most[u] = gate[v * s.step + u] * dy[v * s.width + u];
    for (int tap = 0; tap < kTaps; ++tap) {
      const std::int64_t to = v + (tap / 3 - 1) * dilation;
      if (to < 0 || to >= s.height) continue;
      T* const dx = p.grown + to * s.wide() + s.margin + (tap % 3 - 1) * dilation;
      for (std::int64_t u = 0; u < s.width; ++u) dx[u] += best[u] == static_cast<T>(tap) ? most[u] : T(0);
    }
  }
}

// dx of one plane, and its share of dgate (branches, H, step), null when not wanted.
template <class T>
FS_HD void pool_plane_back(const Shape& s, const Planes<T>& p, const Branches& b, bool maximum, const T* x, const T* dy,
                           const T* gates, T* dgate, const T* ones, T* dx) {
  for (std::int64_t i = 0; i < s.plane(); ++i) p.sum[i] = 0;
  for (std::int64_t i = 0; i < s.height * s.wide(); ++i) p.grown[i] = 0;
  if (maximum) fill_in(s, p, x);
  for (int k = 0; k < b.count; ++k) {
    T* const part = dgate ? dgate + k * s.plane() : nullptr;
    const int d = reach(s, b.dilation[k]);
    if (maximum) maximum_back(s, p, d, gates + k * s.plane(), dy, part);
    if (!maximum) average_back(s, p, d, gates + k * s.plane(), x, dy, part, ones);
  }
  for (std::int64_t v = 0; v < s.height; ++v)
    for (std::int64_t u = 0; u < s.width; ++u)
      dx[v * s.width + u] = maximum ? p.grown[v * s.wide() + s.margin + u] : p.sum[v * s.step + u];
}

FS_CLONES inline void plane_back(const Shape& s, const Planes<float>& p, const Branches& b, bool maximum,
                                 const float* x, const float* dy, const float* gates, float* dgate, const float* ones,
                                 float* dx) {
  pool_plane_back(s, p, b, maximum, x, dy, gates, dgate, ones, dx);
}
FS_CLONES inline void plane_back(const Shape& s, const Planes<double>& p, const Branches& b, bool maximum,
                                 const double* x, const double* dy, const double* gates, double* dgate,
                                 const double* ones, double* dx) {
  pool_plane_back(s, p, b, maximum, x, dy, gates, dgate, ones, dx);
}

template <class T>
void add_parts(const GatedPool<T>& a, const Shape& s, const T* parts) {
  const std::int64_t size = a.branches.count * s.plane();
  for (std::int64_t i = 0; i < s.images * a.branches.count * s.height; ++i)
    for (std::int64_t u = 0; u < s.width; ++u) {
      const std::int64_t image = i / (a.branches.count * s.height), row = i % (a.branches.count * s.height);
      T sum = 0;
      for (std::int64_t part = 0; part < kParts; ++part)
        sum += parts[(image * kParts + part) * size + row * s.step + u];
      a.dgate.data[i * s.width + u] = sum;
    }
}

template <class T>
void backward(const GatedPool<T>& a) {
  const Shape s = shape_of(a.x.shape, a.branches);
  const Memory<T> m = memory<T>(rows::aligned(a.scratch.data), s, a.branches.count, true, a.workers);
  spread_gates(a, s, m.gates);
  fill_margins(s, m, a.workers, a.maximum);
  std::fill(m.ones, m.ones + s.plane(), T(1));
  const std::int64_t group = a.branches.count * s.plane(), size = s.height * s.width;
  if (a.dgate.data) std::fill(m.parts, m.parts + s.images * kParts * group, T(0));
  for_each_worker(s.images * kParts, a.workers, [&](std::int64_t unit, std::int64_t worker) {
    rows::Cutter cut{m.planes + worker * m.planes_bytes};
    const Planes<T> p = cut_planes<T>(cut, s);
    const std::int64_t n = unit / kParts, part = unit % kParts;
    for (std::int64_t c = part * s.channels / kParts; c < (part + 1) * s.channels / kParts; ++c) {
      const std::int64_t at = (n * s.channels + c) * size;
      plane_back(s, p, a.branches, a.maximum, a.x.data + at, a.dy.data + at, m.gates + n * group,
                 a.dgate.data ? m.parts + unit * group : nullptr, m.ones, a.dx.data + at);
    }
  });
  if (a.dgate.data) add_parts(a, s, m.parts);
}

}  // namespace fs::pool
