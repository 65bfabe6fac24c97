// On the GPU a frame of 480x640 float32 depth costs, at 4.0 TB/s of memory bandwidth and 925 G warp instructions a
// second (132 multiprocessors at 1.755 GHz):
//   kernel         bytes a pixel, in + out   floor in us   instructions a pixel   in us   bound by
//   points         4 + 12                    1.2           40                     0.4     bytes
//   cross, points  4 + 24                    2.2           160                    1.7     bytes
//   plane R = 3    4 + 12                    1.2           190                    2.0     instructions
//   plane R = 5    4 + 12                    1.2           215                    2.2     instructions
//   plane R = 10   4 + 12                    1.2           280                    2.9     instructions
//   pca R = 5      4 + 12                    1.2           2,900                  30      instructions
// Points beside normals add 12 bytes and 18 instructions; uint16 depth saves 2 bytes. Instructions are counted in the
// machine code (sm_90) along the path of a window without holes, margins included; one with holes costs half as many
// again.
#include "normals.h"
#include "normals_tile_launch.h"

namespace fs {
namespace {

StoreQuads sink_of(const Normals& a) {
  const std::int64_t width = a.depth.shape[2];
  StoreQuads sink{{}, a.normals, rays_of(a.camera), a.stride, false};
  if (a.stride == 1 || !a.normals.data) sink.points = a.points;
  sink.fours = a.stride == 1 && in_fours(a.normals.data, width) && in_fours(sink.points.data, width);
  return sink;
}

template <class T>
void write_points(const Normals& a, Stream stream) {
  const Blocks blocks = quad_blocks(a.depth.shape[0], a.depth.shape[1], a.depth.shape[2]);
  const StoreQuads sink{a.points, {}, rays_of(a.camera), 1, in_fours(a.points.data, a.depth.shape[2])};
  launch(points_kernel<T>, blocks.grid(), {kTileThreads}, 0, stream, depth_frames<T>(a.depth, a.scale),
         static_cast<unsigned>(blocks.down), sink);
}

template <class T>
void run(const Normals& a, Stream stream) {
  if (a.points.data && (a.stride > 1 || !a.normals.data)) write_points<T>(a, stream);
  if (a.normals.data) launch_normals<T>(a, stream, sink_of(a));
}

}  // namespace

std::int64_t normals_scratch(std::int64_t, std::int64_t, int) {
  return 0;
}

void normals(const Normals& args, Stream stream) {
  if (args.depth.shape[0] * args.depth.shape[1] * args.depth.shape[2] == 0) return;
  if (args.depth.dtype == DType::kUint16) return run<std::uint16_t>(args, stream);
  run<float>(args, stream);
}

}  // namespace fs
