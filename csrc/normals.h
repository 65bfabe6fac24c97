// normals: depth -> points and normals. The formulas are here; normals.cpp sweeps rows, normals.cu tiles.
#pragma once

#include <cmath>
#include <limits>

#include "core.h"
#include "vec3.h"

namespace fs {

inline constexpr int kMaxRadius = 32, kMaxStride = 16;

struct Pinhole {
  float fx, fy, cx, cy;  // pixels
};

enum class Estimator : int { kPlane = 0, kPca = 1, kCross = 2 };

// How a normal is estimated from the window around a pixel.
struct Fit {
  Estimator estimator = Estimator::kPlane;
  int radius = 5;                                               // the window is (2 radius + 1)^2 pixels
  int smallest = 31;                                            // fewest valid pixels in the window
  float max_residual = std::numeric_limits<float>::infinity();  // plane: the rms dz about the plane may reach
  float residual0 = 0.002f;                                     // max_residual z^2 + residual0; 1/m and m
  float tau = 0.02f, tau0 = 0.01f;                              // pca: a neighbour counts when |dz| < tau z^2 + tau0
};

struct Normals {
  Array depth;            // (N, H, W) uint16 or float32, in units of `scale` metres
  float scale = 1;        // metres for one unit of depth
  Pinhole camera{};       // of the depth image
  Fit fit;                // estimator and its window
  int stride = 1;         // normals are made at every stride-th row and column, from 0
  View4<float> points;    // (N, 3, H, W) metres, NaN without depth; null when not wanted
  View4<float> normals;   // (N, 3, ceil(H / stride), ceil(W / stride)), NaN where undefined; null when not wanted
  View2<double> scratch;  // (workers, normals_scratch(...)); the CPU's alone
};
void normals(const Normals& args, Stream stream);

// Doubles of scratch one worker needs on the CPU.
std::int64_t normals_scratch(std::int64_t height, std::int64_t width, int radius);

// Metres of one raw depth, 0 for "no measurement" (0, negative, NaN and inf).
FS_HD float metres(std::uint16_t raw, float scale) {
  return static_cast<float>(raw) * scale;
}
FS_HD float metres(float raw, float scale) {
  const float z = raw * scale;
  return z > 0 && z < std::numeric_limits<float>::infinity() ? z : 0.f;
}
FS_HD float inverse(float z) {
  return z > 0 ? 1 / z : 0.f;
}

FS_HD Vec3f ray(const Pinhole& k, float u, float v) {
  return {(u - k.cx) * (1 / k.fx), (v - k.cy) * (1 / k.fy), 1.f};
}

// Sums over the valid pixels of a window; i and j count columns and rows from the pixel, d = 1 / z - base. With a base
// near the surface, the residual is no small difference of large sums.
struct PlaneSums {
  float n = 0, i = 0, j = 0, ii = 0, ij = 0, jj = 0;
  float d = 0, id = 0, jd = 0, dd = 0;
  float base = 0;
};

// What a cross product needs of the camera: its focal lengths over the radius.
struct CrossScale {
  float x, y;
};
FS_HD CrossScale cross_scale(const Pinhole& k, int radius) {
  return {k.fx / static_cast<float>(radius), k.fy / static_cast<float>(radius)};
}

// The normal of the two differences across a pixel, du = p(u + r, v) - p(u - r, v) and dv = p(u, v + r) - p(u, v - r),
// which is dv x du made unit: it looks at the camera. NaN unless `valid` and where a depth is NaN. With the pixel's ray
// and the depths, du = (right - left) ray + r / fx (right + left) e_x and dv alike; their product times fx fy / r^2 is
// below, and a third of the work.
FS_HD Vec3f cross_normal(Vec3f ray, float left, float right, float up, float down, CrossScale k, bool valid) {
  const float across = right + left, along = down + up;
  const float x = k.x * (right - left) * along, y = k.y * (down - up) * across;
  const Vec3f n{x, y, -(x * ray.x + y * ray.y + across * along)};
  const float square = dot(n, n);
  const float scale = inverse_sqrt(square);
  return ((valid & (square > 0)) ? scale : std::numeric_limits<float>::quiet_NaN()) * n;
}

// What the places of a window's valid pixels alone decide: their mean, and the inverse of their scatter.
struct PlanePlaces {
  float inv, mi, mj;    // 1 / n; mean column and row
  float pii, pij, pjj;  // inverse of the 2x2 scatter over n; NaN when the places decide no plane
};

FS_HD PlanePlaces plane_places(float n, float i, float j, float ii, float ij, float jj, int smallest) {
  const float inv = 1 / (n > 1 ? n : 1.f), mi = i * inv, mj = j * inv;
  const float cii = ii * inv - mi * mi, cij = ij * inv - mi * mj, cjj = jj * inv - mj * mj;
  const float det = cii * cjj - cij * cij;
  const bool solvable = (n >= static_cast<float>(smallest)) & (det > 1e-6f * cii * cjj);
  const float inv_det = solvable ? 1 / det : std::numeric_limits<float>::quiet_NaN();
  return {inv, mi, mj, cjj * inv_det, -cij * inv_det, cii * inv_det};
}

// The normal at pixel (u, v) of the plane 1/z = a X/Z + b Y/Z + c, which is -(a, b, c) made unit; NaN when undefined.
// 1/z is gamma at the pixel and grows by alpha a column and beta a row, so a = alpha fx, b = beta fy. residual2: mean
// square of what the fit leaves of 1/z; Residual: whether it is held against its limit.
template <bool Residual>
FS_HD Vec3f normal_of_plane(float alpha, float beta, float gamma, float residual2, const Pinhole& k, const Fit& fit,
                            float u, float v, bool valid) {
  const float a = alpha * k.fx, b = beta * k.fy, c = gamma - alpha * (u - k.cx) - beta * (v - k.cy);
  bool defined = valid & (gamma > 0);
  if constexpr (Residual) {
    const float limit = fit.max_residual + fit.residual0 * gamma * gamma;  // of the rms in 1/z = (rms dz) / z^2
    defined = defined & (residual2 <= limit * limit);
  }
  const float scale = (defined ? -1.f : std::numeric_limits<float>::quiet_NaN()) * inverse_sqrt(a * a + b * b + c * c);
  return {a * scale, b * scale, c * scale};
}

// The normal of the plane fitted to the window of pixel (u, v) by least squares.
// d, id, jd, dd and base as in PlaneSums.
template <bool Residual = true>
FS_HD Vec3f plane_normal(const PlanePlaces& p, float d, float id, float jd, float dd, float base, const Pinhole& k,
                         const Fit& fit, float u, float v, bool valid) {
  const float md = d * p.inv, cid = id * p.inv - p.mi * md, cjd = jd * p.inv - p.mj * md;
  const float alpha = cid * p.pii + cjd * p.pij, beta = cid * p.pij + cjd * p.pjj;
  const float gamma = base + md - alpha * p.mi - beta * p.mj;
  const float residual2 = dd * p.inv - md * md - alpha * cid - beta * cjd;
  return normal_of_plane<Residual>(alpha, beta, gamma, residual2, k, fit, u, v, valid);
}
FS_HD Vec3f plane_normal(const PlaneSums& s, const Pinhole& k, const Fit& fit, float u, float v, bool valid) {
  return plane_normal(plane_places(s.n, s.i, s.j, s.ii, s.ij, s.jj, fit.smallest), s.d, s.id, s.jd, s.dd, s.base, k,
                      fit, u, v, valid);
}

// A window without holes: its places have their mean at the pixel and scatter alike along rows and columns.
struct WholeWindow {
  float inv, slope;  // 1 / n; 1 / sum of i i
};
FS_HD WholeWindow whole_window(int radius) {
  const float r = static_cast<float>(radius), n = (2 * r + 1) * (2 * r + 1);
  return {1 / n, 3 / (n * r * (r + 1))};
}
template <bool Residual>
FS_HD Vec3f plane_normal(const WholeWindow& w, float d, float id, float jd, float dd, const Pinhole& k, const Fit& fit,
                         float u, float v) {
  const float alpha = id * w.slope, beta = jd * w.slope, gamma = d * w.inv;
  const float residual2 = (dd - alpha * id - beta * jd) * w.inv - gamma * gamma;
  return normal_of_plane<Residual>(alpha, beta, gamma, residual2, k, fit, u, v, true);
}

// Sums over the neighbours that lie on the pixel's own surface; p is a neighbour's point less the pixel's point.
struct PcaSums {
  float n = 0;
  Vec3f p;
  Sym3f pp;
};

FS_HD bool same_surface(float z, float neighbour, const Fit& fit) {
  return (neighbour > 0) & (std::fabs(neighbour - z) < fit.tau * z * z + fit.tau0);
}

// The smallest eigenvector of the neighbours' covariance, turned to the camera; NaN when undefined.
FS_HD Vec3f pca_normal(const PcaSums& s, const Fit& fit, Vec3f towards, bool valid) {
  const float inv = 1 / (s.n > 1 ? s.n : 1.f);
  const Vec3f m = inv * s.p;
  const Sym3f c{s.pp.xx * inv - m.x * m.x, s.pp.xy * inv - m.x * m.y, s.pp.xz * inv - m.x * m.z,
                s.pp.yy * inv - m.y * m.y, s.pp.yz * inv - m.y * m.z, s.pp.zz * inv - m.z * m.z};
  const float trace = c.xx + c.yy + c.zz;
  const float minors = c.xx * c.yy - c.xy * c.xy + c.xx * c.zz - c.xz * c.xz + c.yy * c.zz - c.yz * c.yz;
  const bool flat = minors > 1e-9f * trace * trace;  // else the neighbours lie on a line
  const bool defined = valid & (s.n >= static_cast<float>(fit.smallest)) & flat;
  const Vec3f n = smallest_eigenvector_of_rank2(c);
  const float sign = dot(n, towards) > 0 ? -1.f : 1.f;
  return (defined ? sign : std::numeric_limits<float>::quiet_NaN()) * n;
}

}  // namespace fs
