// Normals by cross products on the GPU: five reads a pixel, all but one from the caches, and one write. Only for .cu.
#pragma once

#include "normals_tile.h"

namespace fs {

// The normal of pixel k of a quad, from its neighbours `radius` pixels away.
FS_DEVICE Vec3f quad_cross(const Rays& ray, const Quad& q, int k, float left, float right, float up, float down,
                           CrossScale scale) {
  const bool valid = (q.z[k] > 0) & (left > 0) & (right > 0) & (up > 0) & (down > 0);
  return cross_normal(ray(static_cast<float>(q.u + k), static_cast<float>(q.v)), left, right, up, down, scale, valid);
}

template <class T, class Sink>
FS_KERNEL void cross_kernel(DepthFrames<T> depth, Rays rays, CrossScale scale, int radius, int stride, unsigned down,
                            Sink sink) {
  FS_SHARED(int, counts, Sink::kCounts);
  const QuadPlace p = quad_place(down);
  const auto state = sink.begin(counts, p.frame);
  const int v = p.row * stride;
  const unsigned mask = v < depth.height ? wanted(p.u, depth.width, stride) : 0u;
  if (mask != 0) {
    Quad q{p.frame, v, p.u, mask, {}, {}};
    float left[kQuad], right[kQuad], above[kQuad], below[kQuad];
    const T* const here = depth.row(p.frame, v) + p.u;
    const std::int64_t rows = std::int64_t{radius} * depth.width;
    depth.quad(here, v, p.u, q.z);
    depth.quad(here - rows, v - radius, p.u, above);
    depth.quad(here + rows, v + radius, p.u, below);
    depth.quad(here - radius, v, p.u - radius, left);
    depth.quad(here + radius, v, p.u + radius, right);
    for (int k = 0; k < kQuad; ++k) q.n[k] = quad_cross(rays, q, k, left[k], right[k], above[k], below[k], scale);
    sink.put(counts, state, q);
  }
  sink.end(counts, p.frame, state);
}

template <class T, class Sink>
void launch_cross(const Normals& a, Stream stream, const Sink& sink) {
  const Blocks blocks = quad_blocks(a.depth.shape[0], (a.depth.shape[1] + a.stride - 1) / a.stride, a.depth.shape[2]);
  launch(cross_kernel<T, Sink>, blocks.grid(), {kTileThreads}, 0, stream, depth_frames<T>(a.depth, a.scale),
         rays_of(a.camera), cross_scale(a.camera, a.fit.radius), a.fit.radius, a.stride,
         static_cast<unsigned>(blocks.down), sink);
}

}  // namespace fs
