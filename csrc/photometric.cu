#include "for_each.h"
#include "photometric.h"

namespace fs {
namespace {

// Fills of the three forward outputs, one pixel a thread.
template <class T>
struct SsimAt {
  SsimMap<T> a;
  FS_HD void operator()(std::int64_t i) const {
    const std::int64_t width = a.x.shape[2], height = a.x.shape[1];
    const std::int64_t plane = i / (width * height), v = i / width % height, u = i % width;
    const int r = ssim_radius(a.kind);
    Moments<T> m{};
    for (int j = -r; j <= r; ++j)
      for (int k = -r; k <= r; ++k) {
        const T w = ssim_weight<T>(a.kind, j) * ssim_weight<T>(a.kind, k);
        const std::int64_t row = mirrored(v + j, height), column = mirrored(u + k, width);
        const T x = a.x(plane, row, column), y = a.y(plane, row, column);
        m.x += w * x, m.y += w * y, m.square += w * (x * x + y * y), m.xy += w * x * y;
      }
    a.map(plane, v, u) = ssim(m);
  }
};

}  // namespace

template <class T>
void photometric(const Photometric<T>&, Stream) {
  throw std::runtime_error("photometric is being written");
}
template <class T>
void photometric_gradient(const PhotometricGradient<T>&, Stream) {
  throw std::runtime_error("photometric_gradient is being written");
}
template <class T>
void warp(const Warp<T>&, Stream) {
  throw std::runtime_error("warp is being written");
}
template <class T>
void warp_gradient(const WarpGradient<T>&, Stream) {
  throw std::runtime_error("warp_gradient is being written");
}
template <class T>
void ssim_map(const SsimMap<T>& a, Stream stream) {
  for_each(a.map.size(), stream, SsimAt<T>{a});
}
template <class T>
void ssim_gradient(const SsimGradient<T>&, Stream) {
  throw std::runtime_error("ssim_gradient is being written");
}
std::int64_t photometric_scratch(const PhotometricSize&) {
  return 1;
}
std::int64_t photometric_sums(const PhotometricSize&) {
  return 1;
}

#define FS_FOR(T)                                                               \
  template void photometric<T>(const Photometric<T>&, Stream);                  \
  template void photometric_gradient<T>(const PhotometricGradient<T>&, Stream); \
  template void warp<T>(const Warp<T>&, Stream);                                \
  template void warp_gradient<T>(const WarpGradient<T>&, Stream);               \
  template void ssim_map<T>(const SsimMap<T>&, Stream);                         \
  template void ssim_gradient<T>(const SsimGradient<T>&, Stream);
FS_FOR(float)
FS_FOR(double)
#undef FS_FOR

}  // namespace fs
