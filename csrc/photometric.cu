// Bytes a pixel of one 3-channel float source: the loss must move 32 (target 12, source 12, depth 4, loss 4) and moves
// 34 (choice and validity, a byte each); its gradient must move 36 (dloss comes in, ddepth is what goes out) and moves
// 38. What two tiles read (10 % of the loss's pixels, 21 % of the gradient's with 3x3 windows) should come from the
// caches. SSIM's moments, slopes and warped images never leave the multiprocessor.
//
// Operations a pixel with 3x3 windows, counted in sm_90 code (an FMA is two): the loss 270 (warp 76, SSIM and L1 174),
// the gradient 500 (warp 83, slopes and their gathering 307, back to depth and pose 110). At 67 TFLOP/s and 4.8 TB/s
// both are done before the bytes are. But addresses, bounds and clamps bring the instructions to about 400 and 860 a
// pixel, and issuing those takes longer than the bytes: that is the bound. Not timed on a GPU yet.
#include "photometric.h"
#include "photometric_alone.h"
#include "photometric_fused.h"

namespace fs {
namespace {

// Runs the passes of a gradient: `pass(fixed, scatters)`; then the sources, and poses and intrinsics from their sums.
template <class T, class Pass>
void run_passes(const Lookup<T>& lookup, const LookupGradient<T>& out, double* scratch, std::int64_t parts,
                Stream stream, Pass pass) {
  const std::int64_t frames = out.dsources.shape[0], elements = out.dsources.size();
  FixedPoint fixed{};
  if (out.dsources.data) {
    fixed = fixed_point(scratch, frames);
    for_each(frames + elements, stream, ClearFixed{fixed, frames});
  }
  pass(fixed, false);
  if (out.dsources.data) {
    pass(fixed, true);
    for_each(elements, stream, AddFixed<T>{fixed, out.dsources});
  }
  if (out.sums.data)
    launch(pose_kernel<T>, {static_cast<unsigned>(lookup.poses.shape[0] * lookup.poses.shape[1])}, {32 * kPoseSums}, 0,
           stream, lookup, out, parts);
  if (out.dintrinsics.data) for_each(out.dintrinsics.shape[0], stream, IntrinsicsGradient<T>{lookup, out, parts});
}

}  // namespace

template <class T>
void photometric(const Photometric<T>& a, Stream stream) {
  const std::int64_t height = a.target.shape[2], width = a.target.shape[3];
  if (a.loss.size() == 0) return;
  require_small(a.target.shape[1], height, width);
  with_kind(a.kind, [&]<Ssim K>() {
    const bool only = a.sources.shape[1] == 1 && !a.automask;
    const auto kernel = only                       ? loss_kernel<T, K, Combine::kOnly>
                        : a.reduce == Reduce::kMin ? loss_kernel<T, K, Combine::kMin>
                                                   : loss_kernel<T, K, Combine::kMean>;
    launch(kernel, region_grid(a.target.shape[0], height, width, 0), {kTileThreads}, sizeof(LossShared<T, K>), stream,
           a, weights_of<T>(K));
  });
}

template <class T>
void photometric_gradient(const PhotometricGradient<T>& g, Stream stream) {
  const Photometric<T>& a = g.forward;
  const std::int64_t height = a.target.shape[2], width = a.target.shape[3];
  if (g.dloss.size() == 0) return;
  require_small(a.target.shape[1], height, width);
  with_kind(a.kind, [&]<Ssim K>() {
    const std::int64_t parts = regions(height, width, kRadius<K>);
    run_passes(a.lookup, g.out, a.scratch.data, parts, stream, [&](const FixedPoint& fixed, bool scatters) {
      launch(gradient_kernel<T, K>, region_grid(a.target.shape[0], height, width, kRadius<K>), {kTileThreads},
             sizeof(GradientShared<T, K>), stream, g, weights_of<T>(K), parts, fixed, scatters);
    });
  });
}

template <class T>
void warp(const Warp<T>& a, Stream stream) {
  const std::int64_t parts = warp_parts(a.sources.shape[3], a.sources.shape[4]);
  if (a.valid.size() == 0) return;
  launch(warp_kernel<T>, warp_grid(a.sources), {kWarpThreads}, 0, stream, a, parts);
}

template <class T>
void warp_gradient(const WarpGradient<T>& g, Stream stream) {
  const Warp<T>& a = g.forward;
  const std::int64_t parts = warp_parts(a.sources.shape[3], a.sources.shape[4]);
  if (a.sources.shape[0] * a.sources.shape[1] * parts == 0) return;
  run_passes(a.lookup, g.out, a.scratch.data, parts, stream, [&](const FixedPoint& fixed, bool scatters) {
    launch(warp_gradient_kernel<T>, warp_grid(a.sources), {kWarpThreads}, 0, stream, g, parts, fixed, scatters);
  });
}

template <class T>
void ssim_map(const SsimMap<T>& a, Stream stream) {
  if (a.x.size() == 0) return;
  require_small(1, a.x.shape[1], a.x.shape[2]);
  with_kind(a.kind, [&]<Ssim K>() {
    launch(ssim_kernel<T, K>, region_grid(a.x.shape[0], a.x.shape[1], a.x.shape[2], 0), {kTileThreads},
           sizeof(Pair<T>) * kPairs<K>, stream, a, weights_of<T>(K));
  });
}

template <class T>
void ssim_gradient(const SsimGradient<T>& g, Stream stream) {
  const View3<const T>& x = g.forward.x;
  if (x.size() == 0) return;
  require_small(1, x.shape[1], x.shape[2]);
  SsimGradient<T> swapped = g;
  std::swap(swapped.forward.x, swapped.forward.y), std::swap(swapped.dx, swapped.dy);
  with_kind(g.forward.kind, [&]<Ssim K>() {
    const Grid grid = region_grid(x.shape[0], x.shape[1], x.shape[2], kRadius<K>);
    for (const SsimGradient<T>& way : {g, swapped})
      if (way.dy.data)
        launch(ssim_gradient_kernel<T, K>, grid, {kTileThreads}, sizeof(SsimShared<T, K>), stream, way,
               weights_of<T>(K));
  });
}

std::int64_t photometric_scratch(const PhotometricSize& size) {
  if (!size.dsources) return 0;
  return fixed_point_doubles(size.frames, size.frames * size.sources * size.channels * size.height * size.width);
}
std::int64_t photometric_sums(const PhotometricSize& size) {
  const std::int64_t parts = regions(size.height, size.width, ssim_radius(size.kind));
  return size.frames * size.sources * std::max(parts, warp_parts(size.height, size.width));
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
