// The GPU's gated pooling: a thread makes some channels of a pixel, so that their taps' places are found once.
#pragma once

#include "for_each.h"
#include "gated_conv.h"

namespace fs {
namespace pool {

inline constexpr int kGroup = 4;  // channels of a thread
inline constexpr int kThreads = 256;

template <class T>
FS_HD Wide<T> gate_of(const GatedPool<T>& a, std::int64_t p, int k, const Image& image) {
  if (a.gate.data) return a.gate.data[gate_at(p, k, a.branches.count, image)];
  return Wide<T>(a.chosen.data[p] == static_cast<std::uint8_t>(k));
}

// The centre, or the first tap in row order that is larger than all before it; NaN is the largest.
template <class T>
FS_HD int best_tap(const T* plane, std::int64_t p, const std::int64_t (&from)[kTaps], std::int64_t base,
                   Wide<T>& most) {
  int best = 4;
  most = widen(plane[p - base]);
  for (int tap = 0; tap < kTaps; ++tap) {
    if (from[tap] < 0) continue;
    const Wide<T> value = widen(plane[from[tap] - base]);
    if (value > most || (value != value && most == most)) best = tap, most = value;
  }
  return best;
}

FS_HD void find_taps(std::int64_t p, int dilation, const Image& image, std::int64_t (&from)[kTaps]) {
  for (int tap = 0; tap < kTaps; ++tap) from[tap] = tap_source(p, tap, dilation, image);
}

template <class T>
FS_HD Wide<T> pooled(const T* plane, std::int64_t p, const std::int64_t (&from)[kTaps], std::int64_t base,
                     bool maximum) {
  Wide<T> sum = 0;
  if (maximum) return best_tap(plane, p, from, base, sum), sum;
  for (int tap = 0; tap < kTaps; ++tap)
    if (from[tap] >= 0) sum += widen(plane[from[tap] - base]);
  return sum / Wide<T>(kTaps);
}

// The pixel of thread i and its first channel.
struct Place {
  std::int64_t p, base, channel, channels;  // base: the first pixel of its image
};
template <class T>
FS_HD Place place_of(const GatedPool<T>& a, std::int64_t i) {
  const std::int64_t size = a.x.shape[2] * a.x.shape[3], groups = (a.x.shape[1] + kGroup - 1) / kGroup;
  const std::int64_t n = i / (size * groups), channel = i / size % groups * kGroup;
  const std::int64_t left = a.x.shape[1] - channel;
  return {n * size + i % size, n * size, channel, left < kGroup ? left : kGroup};
}
template <class T>
FS_HD std::int64_t plane_at(const GatedPool<T>& a, const Place& at, int j) {
  const std::int64_t size = a.x.shape[2] * a.x.shape[3];
  return (at.base / size * a.x.shape[1] + at.channel + j) * size;
}

template <class T>
struct PoolAt {
  GatedPool<T> a;
  FS_HD void operator()(std::int64_t i) const {
    const Image image{a.x.shape[2], a.x.shape[3]};
    const Place at = place_of(a, i);
    Wide<T> sum[kGroup]{};
    for (int k = 0; k < a.branches.count; ++k) {
      const Wide<T> gate = gate_of(a, at.p, k, image);
      if (!a.gate.data && gate == 0) continue;
      std::int64_t from[kTaps];
      find_taps(at.p, a.branches.dilation[k], image, from);
      for (int j = 0; j < at.channels; ++j)
        sum[j] += gate * pooled(a.x.data + plane_at(a, at, j), at.p, from, at.base, a.maximum);
    }
    for (int j = 0; j < at.channels; ++j) a.y.data[plane_at(a, at, j) + at.p - at.base] = narrow<T>(sum[j]);
  }
};

// dx of pixel q: from every pixel that one of its taps reads q, unless that pixel's maximum is elsewhere.
template <class T>
struct PoolBack {
  GatedPool<T> a;
  FS_HD void operator()(std::int64_t i) const {
    const Image image{a.x.shape[2], a.x.shape[3]};
    const Place at = place_of(a, i);
    Wide<T> sum[kGroup]{};
    for (int k = 0; k < a.branches.count; ++k)
      for (int tap = 0; tap < kTaps; ++tap) {
        const std::int64_t p = tap_source(at.p, kTaps - 1 - tap, a.branches.dilation[k], image);
        const Wide<T> gate = p >= 0 ? gate_of(a, p, k, image) : Wide<T>(0);
        if (p < 0 || (!a.gate.data && gate == 0)) continue;
        std::int64_t from[kTaps];
        if (a.maximum) find_taps(p, a.branches.dilation[k], image, from);
        for (int j = 0; j < at.channels; ++j) {
          const std::int64_t plane = plane_at(a, at, j);
          Wide<T> share = Wide<T>(1) / Wide<T>(kTaps), most;
          if (a.maximum) share = Wide<T>(best_tap(a.x.data + plane, p, from, at.base, most) == tap);
          sum[j] += gate * share * widen(a.dy.data[plane + p - at.base]);
        }
      }
    for (int j = 0; j < at.channels; ++j) a.dx.data[plane_at(a, at, j) + at.p - at.base] = narrow<T>(sum[j]);
  }
};

// dgate of 32 pixels and one branch: eight groups of channels each sum their own, then one thread sums the groups.
inline constexpr int kAcross = 32, kGroups = 8;
template <class T>
FS_KERNEL void gate_back_kernel(GatedPool<T> a) {
  FS_SHARED(Wide<T>, sums, kAcross * kGroups);
  const Image image{a.x.shape[2], a.x.shape[3]};
  const std::int64_t size = image.height * image.width;
  const std::int64_t p = static_cast<std::int64_t>(blockIdx.x) * kAcross + threadIdx.x;
  const int k = static_cast<int>(blockIdx.y);
  Wide<T> sum = 0;
  if (p < a.x.shape[0] * size) {
    std::int64_t from[kTaps];
    find_taps(p, a.branches.dilation[k], image, from);
    const std::int64_t base = p / size * size;
    for (std::int64_t c = threadIdx.y; c < a.x.shape[1]; c += kGroups) {
      const std::int64_t plane = (p / size * a.x.shape[1] + c) * size;
      sum += widen(a.dy.data[plane + p - base]) * pooled(a.x.data + plane, p, from, base, a.maximum);
    }
  }
  sums[threadIdx.y * kAcross + threadIdx.x] = sum;
  FS_SYNC();
  if (threadIdx.y > 0 || p >= a.x.shape[0] * size) return;
  for (int g = 1; g < kGroups; ++g) sum += sums[g * kAcross + threadIdx.x];
  a.dgate.data[gate_at(p, k, a.branches.count, image)] = sum;
}

template <class T>
std::int64_t threads_of(const GatedPool<T>& a) {
  return a.x.shape[0] * a.x.shape[2] * a.x.shape[3] * ((a.x.shape[1] + kGroup - 1) / kGroup);
}

}  // namespace pool

template <class T>
void gated_pool(const GatedPool<T>& a, Stream stream) {
  for_each(pool::threads_of(a), stream, pool::PoolAt<T>{a});
}

template <class T>
void gated_pool_backward(const GatedPool<T>& a, Stream stream) {
  for_each(pool::threads_of(a), stream, pool::PoolBack<T>{a});
  const std::int64_t pixels = a.x.shape[0] * a.x.shape[2] * a.x.shape[3];
  if (!a.dgate.data || pixels == 0) return;
  const std::int64_t blocks = (pixels + pool::kAcross - 1) / pool::kAcross;
  require(blocks < (std::int64_t{1} << 31), "too many pixels for one launch");
  launch(pool::gate_back_kernel<T>, {static_cast<unsigned>(blocks), static_cast<unsigned>(a.branches.count)},
         {pool::kAcross, pool::kGroups}, 0, stream, a);
}

template <class T>
std::int64_t gated_pool_scratch(const std::int64_t (&)[4], const Branches&, bool, std::int64_t) {
  return 0;
}

#define FS_FOR_TYPE(T)                                               \
  template void gated_pool<T>(const GatedPool<T>&, Stream);          \
  template void gated_pool_backward<T>(const GatedPool<T>&, Stream); \
  template std::int64_t gated_pool_scratch<T>(const std::int64_t (&)[4], const Branches&, bool, std::int64_t);
FS_FOR_TYPE(float)
FS_FOR_TYPE(double)
FS_FOR_TYPE(Half)
FS_FOR_TYPE(BFloat)
#undef FS_FOR_TYPE

}  // namespace fs
