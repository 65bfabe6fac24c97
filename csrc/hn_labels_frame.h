// What the kernels of one call of hn_labels hand to each other on the GPU. Only for .cu files.
#pragma once

#include "hn_labels.h"
#include "normals_tile.h"

namespace fs {

// A frame's figures in the making.
struct Counters {
  int valid;    // pixels with depth
  int low[3];   // points at or below the floor; of those, with a normal; of those, looking up
  int found;    // gravity was found
  int listed;   // heights in the frame's list: those up to `bound`
  float bound;  // surely above the floor, or nearly so
  int unused;
};

// Where the frames' parts of the scratch lie: counters, then all normals for gravity, then all lists of heights.
struct Layout {
  Counters* counters;   // (N)
  float* sample;        // (N, 3, samples) as the op `normals` writes them, NaN where undefined
  float* list;          // (N, size)
  std::int64_t frames;  // N
  int samples, size;    // of a frame
};

inline std::int64_t sampled(std::int64_t height, std::int64_t width, int stride) {
  return (height + stride - 1) / stride * ((width + stride - 1) / stride);
}

inline Layout layout(const HnLabels& a) {
  const std::int64_t frames = a.depth.shape[0], height = a.depth.shape[1], width = a.depth.shape[2];
  require(height * width < (1 << 30), "a frame has at most 2^30 pixels");
  Layout out{};
  out.frames = frames;
  out.samples = static_cast<int>(sampled(height, width, a.stride)), out.size = static_cast<int>(height * width);
  out.counters = reinterpret_cast<Counters*>(a.scratch.data);
  out.sample = reinterpret_cast<float*>(out.counters + frames);
  out.list = out.sample + frames * 3 * out.samples;
  return out;
}

inline std::int64_t layout_doubles(std::int64_t height, std::int64_t width, int stride) {
  const std::int64_t floats = 3 * sampled(height, width, stride) + height * width;
  return (static_cast<std::int64_t>(sizeof(Counters)) + 7) / 8 + (floats + 1) / 2;
}

FS_DEVICE Vec3f up_of(const HnLabels& a, int frame) {
  return {a.up(frame, 0), a.up(frame, 1), a.up(frame, 2)};
}

// The height along up of the point at pixel (u, v) of depth z.
FS_DEVICE float height_at(const Rays& rays, Vec3f up, float z, int u, int v) {
  return dot(up, rays(static_cast<float>(u), static_cast<float>(v))) * z;
}

}  // namespace fs
