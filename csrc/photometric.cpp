#include "photometric.h"

#include "for_each.h"

namespace fs {

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
void ssim_map(const SsimMap<T>&, Stream) {
  throw std::runtime_error("ssim_map is being written");
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
