// Looking pixels up in a source on the GPU, and taking the gradient of what was seen back to depth, pose, flow and
// source, with no sum whose order could change. Used by photometric.cu alone.
#pragma once

#include <bit>

#include "for_each.h"
#include "photometric.h"

namespace fs {

// What all pixels of one source have in common, found once for a block and kept in shared memory, so that no thread
// finds it again.
template <class T>
struct Optics {
  Projection<T> projection;  // unused with flow
  Raster<T> raster;
  std::int64_t source, place, target;  // elements before this source, this frame's depth or flow, and the target
};

// One source of one frame, as pixels are looked up in it; all its channels have fewer than 2^31 elements.
template <class T>
struct Lens {
  const T* source;          // (C, H, W)
  const T *first, *second;  // depth and null, or the flow's two planes
  Projection<T> projection;
  Raster<T> raster;
  int height, width, plane;  // plane: pixels of one channel

  // What a pixel's place is found from.
  struct Raw {
    T first, second;
  };
  FS_DEVICE Raw read(int at) const { return {first[at], second ? second[at] : T(0)}; }
  FS_DEVICE Spot<T> spot(Raw raw, int v, int u) const {
    const T x = static_cast<T>(u), y = static_cast<T>(v);
    return second ? displace(x, y, raw.first, raw.second) : project(projection, x, y, reciprocal_depth(raw.first));
  }
  FS_DEVICE int right() const { return width > 1 ? 1 : 0; }
  FS_DEVICE int down() const { return height > 1 ? width : 0; }
};

// The sample between the pixels number `at` of an image and its neighbours, `right` and `down` elements on.
template <class T>
FS_DEVICE Bilinear<T> sample(const T* image, int at, int right, int down, const Corner<T>& c) {
  return bilinear(image[at], image[at + right], image[at + down], image[at + down + right], c.fx, c.fy);
}

// One thread makes the optics of each source; a barrier must follow.
template <class T>
FS_DEVICE void make_optics(const View5<const T>& sources, const Lookup<T>& l, std::int64_t frame, Optics<T>* out) {
  const std::int64_t s = threadIdx.x;
  if (s >= sources.shape[1]) return;
  if (!l.flow.data) out[s].projection = projection(&l.intrinsics(frame, 0), &l.poses(frame, s, 0, 0));
  out[s].raster = raster<T>(sources.shape[3], sources.shape[4], l.padding, l.align_corners);
  const std::int64_t plane = sources.shape[3] * sources.shape[4], image = frame * sources.shape[1] + s;
  out[s].source = image * sources.shape[2] * plane;
  out[s].place = (l.flow.data ? 2 * image : frame) * plane;
  out[s].target = frame * sources.shape[2] * plane;
}

template <class T>
FS_DEVICE Lens<T> lens_of(const View5<const T>& sources, const Lookup<T>& l, const Optics<T>& optics) {
  const int height = static_cast<int>(sources.shape[3]), width = static_cast<int>(sources.shape[4]);
  const T* const first = (l.flow.data ? l.flow.data : l.depth.data) + optics.place;
  return {sources.data + optics.source,
          first,
          l.flow.data ? first + height * width : nullptr,
          optics.projection,
          optics.raster,
          height,
          width,
          height * width};
}

// The gradient of sources collects from pixels that land anywhere. Integers add up the same in any order: shares are
// counted in units so small, by the frame's largest gradient, that the sum just fits into 64 bits.
struct FixedPoint {
  unsigned* peak;     // (N) the largest |gradient| of a frame, as the bits of a float; null: sources get no gradient
  std::int64_t* sum;  // (N, S, C, H, W)
};
inline std::int64_t fixed_point_doubles(std::int64_t frames, std::int64_t elements) {
  return frames + elements;
}
inline FixedPoint fixed_point(double* scratch, std::int64_t frames) {
  return {reinterpret_cast<unsigned*>(scratch), reinterpret_cast<std::int64_t*>(scratch + frames)};
}
FS_HD bool countable(unsigned peak) {
  return (peak > 0) & (peak < 0x7f800000u);  // neither zero nor infinite nor NaN
}
// Units for a gradient of 1: even if every pixel gave the peak to one place, 2^62 would not be passed.
FS_HD double units(unsigned peak, std::int64_t pixels) {
  int bits = 0;
  while ((std::int64_t{1} << bits) < pixels) ++bits;
  return countable(peak) ? std::ldexp(1., 60 - bits - std::ilogb(std::bit_cast<float>(peak))) : 0.;
}

struct ClearFixed {
  FixedPoint fixed;
  std::int64_t frames;
  FS_HD void operator()(std::int64_t i) const {
    if (i < frames) fixed.peak[i] = 0;
    if (i >= frames) fixed.sum[i - frames] = 0;
  }
};
template <class T>
struct AddFixed {
  FixedPoint fixed;
  View5<T> out;
  FS_HD void operator()(std::int64_t i) const {
    const unsigned peak = fixed.peak[i / (out.size() / out.shape[0])];
    const double scale = units(peak, out.shape[3] * out.shape[4]);
    if (countable(peak)) out.data[i] += static_cast<T>(static_cast<double>(fixed.sum[i]) / scale);
    if (!countable(peak) && peak > 0) out.data[i] = std::numeric_limits<T>::quiet_NaN();
  }
};

// Takes the gradients of what this thread's pixels saw in one source to where they belong.
template <class T>
struct Sink {
  T *ddepth = nullptr, *du = nullptr, *dv = nullptr;  // planes of this frame and source; null when not wanted
  bool fresh_depth = false, fresh_flow = false;       // written, not added to
  bool wants_pose = false;
  T sum[kPoseSums]{};
  unsigned peak = 0;
  std::int64_t* scatter = nullptr;  // (C, H, W): the pass that adds up the source's gradient, and nothing else
  double scale = 0;

  FS_DEVICE void add(const Lens<T>& l, const Spot<T>& s, typename Lens<T>::Raw raw, int v, int u, T dx, T dy) {
    const int at = v * l.width + u;
    if (du) du[at] = fresh_flow ? dx : du[at] + dx, dv[at] = fresh_flow ? dy : dv[at] + dy;
    if (!ddepth && !wants_pose) return;
    const Motion<T> m = s.valid ? motion_gradient(s, dx, dy) : Motion<T>{};
    const T q = reciprocal_depth(raw.first), n[3] = {m.n0, m.n1, m.n2}, *b = l.projection.b;
    const T d = -q * q * (n[0] * b[0] + n[1] * b[1] + n[2] * b[2]);
    if (ddepth) ddepth[at] = fresh_depth ? d : ddepth[at] + d;
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      sum[3 * i] += n[i] * static_cast<T>(u), sum[3 * i + 1] += n[i] * static_cast<T>(v);
      sum[3 * i + 2] += n[i], sum[9 + i] += n[i] * q;
    }
  }

  FS_DEVICE void spread(const Lens<T>& l, std::int64_t* upper, const Corner<T>& c, T d) const {
    std::int64_t* const lower = upper + l.down();
    const auto give = [&](std::int64_t* to, T part) {
      atomic_add(to, static_cast<std::int64_t>(std::rint(static_cast<double>(part * d) * scale)));
    };
    give(upper, (1 - c.fx) * (1 - c.fy)), give(upper + l.right(), c.fx * (1 - c.fy));
    give(lower, (1 - c.fx) * c.fy), give(lower + l.right(), c.fx * c.fy);
  }

  // One pixel: dvalue(k) is the gradient of what it saw in channel first + k. With Fixed, the channels are that many
  // and the image is wider and higher than one pixel.
  template <int Fixed, class F>
  FS_DEVICE void follow(const Lens<T>& l, typename Lens<T>::Raw raw, int v, int u, int first, int channels, F dvalue) {
    const Spot<T> s = l.spot(raw, v, u);
    const Corner<T> c = corner(s, l.raster);
    T dx = 0, dy = 0;
    int at = first * l.plane + c.y * l.width + c.x;
#pragma unroll(Fixed > 0 ? Fixed : 1)
    for (int k = 0; c.valid && k < (Fixed > 0 ? Fixed : channels); ++k, at += l.plane) {
      const T d = dvalue(k);
      if (scatter) {
        if (scale > 0) spread(l, scatter + at, c, d);
        continue;
      }
      const Bilinear<T> seen = sample(l.source, at, Fixed > 0 ? 1 : l.right(), Fixed > 0 ? l.width : l.down(), c);
      dx += d * seen.dx, dy += d * seen.dy;
      const unsigned size = std::bit_cast<unsigned>(std::fabs(static_cast<float>(d)));
      peak = size > peak ? size : peak;
    }
    if (!scatter) add(l, s, raw, v, u, c.gx * dx, c.gy * dy);
  }
};

template <class T>
FS_DEVICE Sink<T> sink_of(const LookupGradient<T>& out, const FixedPoint& fixed, bool scatters,
                          const View5<const T>& sources, std::int64_t frame, std::int64_t source) {
  const std::int64_t plane = sources.shape[3] * sources.shape[4];
  Sink<T> sink;
  if (scatters) {
    sink.scatter = fixed.sum + (frame * sources.shape[1] + source) * sources.shape[2] * plane;
    sink.scale = units(fixed.peak[frame], plane);
    return sink;
  }
  if (out.ddepth.data) sink.ddepth = &out.ddepth(frame, 0, 0);
  if (out.dflow.data) sink.du = &out.dflow(frame, source, 0, 0, 0), sink.dv = sink.du + plane;
  sink.wants_pose = out.sums.data != nullptr;
  return sink;
}

// Records the largest gradient of a block's threads.
FS_DEVICE void record_peak(const FixedPoint& fixed, std::int64_t frame, unsigned peak) {
  for (int mask = 16; mask > 0; mask /= 2) {
    const unsigned other = shfl_xor(peak, mask);
    peak = other > peak ? other : peak;
  }
  if (threadIdx.x % 32 == 0) atomic_max(fixed.peak + frame, peak);
}

// Adds the sums of a block's threads in a fixed order; `shared` has room for kPoseSums from each of `Threads`.
template <int Threads, class T>
FS_DEVICE void write_sums(const T (&sum)[kPoseSums], T* shared, double* out, bool fresh) {
  const int thread = static_cast<int>(threadIdx.x);
  for (int k = 0; k < kPoseSums; ++k) shared[k * Threads + thread] = sum[k];
  FS_SYNC();
  for (int k = thread / 32; k < kPoseSums; k += Threads / 32) {
    double total = 0;
    for (int i = thread % 32; i < Threads; i += 32) total += static_cast<double>(shared[k * Threads + i]);
    total = warp_sum(total);
    if (thread % 32 == 0) out[k] = fresh ? total : out[k] + total;
  }
  FS_SYNC();
}

// One block a pose, one warp for each of its sums; their totals end in the first part where intrinsics need them.
template <class T>
FS_KERNEL void pose_kernel(Lookup<T> lookup, LookupGradient<T> out, std::int64_t parts) {
  FS_SHARED(double, total, kPoseSums);
  const std::int64_t pose = blockIdx.x, sources = lookup.poses.shape[1];
  const int k = static_cast<int>(threadIdx.x) / 32;
  double sum = 0;
  for (std::int64_t part = threadIdx.x % 32; part < parts; part += 32) sum += out.sums(pose * parts + part, k);
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) total[k] = sum;
  FS_SYNC();
  if (threadIdx.x == 0 && out.dposes.data)
    pose_gradient(&lookup.intrinsics(pose / sources, 0), total, &out.dposes(pose / sources, pose % sources, 0, 0));
  if (threadIdx.x < kPoseSums && out.dintrinsics.data) out.sums(pose * parts, threadIdx.x) = total[threadIdx.x];
}

}  // namespace fs
