#include "photometric.h"

#include "for_each.h"
#include "photometric_backward.h"
#include "photometric_forward.h"

namespace fs {
namespace {

// How many bands a frame is cut into: enough for sixteen workers, none lower than sixteen radii because a band makes
// rows of its neighbours again. The number of workers has no say, so that sums come out the same for any.
std::int64_t bands(std::int64_t frames, std::int64_t height, Ssim kind) {
  const std::int64_t wanted = (15 + frames) / std::max<std::int64_t>(frames, 1);
  return std::max<std::int64_t>(1, std::min(wanted, height / (16 * ssim_radius(kind))));
}

// Calls f(band, part, scratch) for every part of every frame.
template <class F>
void for_each_band(std::int64_t frames, std::int64_t height, std::int64_t parts, const View2<double>& scratch, F f) {
  for_each_worker(frames * parts, scratch.shape[0], [&](std::int64_t i, std::int64_t worker) {
    const std::int64_t part = i % parts;
    f(Band{i / parts, height * part / parts, height * (part + 1) / parts}, Part{part, parts}, &scratch(worker, 0));
  });
}

template <class T>
void sweep(const Photometric<T>& a, const Band& band, Part, double* scratch) {
  loss_band(a, band, scratch);
}
template <class T>
void sweep(const PhotometricGradient<T>& a, const Band& band, Part part, double* scratch) {
  loss_gradient_band(a, band, part, scratch);
}
template <class T>
void sweep(const Warp<T>& a, const Band& band, Part, double* scratch) {
  warp_band(a, band, scratch);
}
template <class T>
void sweep(const WarpGradient<T>& a, const Band& band, Part part, double* scratch) {
  warp_gradient_band(a, band, part, scratch);
}
template <class T>
void sweep(const SsimMap<T>& a, const Band& band, Part, double* scratch) {
  ssim_band(a, band, scratch);
}
template <class T>
void sweep(const SsimGradient<T>& a, const Band& band, Part, double* scratch) {
  ssim_gradient_band(a, band, scratch);
}

template <class Args>
void run(const Args& a, std::int64_t frames, std::int64_t height, std::int64_t parts, const View2<double>& scratch) {
  for_each_band(frames, height, parts, scratch,
                [&](const Band& band, Part part, double* own) { sweep(a, band, part, own); });
}

// A frame stays whole where its source takes a gradient: two bands would add to the same rows.
template <class T>
std::int64_t gradient_parts(const LookupGradient<T>& out, std::int64_t frames, std::int64_t height, Ssim kind) {
  return out.dsources.data ? 1 : bands(frames, height, kind);
}

}  // namespace

template <class T>
void photometric(const Photometric<T>& a, Stream) {
  const std::int64_t frames = a.target.shape[0], height = a.target.shape[2];
  run(a, frames, height, bands(frames, height, a.kind), a.scratch);
}

template <class T>
void photometric_gradient(const PhotometricGradient<T>& a, Stream) {
  const std::int64_t frames = a.forward.target.shape[0], height = a.forward.target.shape[2];
  const std::int64_t parts = gradient_parts(a.out, frames, height, a.forward.kind);
  run(a, frames, height, parts, a.forward.scratch);
  if (a.out.sums.data) write_cameras(a.forward.lookup, a.out, parts);
}

template <class T>
void warp(const Warp<T>& a, Stream) {
  const std::int64_t frames = a.sources.shape[0], height = a.sources.shape[3];
  run(a, frames, height, bands(frames, height, Ssim::kBox3), a.scratch);
}

template <class T>
void warp_gradient(const WarpGradient<T>& a, Stream) {
  const std::int64_t frames = a.forward.sources.shape[0], height = a.forward.sources.shape[3];
  const std::int64_t parts = gradient_parts(a.out, frames, height, Ssim::kBox3);
  run(a, frames, height, parts, a.forward.scratch);
  if (a.out.sums.data) write_cameras(a.forward.lookup, a.out, parts);
}

template <class T>
void ssim_map(const SsimMap<T>& a, Stream) {
  run(a, a.x.shape[0], a.x.shape[1], bands(a.x.shape[0], a.x.shape[1], a.kind), a.scratch);
}

template <class T>
void ssim_gradient(const SsimGradient<T>& a, Stream) {
  const std::int64_t planes = a.dmap.shape[0], height = a.dmap.shape[1];
  run(a, planes, height, bands(planes, height, a.forward.kind), a.forward.scratch);
}

std::int64_t photometric_scratch(const PhotometricSize& size) {
  const std::int64_t window = 2 * ssim_radius(size.kind) + 1;
  const std::int64_t forward = size.sources * (2 + window * size.channels);
  const std::int64_t backward = (6 * size.channels + 1) * window + 3 * size.channels;
  return (std::max(forward, backward) + kPlaceRows + 16) * row_pitch(size.width) * size.bytes / 8 + 8;
}

std::int64_t photometric_sums(const PhotometricSize& size) {
  return size.frames * size.sources * bands(size.frames, size.height, size.kind);
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
