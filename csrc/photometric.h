// photometric: target and source frames -> the photometric loss of a depth map or flow field, and its gradients. The
// formulas are here (geometry in photometric_geometry.h, SSIM in photometric_ssim.h); photometric.cpp sweeps rows,
// photometric.cu tiles.
#pragma once

#include <cmath>
#include <limits>

#include "core.h"
#include "photometric_geometry.h"
#include "photometric_ssim.h"

namespace fs {

inline constexpr int kMaxSources = 4;

enum class Reduce : int { kMin = 0, kMean = 1 };

// Where the target's pixels are looked up in the sources: by depth and poses, or by flow (the others are null).
template <class T>
struct Lookup {
  View3<const T> depth;                // (N, H, W) metres; not finite or <= 0: not measured
  View2<const T> intrinsics;           // (N, 4) fx, fy, cx, cy in pixels, of the target and the sources
  View4<const T> poses;                // (N, S, 4, 4) T_source_target; rows 0..2 are read
  View5<const T> flow;                 // (N, S, 2, H, W) pixels: u and v from a target pixel to its source position
  Padding padding = Padding::kBorder;  // outside the source: the nearest border pixel, or 0 and invalid
  bool align_corners = true;           // false: position x is looked up at x W / (W - 1) - 1/2, likewise y
};

// The gradients of a lookup; a null one is not wanted.
template <class T>
struct LookupGradient {
  View3<T> ddepth;       // (N, H, W)
  View2<T> dintrinsics;  // (N, 4)
  View4<T> dposes;       // (N, S, 4, 4); the last rows become 0
  View5<T> dflow;        // (N, S, 2, H, W)
  View5<T> dsources;     // (N, S, C, H, W), added to: zeros when called
  View2<double> sums;    // (photometric_sums(...), kPoseSums): partial sums of dposes and dintrinsics; null with both
};

template <class T>
struct Photometric {
  View4<const T> target;         // (N, C, H, W)
  View5<const T> sources;        // (N, S, C, H, W), S in 1..kMaxSources
  Lookup<T> lookup;              //
  Ssim kind = Ssim::kBox3;       // H and W exceed its radius
  T alpha = T(0.85);             // weight of SSIM; 1 - alpha of L1
  Reduce reduce = Reduce::kMin;  // over the valid sources of a pixel
  bool automask = false;         // drop pixels whose unmoved sources fit better
  View3<T> loss;                 // (N, H, W) out; 0 where choice is -1. Unused by the gradient
  View3<std::int8_t> choice;     // (N, H, W) out, in for the gradient: source of least error, -1 dropped or invalid
  View4<std::uint8_t> valid;     // (N, S, H, W) out, in for the gradient
  View2<double> scratch;         // (workers, photometric_scratch(...))
};
template <class T>
void photometric(const Photometric<T>& args, Stream stream);

template <class T>
struct PhotometricGradient {
  Photometric<T> forward;  // as it was called, with what it wrote
  View3<const T> dloss;    // (N, H, W)
  LookupGradient<T> out;
};
template <class T>
void photometric_gradient(const PhotometricGradient<T>& args, Stream stream);

// The lookup alone.
template <class T>
struct Warp {
  View5<const T> sources;     // (N, S, C, H, W)
  Lookup<T> lookup;           //
  View5<T> warped;            // (N, S, C, H, W) out; 0 where invalid. Unused by the gradient
  View4<std::uint8_t> valid;  // (N, S, H, W) out. Unused by the gradient
  View2<double> scratch;      // (workers, photometric_scratch(...))
};
template <class T>
void warp(const Warp<T>& args, Stream stream);

template <class T>
struct WarpGradient {
  Warp<T> forward;
  View5<const T> dwarped;  // (N, S, C, H, W)
  LookupGradient<T> out;
};
template <class T>
void warp_gradient(const WarpGradient<T>& args, Stream stream);

// SSIM alone, over planes: a batch of images is (N C, H, W).
template <class T>
struct SsimMap {
  View3<const T> x, y;  // (P, H, W)
  Ssim kind = Ssim::kBox3;
  View3<T> map;           // (P, H, W) out. Unused by the gradient
  View2<double> scratch;  // (workers, photometric_scratch(...))
};
template <class T>
void ssim_map(const SsimMap<T>& args, Stream stream);

template <class T>
struct SsimGradient {
  SsimMap<T> forward;
  View3<const T> dmap;  // (P, H, W)
  View3<T> dx, dy;      // (P, H, W); a null one is not wanted
};
template <class T>
void ssim_gradient(const SsimGradient<T>& args, Stream stream);

// The size of a call, as its scratch memory needs it.
struct PhotometricSize {
  std::int64_t frames, sources, channels, height, width;
  Ssim kind = Ssim::kBox3;
  int bytes = 4;          // of one element
  bool dsources = false;  // a gradient that writes dsources
};
// Doubles of scratch for each worker of any function above; on the GPU there is one worker.
std::int64_t photometric_scratch(const PhotometricSize& size);
// Rows of LookupGradient::sums.
std::int64_t photometric_sums(const PhotometricSize& size);

// The errors of a pixel's sources, taken in one after the other; `still` is the error of the source as it is, unwarped.
template <class T>
struct Best {
  T error = std::numeric_limits<T>::infinity(), still = std::numeric_limits<T>::infinity();
  T sum = 0, still_sum = 0, count = 0;
  int choice = -1;

  FS_HD void add(int source, T source_error, T source_still, bool valid) {
    const bool better = valid & (source_error < error);
    choice = better ? source : choice;
    error = better ? source_error : error;
    still = (valid & (source_still < still)) ? source_still : still;
    sum += valid ? source_error : T(0), still_sum += valid ? source_still : T(0), count += valid ? T(1) : T(0);
  }

  // The pixel's loss; choice becomes -1 where it is dropped. Without auto-mask the stills are not read.
  FS_HD T loss(Reduce reduce, bool automask) {
    const bool mean = reduce == Reduce::kMean;
    const bool dropped = automask & (mean ? still_sum < sum : still < error);
    const T reduced = mean ? sum / (count > 0 ? count : T(1)) : error;
    choice = dropped ? -1 : choice;
    return choice < 0 ? T(0) : reduced;
  }
};

// The gradient of a frame's intrinsics from the sums of its sources' parts, each source's total in its first part.
template <class T>
struct IntrinsicsGradient {
  Lookup<T> lookup;
  LookupGradient<T> out;
  std::int64_t parts;

  FS_HD void operator()(std::int64_t frame) const {
    const std::int64_t sources = lookup.poses.shape[1];
    double sum[4] = {};
    for (std::int64_t s = 0; s < sources; ++s)
      add_intrinsics_gradient(&lookup.intrinsics(frame, 0), &lookup.poses(frame, s, 0, 0),
                              &out.sums((frame * sources + s) * parts, 0), sum);
    for (int k = 0; k < 4; ++k) out.dintrinsics(frame, k) = static_cast<T>(sum[k]);
  }
};

// The share of a pixel's loss that source s answers for; `count` of its sources are valid, this one among them.
template <class T>
FS_HD T share(Reduce reduce, int choice, int source, bool valid, int count) {
  if (reduce == Reduce::kMin) return choice == source ? T(1) : T(0);
  return ((choice >= 0) & valid) ? T(1) / static_cast<T>(count) : T(0);
}

}  // namespace fs
