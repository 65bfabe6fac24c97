// On the GPU a frame of 480x640 float32 depth costs, at 4.0 TB/s and 925 G warp instructions a second, in the default
// windows (5 for the label, 10 and stride 4 for gravity):
//   kernel           bytes a pixel, in + out   floor in us   instructions a pixel   in us   bound by
//   normals, R = 10  4 + 0.75                  0.4           150                    1.6     instructions
//   gravity          0.75 (then L2)            0.1           50 at 15 iterations    0.5     its chain of 15 sums
//   list             4 + 0.1                   0.3           35                     0.4     instructions, bytes
//   floor            0.1 (then L2)             0.0           -                      0.1     its chain of 3 digits
//   plane and label  4 + 1                     0.4           255                    2.6     instructions
// One block makes the gravity of a frame in some 80 us, however many frames run beside it: 1.3 us a frame in a batch of
// 64, 0.6 in a batch of 132. Points and normals add 12 bytes a pixel each when they are wanted, else nothing.
#include "hn_labels.h"
#include "hn_labels_gravity.h"
#include "hn_labels_select.h"
#include "hn_labels_sink.h"
#include "normals_tile_launch.h"

namespace fs {
namespace {

struct Clear {
  HnLabels a;
  Layout l;
  FS_HD void operator()(std::int64_t i) const {
    const std::int64_t bins = a.histogram.shape[1], frame = i / (bins + 1), bin = i % (bins + 1);
    if (bin == bins)
      l.counters[frame] = {};
    else
      a.histogram(frame, bin) = 0;
  }
};

struct Judge {
  HnLabels a;
  Layout l;
  FS_HD void operator()(std::int64_t frame) const {
    const Counters& c = l.counters[frame];
    const float aligned = aligned_fraction(c.low[0], c.low[1], c.low[2]);
    const float share = static_cast<float>(c.valid) / static_cast<float>(l.size);
    a.figures(frame, kAligned) = aligned, a.figures(frame, kValid) = share;
    a.verdict(frame) =
        static_cast<std::int32_t>(verdict_of(a.rules, share, c.found != 0, a.figures(frame, kDisagreement), aligned));
  }
};

struct Take {
  HnLabels a;
  Layout l;
  FS_HD void operator()(std::int64_t frame) const {
    take_given(a, frame);
    l.counters[frame].bound = -std::numeric_limits<float>::infinity();  // no height is listed, depth is counted
  }
};

struct JudgeGiven {
  HnLabels a;
  Layout l;
  FS_HD void operator()(std::int64_t frame) const {
    const Counters& c = l.counters[frame];
    judge_given(a, frame, static_cast<float>(c.valid) / static_cast<float>(l.size),
                aligned_fraction(c.low[0], c.low[1], c.low[2]));
  }
};

Normals normals_of(const HnLabels& a, const Fit& fit, int stride) {
  Normals n;
  n.depth = a.depth, n.scale = a.scale, n.camera = a.camera, n.fit = fit, n.stride = stride;
  return n;
}

Normals sample_of(const HnLabels& a, const Layout& l) {
  const std::int64_t height = a.depth.shape[1], width = a.depth.shape[2], s = a.stride;
  Normals n = normals_of(a, a.gravity_fit, a.stride);
  n.normals = {l.sample, {l.frames, 3, (height + s - 1) / s, (width + s - 1) / s}};
  return n;
}

LabelQuads sink_of(const HnLabels& a, const Layout& l) {
  const std::int64_t width = a.depth.shape[2];
  const bool fours = in_fours(a.points.data, width) && in_fours(a.normals.data, width);
  return {a, l, rays_of(a.camera), {a.points, a.normals, rays_of(a.camera), 1, fours}, in_fours(a.label.data, width)};
}

template <class T>
void run(const HnLabels& a, Stream stream) {
  const Layout l = layout(a);
  const DepthFrames<T> depth = depth_frames<T>(a.depth, a.scale);
  const Rays rays = rays_of(a.camera);
  const Blocks blocks{l.frames, (depth.height + kListRows - 1) / kListRows,
                      (depth.width + kWarpPixels - 1) / kWarpPixels};
  const unsigned frames = static_cast<unsigned>(l.frames);
  for_each(l.frames * (a.histogram.shape[1] + 1), stream, Clear{a, l});
  normals(sample_of(a, l), stream);
  launch(gravity_kernel<T>, {frames}, {kSelectThreads}, 0, stream, depth, rays, a, l);
  launch(list_kernel<T>, blocks.grid(), {kTileThreads}, 0, stream, depth, rays, a, l,
         static_cast<unsigned>(blocks.down));
  launch(floor_kernel<T>, {frames}, {kSelectThreads}, 0, stream, depth, rays, a, l);
  launch_normals<T>(normals_of(a, a.fit, 1), stream, sink_of(a, l));
  for_each(l.frames, stream, Judge{a, l});
}

template <class T>
void run_given(const HnLabels& a, Stream stream) {
  const Layout l = layout(a);
  const DepthFrames<T> depth = depth_frames<T>(a.depth, a.scale);
  const Blocks blocks{l.frames, (depth.height + kListRows - 1) / kListRows,
                      (depth.width + kWarpPixels - 1) / kWarpPixels};
  for_each(l.frames * (a.histogram.shape[1] + 1), stream, Clear{a, l});
  for_each(l.frames, stream, Take{a, l});
  launch(list_kernel<T>, blocks.grid(), {kTileThreads}, 0, stream, depth, rays_of(a.camera), a, l,
         static_cast<unsigned>(blocks.down));
  launch_normals<T>(normals_of(a, a.fit, 1), stream, sink_of(a, l));
  for_each(l.frames, stream, JudgeGiven{a, l});
}

}  // namespace

std::int64_t hn_labels_scratch(std::int64_t height, std::int64_t width, int, int stride) {
  return layout_doubles(height, width, stride);
}

void hn_labels(const HnLabels& args, Stream stream) {
  if (args.depth.shape[0] * args.depth.shape[1] * args.depth.shape[2] == 0) return;
  if (args.depth.dtype == DType::kUint16) return run<std::uint16_t>(args, stream);
  run<float>(args, stream);
}

void hn_labels_given(const HnLabels& args, Stream stream) {
  if (args.depth.shape[0] * args.depth.shape[1] * args.depth.shape[2] == 0) return;
  if (args.depth.dtype == DType::kUint16) return run_given<std::uint16_t>(args, stream);
  run_given<float>(args, stream);
}

}  // namespace fs
