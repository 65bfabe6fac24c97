// Normals by principal components on the GPU: every window's pixels are tested one by one, from a tile in shared memory
// with a margin of `radius` pixels. Only for .cu files.
#pragma once

#include "normals_tile.h"

namespace fs {

inline constexpr int kPcaWidth = 32, kPcaHeight = 16;  // of a tile without its margin

struct PcaTiles {
  Rays rays;
  Fit fit;
  int stride;
  unsigned down;  // tiles

  FS_HD int columns() const { return kPcaWidth + 2 * fit.radius; }
  FS_HD int rows() const { return kPcaHeight + 2 * fit.radius; }
};

// `window` points to the first depth of the pixel's window; (u, v) is the pixel, z its depth.
FS_DEVICE PcaSums neighbour_sums(const PcaTiles& tiles, const float* window, float z, float u, float v) {
  const int radius = tiles.fit.radius;
  const Vec3f centre = z * tiles.rays(u, v);
  PcaSums s;
  for (int j = 0; j <= 2 * radius; ++j)
    for (int i = 0; i <= 2 * radius; ++i) {
      const float neighbour = window[j * tiles.columns() + i];
      if (!same_surface(z, neighbour, tiles.fit)) continue;
      const Vec3f p =
          neighbour * tiles.rays(u + static_cast<float>(i - radius), v + static_cast<float>(j - radius)) - centre;
      s.n += 1, s.p = s.p + p;
      s.pp.xx += p.x * p.x, s.pp.xy += p.x * p.y, s.pp.xz += p.x * p.z;
      s.pp.yy += p.y * p.y, s.pp.yz += p.y * p.z, s.pp.zz += p.z * p.z;
    }
  return s;
}

// One quad of the tile; `window` points to the first depth of its first pixel's window.
template <class Sink, class State>
FS_DEVICE void pca_quad(const PcaTiles& tiles, Quad& q, const float* window, const Sink& sink, int* counts,
                        const State& state) {
#pragma unroll
  for (int k = 0; k < kQuad; ++k) {
    q.z[k] = window[tiles.fit.radius * tiles.columns() + tiles.fit.radius + k];
    if (!(q.mask >> k & 1)) continue;
    const float u = static_cast<float>(q.u + k), v = static_cast<float>(q.v);
    q.n[k] = pca_normal(neighbour_sums(tiles, window + k, q.z[k], u, v), tiles.fit, tiles.rays(u, v), q.z[k] > 0);
  }
  sink.put(counts, state, q);
}

template <class T, class Sink>
FS_KERNEL void pca_kernel(DepthFrames<T> depth, PcaTiles tiles, Sink sink) {
  FS_DYNAMIC_SHARED(float, tile);
  FS_SHARED(int, counts, Sink::kCounts);
  const int frame = static_cast<int>(blockIdx.x / tiles.down),
            top = static_cast<int>(blockIdx.x % tiles.down) * kPcaHeight;
  const int left = static_cast<int>(blockIdx.y) * kPcaWidth;
  const int columns = tiles.columns(), radius = tiles.fit.radius;
  const auto state = sink.begin(counts, frame);
  for (int i = static_cast<int>(threadIdx.x); i < tiles.rows() * columns; i += kTileThreads)
    tile[i] = depth.at(frame, top + i / columns - radius, left + i % columns - radius);
  FS_SYNC();
  for (int i = static_cast<int>(threadIdx.x); i < kPcaHeight * kPcaWidth / kQuad; i += kTileThreads) {
    const int row = i / (kPcaWidth / kQuad), column = i % (kPcaWidth / kQuad) * kQuad;
    Quad q{frame, top + row, left + column, 0, {}, {}};
    if (q.v >= depth.height || q.v % tiles.stride != 0) continue;
    q.mask = wanted(q.u, depth.width, tiles.stride);
    if (q.mask != 0) pca_quad(tiles, q, tile + row * columns + column, sink, counts, state);
  }
  sink.end(counts, frame, state);
}

template <class T, class Sink>
void launch_pca(const Normals& a, Stream stream, const Sink& sink) {
  const Blocks blocks{a.depth.shape[0], (a.depth.shape[1] + kPcaHeight - 1) / kPcaHeight,
                      (a.depth.shape[2] + kPcaWidth - 1) / kPcaWidth};
  const PcaTiles tiles{rays_of(a.camera), a.fit, a.stride, static_cast<unsigned>(blocks.down)};
  launch(pca_kernel<T, Sink>, blocks.grid(), {kTileThreads},
         sizeof(float) * static_cast<std::size_t>(tiles.rows() * tiles.columns()), stream,
         depth_frames<T>(a.depth, a.scale), tiles, sink);
}

}  // namespace fs
