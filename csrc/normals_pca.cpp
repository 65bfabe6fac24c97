#include "normals_pca.h"

#include <algorithm>

#include "lanes.h"

namespace fs {
namespace {

std::int64_t padded(std::int64_t width, int radius) {
  return whole_lanes(width) + 2 * radius;
}

// Metres of the window's rows around row v, `pitch` floats a row, `radius` zeros at either end.
void depth_rows(const DepthImage& depth, std::int64_t v, int radius, std::int64_t pitch, float* z) {
  for (std::int64_t j = v - radius; j <= v + radius; ++j, z += pitch) {
    std::fill_n(z, pitch, 0.f);
    if (j >= 0 && j < depth.height) metres_row(depth, j, 0, depth.width, z + radius);
  }
}

// The sums over the neighbours of kLanes pixels of row v from column u on that lie on the pixels' own surface.
FS_CLONES void neighbour_sums(const float* z, std::int64_t pitch, const Pinhole& k, const Fit& fit, std::int64_t u,
                              std::int64_t v, float (&out)[10][kLanes]) {
  const float left = (static_cast<float>(u) - k.cx) / k.fx, y0 = (static_cast<float>(v) - k.cy) / k.fy;
  const float* const centre = z + fit.radius * pitch + fit.radius + u;
  float sums[10][kLanes] = {}, x0[kLanes];
  for (int l = 0; l < kLanes; ++l) x0[l] = left + static_cast<float>(l) / k.fx;
  for (int j = -fit.radius; j <= fit.radius; ++j) {
    const float y1 = y0 + static_cast<float>(j) / k.fy;
    for (int i = -fit.radius; i <= fit.radius; ++i) {
      const float* const other = centre + j * pitch + i;
      const float step = static_cast<float>(i) / k.fx;
      for (int l = 0; l < kLanes; ++l) {
        const float z0 = centre[l], z1 = other[l], m = same_surface(z0, z1, fit) ? 1.f : 0.f;
        const float x = m * ((x0[l] + step) * z1 - x0[l] * z0), y = m * (y1 * z1 - y0 * z0), d = m * (z1 - z0);
        sums[0][l] += m, sums[1][l] += x, sums[2][l] += y, sums[3][l] += d;
        sums[4][l] += x * x, sums[5][l] += x * y, sums[6][l] += x * d;
        sums[7][l] += y * y, sums[8][l] += y * d, sums[9][l] += d * d;
      }
    }
  }
  __builtin_memcpy(out, sums, sizeof sums);
}

FS_CLONES void pca_row(const float* z, std::int64_t pitch, const RowPlan& plan, std::int64_t v,
                       float* const (&out)[3]) {
  const std::int64_t width = plan.depth.width, stride = plan.stride;
  const Fit& fit = plan.fit;
  float s[10][kLanes], solved[3][kLanes];
  for (std::int64_t u = 0; u < width; u += kLanes) {
    neighbour_sums(z, pitch, plan.camera, fit, u, v, s);
    const float* const centre = z + fit.radius * pitch + fit.radius + u;
    const float left = static_cast<float>(u);
#pragma GCC ivdep
    for (int l = 0; l < kLanes; ++l) {
      const PcaSums one{s[0][l], {s[1][l], s[2][l], s[3][l]}, {s[4][l], s[5][l], s[6][l], s[7][l], s[8][l], s[9][l]}};
      const Vec3f towards = ray(plan.camera, left + static_cast<float>(l), static_cast<float>(v));
      const Vec3f n = pca_normal(one, fit, towards, centre[l] > 0);
      solved[0][l] = n.x, solved[1][l] = n.y, solved[2][l] = n.z;
    }
    for (std::int64_t p = (u + stride - 1) / stride; p * stride < std::min(width, u + kLanes); ++p)
      for (int axis = 0; axis < 3; ++axis) out[axis][p] = solved[axis][p * stride - u];
  }
}

}  // namespace

std::int64_t pca_row_scratch(std::int64_t width, int radius) {
  return (2 * radius + 1) * padded(width, radius);
}

void pca_row(const RowPlan& plan, std::int64_t v, float* scratch, float* const (&out)[3]) {
  const std::int64_t pitch = padded(plan.depth.width, plan.fit.radius);
  depth_rows(plan.depth, v, plan.fit.radius, pitch, scratch);
  pca_row(scratch, pitch, plan, v, out);
}

}  // namespace fs
