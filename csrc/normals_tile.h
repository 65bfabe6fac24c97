// What the GPU's ways to normals share: depth in metres, four pixels at a time, and where these go. Only for .cu files.
#pragma once

#include "for_each.h"
#include "normals.h"

namespace fs {

inline constexpr int kQuad = 4;  // pixels side by side that one thread makes
inline constexpr int kTileThreads = 256;

// Four values that move as one, in a single access of up to 16 bytes.
template <class T>
struct alignas(kQuad * sizeof(T)) Four {
  T x[kQuad];
};

// Whether rows of this width, starting here, can be cut into Fours.
template <class T>
bool in_fours(const T* data, std::int64_t width) {
  return reinterpret_cast<std::uintptr_t>(data) % alignof(Four<T>) == 0 && width % kQuad == 0;
}

template <class T>
FS_DEVICE void store(T* at, const T (&x)[kQuad], unsigned mask, bool fours) {
  if (fours) {
    Four<T> all;
    for (int k = 0; k < kQuad; ++k) all.x[k] = x[k];
    *reinterpret_cast<Four<T>*>(at) = all;
    return;
  }
  for (int k = 0; k < kQuad; ++k)
    if (mask >> k & 1) at[k] = x[k];
}

// The depth of all frames.
template <class T>
struct DepthFrames {
  const T* data;
  float scale;
  int height, width;
  bool fours;

  FS_DEVICE const T* row(int frame, int v) const { return data + (std::int64_t{frame} * height + v) * width; }
  FS_DEVICE bool inside(int v, int u) const {
    return (static_cast<unsigned>(v) < static_cast<unsigned>(height)) &
           (static_cast<unsigned>(u) < static_cast<unsigned>(width));
  }
  // Metres, 0 without measurement and outside the image.
  FS_DEVICE float at(int frame, int v, int u) const { return inside(v, u) ? metres(row(frame, v)[u], scale) : 0.f; }
  // The metres of pixels u .. u + 3 of row v; `from` is where the first lies, or would lie.
  FS_DEVICE void quad(const T* from, int v, int u, float (&z)[kQuad]) const {
    if (fours && inside(v, u) && u % kQuad == 0) {
      const Four<T> raw = *reinterpret_cast<const Four<T>*>(from);
      for (int k = 0; k < kQuad; ++k) z[k] = metres(raw.x[k], scale);
    } else {
      for (int k = 0; k < kQuad; ++k) z[k] = inside(v, u + k) ? metres(from[k], scale) : 0.f;
    }
  }
  FS_DEVICE void quad(int frame, int v, int u, float (&z)[kQuad]) const { quad(row(frame, v) + u, v, u, z); }
};

template <class T>
DepthFrames<T> depth_frames(const Array& depth, float scale) {
  const T* const data = static_cast<const T*>(depth.data);
  require(std::max(depth.shape[1], depth.shape[2]) < (1 << 30), "depth is too large for one launch");
  return {data, scale, static_cast<int>(depth.shape[1]), static_cast<int>(depth.shape[2]),
          in_fours(data, depth.shape[2])};
}

// ray() by products, as a division costs ten of them.
struct Rays {
  float cx, cy, per_fx, per_fy;
  FS_DEVICE Vec3f operator()(float u, float v) const { return {(u - cx) * per_fx, (v - cy) * per_fy, 1.f}; }
};
inline Rays rays_of(const Pinhole& k) {
  return {k.cx, k.cy, 1 / k.fx, 1 / k.fy};
}

// Four pixels of a row, their depth and their normals.
struct Quad {
  int frame, v, u;  // of the first
  unsigned mask;    // bit k: pixel u + k lies in the image and its normal is wanted
  float z[kQuad];
  Vec3f n[kQuad];
};

// Which of the pixels u .. u + 3 are wanted: inside the image, and in a column that the stride takes.
FS_DEVICE unsigned wanted(int u, int width, int stride) {
  const int left = width - u;
  const unsigned inside = left >= kQuad ? (1u << kQuad) - 1 : left > 0 ? (1u << left) - 1 : 0u;
  if (stride == 1) return inside;
  const int first = (stride - u % stride) % stride;  // every stride-th from there on
  unsigned taken = 0;
  for (int k = first; k < kQuad; k += stride) taken |= 1u << k;
  return inside & taken;
}

// Writes points and normals; a sink is what a kernel below gives each quad to. `begin` and `end` are called by the
// whole block, with room for kCounts integers in shared memory; a block stays within one frame.
struct StoreQuads {
  static constexpr int kCounts = 1;
  struct State {};

  View4<float> points, normals;  // either may be null; points only with a stride of 1
  Rays rays;
  int stride;
  bool fours;  // both can be written in Fours

  FS_DEVICE State begin(int*, int) const { return {}; }
  FS_DEVICE void end(const int*, int, State) const {}
  FS_DEVICE void put(int*, State, const Quad& q) const {
    if (points.data) put_points(q);
    if (!normals.data) return;
    if (stride == 1) return put_three(&normals(q.frame, 0, q.v, q.u), normals.shape[2] * normals.shape[3], q.n, q.mask);
    const int row = q.v / stride;
    for (int k = 0; k < kQuad; ++k) {
      if (!(q.mask >> k & 1)) continue;
      const int column = (q.u + k) / stride;
      normals(q.frame, 0, row, column) = q.n[k].x;
      normals(q.frame, 1, row, column) = q.n[k].y;
      normals(q.frame, 2, row, column) = q.n[k].z;
    }
  }

 private:
  FS_DEVICE void put_points(const Quad& q) const {
    Vec3f p[kQuad];
    for (int k = 0; k < kQuad; ++k)
      p[k] = (q.z[k] > 0 ? q.z[k] : std::numeric_limits<float>::quiet_NaN()) *
             rays(static_cast<float>(q.u + k), static_cast<float>(q.v));
    put_three(&points(q.frame, 0, q.v, q.u), points.shape[2] * points.shape[3], p, q.mask);
  }
  FS_DEVICE void put_three(float* at, std::int64_t plane, const Vec3f (&p)[kQuad], unsigned mask) const {
    const float x[kQuad] = {p[0].x, p[1].x, p[2].x, p[3].x}, y[kQuad] = {p[0].y, p[1].y, p[2].y, p[3].y},
                z[kQuad] = {p[0].z, p[1].z, p[2].z, p[3].z};
    store(at, x, mask, fours);
    store(at + plane, y, mask, fours);
    store(at + 2 * plane, z, mask, fours);
  }
};

// How blocks share the images out: `down` blocks for the rows of a frame, `across` for its columns.
struct Blocks {
  std::int64_t frames, down, across;
  Grid grid() const {
    require(frames * down < (std::int64_t{1} << 31) && across < 65536, "depth is too large for one launch");
    return {static_cast<unsigned>(frames * down), static_cast<unsigned>(across)};
  }
};

// Quads one by one, where no thread needs what another has read: a warp makes 128 pixels of a row.
inline constexpr int kWarpPixels = 32 * kQuad, kBlockRows = kTileThreads / 32;

inline Blocks quad_blocks(std::int64_t frames, std::int64_t rows, std::int64_t width) {
  return {frames, (rows + kBlockRows - 1) / kBlockRows, (width + kWarpPixels - 1) / kWarpPixels};
}

// The frame, and the row (counted in strides) and column of this thread's quad.
struct QuadPlace {
  int frame, row, u;
};
FS_DEVICE QuadPlace quad_place(unsigned down) {
  return {static_cast<int>(blockIdx.x / down), static_cast<int>(blockIdx.x % down * kBlockRows + threadIdx.x / 32),
          static_cast<int>(blockIdx.y * kWarpPixels + threadIdx.x % 32 * kQuad)};
}

template <class T>
FS_KERNEL void points_kernel(DepthFrames<T> depth, unsigned down, StoreQuads sink) {
  const QuadPlace p = quad_place(down);
  if (p.row >= depth.height || p.u >= depth.width) return;
  Quad q{p.frame, p.row, p.u, wanted(p.u, depth.width, 1), {}, {}};
  depth.quad(q.frame, q.v, q.u, q.z);
  sink.put(nullptr, {}, q);
}

}  // namespace fs
