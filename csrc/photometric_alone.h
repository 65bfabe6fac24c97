// The warp alone and SSIM alone on the GPU. Used by photometric.cu alone.
#pragma once

#include "photometric_lookup.h"
#include "photometric_slopes.h"

namespace fs {

inline constexpr int kWarpThreads = 256, kWarpPixels = 2048;  // of a block

inline std::int64_t warp_parts(std::int64_t height, std::int64_t width) {
  return (height * width + kWarpPixels - 1) / kWarpPixels;
}
template <class T>
Grid warp_grid(const View5<const T>& sources) {
  const std::int64_t blocks = sources.shape[0] * warp_parts(sources.shape[3], sources.shape[4]);
  require_small(sources.shape[2], sources.shape[3], sources.shape[4]);
  require(blocks < (std::int64_t{1} << 31), "the images are too many for one launch");
  return {static_cast<unsigned>(blocks)};
}

// Calls f(v, u, at) for each pixel of one part of an image, number `at` of its plane.
template <class T, class F>
FS_DEVICE void for_part(const Lens<T>& lens, std::int64_t part, F f) {
  const int begin = static_cast<int>(part) * kWarpPixels, left = lens.plane - begin;
  for (int i = static_cast<int>(threadIdx.x); i < kWarpPixels && i < left; i += kWarpThreads) {
    const int at = begin + i;
    f(at / lens.width, at % lens.width, at);
  }
}

template <class T>
FS_KERNEL void __launch_bounds__(kWarpThreads) warp_kernel(Warp<T> a, std::int64_t parts) {
  FS_SHARED(Optics<T>, optics, kMaxSources);
  const std::int64_t frame = static_cast<std::int64_t>(blockIdx.x) / parts;
  const int sources = static_cast<int>(a.sources.shape[1]), channels = static_cast<int>(a.sources.shape[2]);
  make_optics(a.sources, a.lookup, frame, optics);
  FS_SYNC();
  for (int s = 0; s < sources; ++s) {
    const Lens<T> lens = lens_of(a.sources, a.lookup, optics[s]);
    std::uint8_t* const valid = a.valid.data + (frame * sources + s) * lens.plane;
    T* const warped = a.warped.data + (frame * sources + s) * channels * lens.plane;
    for_part(lens, blockIdx.x % parts, [&](int v, int u, int at) {
      const Corner<T> c = corner(lens.spot(lens.read(at), v, u), lens.raster);
      valid[at] = c.valid ? 1 : 0;
      const int from = c.y * lens.width + c.x;
#pragma unroll 3
      for (int k = 0; k < channels; ++k) {
        const T value = sample(lens.source, k * lens.plane + from, lens.right(), lens.down(), c).value;
        warped[k * lens.plane + at] = c.valid ? value : T(0);
      }
    });
  }
}

template <class T>
FS_KERNEL void __launch_bounds__(kWarpThreads)
    warp_gradient_kernel(WarpGradient<T> g, std::int64_t parts, FixedPoint fixed, bool scatters) {
  FS_SHARED(Optics<T>, optics, kMaxSources);
  FS_SHARED(T, shared, kPoseSums * kWarpThreads);
  const Warp<T>& a = g.forward;
  const std::int64_t frame = static_cast<std::int64_t>(blockIdx.x) / parts, part = blockIdx.x % parts;
  const int sources = static_cast<int>(a.sources.shape[1]), channels = static_cast<int>(a.sources.shape[2]);
  make_optics(a.sources, a.lookup, frame, optics);
  FS_SYNC();
  for (int s = 0; s < sources; ++s) {
    const Lens<T> lens = lens_of(a.sources, a.lookup, optics[s]);
    Sink<T> sink = sink_of(g.out, fixed, scatters, a.sources, frame, s);
    sink.fresh_depth = s == 0, sink.fresh_flow = true;
    const T* const dwarped = g.dwarped.data + (frame * sources + s) * channels * lens.plane;
    for_part(lens, part, [&](int v, int u, int at) {
      sink.template follow<0>(lens, lens.read(at), v, u, 0, channels,
                              [&](int k) { return dwarped[k * lens.plane + at]; });
    });
    if (sink.wants_pose)
      write_sums<kWarpThreads>(sink.sum, shared, &g.out.sums((frame * sources + s) * parts + part, 0), true);
    if (fixed.peak && !scatters) record_peak(fixed, frame, sink.peak);
  }
}

template <class T, Ssim K>
struct SsimShared {
  Pair<T> tile[kPairs<K>];
  SlopeMaps<T, K> maps;  // the gradient's
};

template <class T, Ssim K>
FS_DEVICE void load_pairs(const View3<const T>& x, const View3<const T>& y, const Region& r, Pair<T>* tile) {
  for_cells<K, Pair<T>>(
      r, [&](const Cell& p) { return Pair<T>{x(r.image, p.v, p.u), y(r.image, p.v, p.u)}; },
      [&](const Cell& p, const Pair<T>& pair) { tile[p.i] = pair; });
}

template <class T, Ssim K>
FS_KERNEL void __launch_bounds__(kTileThreads) ssim_kernel(SsimMap<T> a, Weights<T> w) {
  FS_DYNAMIC_SHARED(Pair<T>, tile);
  const Region r = region_of(a.x.shape[1], a.x.shape[2], 0);
  load_pairs<T, K>(a.x, a.y, r, tile);
  FS_SYNC();
  if (!r.holds(first_row(), first_column())) return;
  Moments<T> means[2][kRows];
  window_moments<T, K>(tile, w, means);
  for_windows([&](int k, int c, int row, int column) {
    if (r.holds(row, column)) a.map(r.image, r.top + row, r.left + column) = ssim(means[c][k]);
  });
}

// The gradient of y; x and y change places for that of x.
template <class T, Ssim K>
FS_KERNEL void __launch_bounds__(kTileThreads) ssim_gradient_kernel(SsimGradient<T> g, Weights<T> w) {
  using Shared = SsimShared<T, K>;
  FS_DYNAMIC_SHARED(Shared, shared);
  const View3<const T>& x = g.forward.x;
  const Region r = region_of(x.shape[1], x.shape[2], kRadius<K>);
  if (r.edge) shared->maps.weigh_edges(r);
  load_pairs<T, K>(x, g.forward.y, r, shared->tile);
  T upstream[2][kRows];
  for_windows([&](int k, int c, int row, int column) {
    upstream[c][k] = r.holds(row, column) ? g.dmap(r.image, r.top + row, r.left + column) : T(0);
  });
  FS_SYNC();
  spread(shared->tile, w, r, upstream, T(1), shared->maps);
  FS_SYNC();
  if (!gathers<K>()) return;
  gather(shared->tile, shared->maps, w, r, upstream, T(0));
  for_windows([&](int, int, int row, int column) {
    if (owns<K>(row, column) && r.holds(row, column))
      g.dy(r.image, r.top + row, r.left + column) = shared->tile[cell_under<K>(row, column)].y;
  });
}

// Calls f.operator()<K>() with the kind known when compiled.
template <class F>
void with_kind(Ssim kind, F f) {
  if (kind == Ssim::kBox3) f.template operator()<Ssim::kBox3>();
  if (kind == Ssim::kBox7) f.template operator()<Ssim::kBox7>();
  if (kind == Ssim::kGauss11) f.template operator()<Ssim::kGauss11>();
}

}  // namespace fs
