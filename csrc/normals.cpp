#include "normals.h"

#include <algorithm>

#include "for_each.h"
#include "lanes.h"
#include "normals_across.h"
#include "normals_pca.h"
#include "normals_plane.h"
#include "normals_rows.h"

namespace fs {
namespace {

FS_CLONES void metres_of(const std::uint16_t* raw, std::int64_t n, float scale, float* z) {
  for (std::int64_t i = 0; i < n; ++i) z[i] = metres(raw[i], scale);
}
FS_CLONES void metres_of(const float* raw, std::int64_t n, float scale, float* z) {
  for (std::int64_t i = 0; i < n; ++i) z[i] = metres(raw[i], scale);
}

// Metres for the cross product: NaN where there is no measurement, which spreads by itself.
FS_CLONES void mark_missing(float* z, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) z[i] = z[i] > 0 ? z[i] : std::numeric_limits<float>::quiet_NaN();
}

// Three rows of depth with `radius` pixels without measurement at either end: the window of the cross product.
struct Cross {
  const float *above, *here, *below;
};

FS_CLONES void cross_lanes(const Cross& c, const Pinhole k, int radius, std::int64_t v, std::int64_t width,
                           float* const (&points)[3], float* const (&out)[3]) {
  const CrossScale scale = cross_scale(k, radius);
  const float y = static_cast<float>(v);
#pragma GCC ivdep
  for (std::int64_t u = 0; u < width; ++u) {
    const float here = c.here[u + radius];
    const Vec3f at = ray(k, static_cast<float>(static_cast<int>(u)), y), p = here * at;
    const Vec3f n =
        cross_normal(at, c.here[u], c.here[u + 2 * radius], c.above[u + radius], c.below[u + radius], scale, here > 0);
    points[0][u] = p.x, points[1][u] = p.y, points[2][u] = p.z;
    out[0][u] = n.x, out[1][u] = n.y, out[2][u] = n.z;
  }
}

std::int64_t cross_pitch(std::int64_t width, int radius) {
  return whole_lanes(width + 2 * radius);
}

// A whole row of normals, of which every stride-th is copied when only those are wanted, and its points. The rows of
// depth of the window form a ring, row j in slot j mod (2 radius + 1); each is converted once.
void cross_row(const RowPlan& plan, std::int64_t v, float* scratch, float* const (&points)[3], float* const (&out)[3]) {
  const std::int64_t r = plan.fit.radius, window = 2 * r + 1, pitch = cross_pitch(plan.depth.width, plan.fit.radius);
  const auto slot = [&](std::int64_t j) { return scratch + (6 + (j + window) % window) * pitch; };
  for (std::int64_t j = v == plan.first ? v - r : std::max(v - r, v + r - plan.stride + 1); j <= v + r; ++j) {
    if (v == plan.first || j < 0 || j >= plan.depth.height)
      std::fill_n(slot(j), pitch, std::numeric_limits<float>::quiet_NaN());
    if (j < 0 || j >= plan.depth.height) continue;
    metres_row(plan.depth, j, 0, plan.depth.width, slot(j) + r);
    mark_missing(slot(j) + r, plan.depth.width);
  }
  float* const full[3] = {scratch, scratch + pitch, scratch + 2 * pitch};
  float* const unwanted[3] = {scratch + 3 * pitch, scratch + 4 * pitch, scratch + 5 * pitch};
  cross_lanes({slot(v - r), slot(v), slot(v + r)}, plan.camera, plan.fit.radius, v, plan.depth.width,
              points[0] ? points : unwanted, plan.stride == 1 ? out : full);
  for (std::int64_t p = 0; plan.stride > 1 && p * plan.stride < plan.depth.width; ++p)
    for (int axis = 0; axis < 3; ++axis) out[axis][p] = full[axis][p * plan.stride];
}

// The points of rows [top, bottom) of one frame.
void write_points(const Normals& a, std::int64_t frame, std::int64_t top, std::int64_t bottom, float* scratch) {
  const DepthImage depth = image_of(a.depth, frame, a.scale);
  for (std::int64_t v = top; v < bottom; ++v) {
    metres_row(depth, v, 0, depth.width, scratch);
    points_row(scratch, a.camera, v, depth.width, &a.points(frame, 0, v, 0), &a.points(frame, 1, v, 0),
               &a.points(frame, 2, v, 0));
  }
}

// The normals of rows [top, bottom) of one frame, strip by strip.
void write_normals(const Normals& a, std::int64_t frame, std::int64_t top, std::int64_t bottom, float* scratch) {
  const std::int64_t width = a.depth.shape[2], s = a.stride, step = rows_at_once(a.stride) * s;
  const std::int64_t columns = strip_columns(a.fit.estimator, a.stride, width);
  RowPlan plan{image_of(a.depth, frame, a.scale), a.camera, a.fit, a.stride, top, 0, 0};
  for (; plan.left < width; plan.left += columns) {
    plan.right = std::min(plan.left + columns, width);
    for (std::int64_t v = top; v < bottom; v += step) {
      float* const row[3] = {&a.normals(frame, 0, v / s, plan.left / s), &a.normals(frame, 1, v / s, plan.left / s),
                             &a.normals(frame, 2, v / s, plan.left / s)};
      normal_rows(plan, v, scratch, row, a.normals.shape[3]);
    }
  }
}

// The cross product's points and normals, in one pass over the depth.
void write_both(const Normals& a, std::int64_t frame, std::int64_t top, std::int64_t bottom, float* scratch) {
  const RowPlan plan{image_of(a.depth, frame, a.scale), a.camera, a.fit, 1, top, 0, a.depth.shape[2]};
  for (std::int64_t v = top; v < bottom; ++v) {
    float* const points[3] = {&a.points(frame, 0, v, 0), &a.points(frame, 1, v, 0), &a.points(frame, 2, v, 0)};
    float* const normals[3] = {&a.normals(frame, 0, v, 0), &a.normals(frame, 1, v, 0), &a.normals(frame, 2, v, 0)};
    cross_row(plan, v, scratch, points, normals);
  }
}

// What is wanted of rows [top, bottom) of one frame.
void write_rows(const Normals& a, std::int64_t frame, std::int64_t top, std::int64_t bottom, float* scratch) {
  if (a.points.data && a.normals.data && a.fit.estimator == Estimator::kCross && a.stride == 1)
    return write_both(a, frame, top, bottom, scratch);
  if (a.points.data) write_points(a, frame, top, bottom, scratch);
  if (a.normals.data) write_normals(a, frame, top, bottom, scratch);
}

}  // namespace

FS_CLONES void points_row(const float* z, const Pinhole& k, std::int64_t v, std::int64_t width, float* x, float* y,
                          float* out) {
#pragma GCC ivdep
  for (std::int64_t u = 0; u < width; ++u) {
    const float depth = z[u] > 0 ? z[u] : std::numeric_limits<float>::quiet_NaN();
    const Vec3f p = depth * ray(k, static_cast<float>(static_cast<int>(u)), static_cast<float>(v));
    x[u] = p.x, y[u] = p.y, out[u] = p.z;
  }
}

DepthImage image_of(const Array& depth, std::int64_t frame, float scale) {
  const std::int64_t height = depth.shape[1], width = depth.shape[2], size = depth.dtype == DType::kUint16 ? 2 : 4;
  return {static_cast<const char*>(depth.data) + frame * height * width * size, depth.dtype, scale, height, width};
}

void metres_row(const DepthImage& depth, std::int64_t v, std::int64_t from, std::int64_t to, float* z) {
  const std::int64_t at = v * depth.width + from;
  if (depth.dtype == DType::kUint16)
    return metres_of(static_cast<const std::uint16_t*>(depth.data) + at, to - from, depth.scale, z);
  metres_of(static_cast<const float*>(depth.data) + at, to - from, depth.scale, z);
}

void fetch_row(const DepthImage& depth, std::int64_t v, std::int64_t from, std::int64_t to) {
  constexpr std::int64_t kCacheLine = 64;
  if (v >= depth.height) return;
  const std::int64_t size = depth.dtype == DType::kUint16 ? 2 : 4, at = v * depth.width;
  const char* const row = static_cast<const char*>(depth.data);
  for (std::int64_t byte = (at + from) * size; byte < (at + to) * size; byte += kCacheLine)
    __builtin_prefetch(row + byte);
}

std::int64_t strip_columns(Estimator estimator, int stride, std::int64_t width) {
  return estimator == Estimator::kPlane ? std::int64_t{kStrip} * stride : width;
}

std::int64_t normal_rows_scratch(std::int64_t width, int radius) {
  return std::max(
      {plane_rows_scratch(radius), pca_row_scratch(width, radius), (2 * radius + 7) * cross_pitch(width, radius)});
}

void normal_rows(const RowPlan& plan, std::int64_t v, float* scratch, float* const (&out)[3], std::int64_t pitch) {
  if (plan.fit.estimator == Estimator::kPlane) return plane_rows(plan, v, scratch, out, pitch);
  for (int k = 0; k < rows_at_once(plan.stride) && v + k < plan.depth.height; ++k) {
    float* const row[3] = {out[0] + k * pitch, out[1] + k * pitch, out[2] + k * pitch};
    if (plan.fit.estimator == Estimator::kPca)
      pca_row(plan, v + k, scratch, row);
    else
      cross_row(plan, v + k, scratch, {}, row);
  }
}

std::int64_t normals_scratch(std::int64_t, std::int64_t width, int radius) {
  return (std::max(width, normal_rows_scratch(width, radius)) + 1) / 2;
}

void normals(const Normals& args, Stream) {
  const std::int64_t frames = args.depth.shape[0], height = args.depth.shape[1], workers = args.scratch.shape[0];
  const std::int64_t step = rows_at_once(args.stride) * args.stride, groups = (height + step - 1) / step;
  if (frames == 0 || groups == 0) return;
  const std::int64_t bands = std::min(groups, (workers + frames - 1) / frames);  // of a frame, when frames are few
  for_each_worker(frames * bands, workers, [&](std::int64_t i, std::int64_t worker) {
    const std::int64_t band = i % bands, top = groups * band / bands * step,
                       bottom = groups * (band + 1) / bands * step;
    float* const scratch = reinterpret_cast<float*>(&args.scratch(worker, 0));
    write_rows(args, i / bands, top, std::min(bottom, height), scratch);
  });
}

}  // namespace fs
