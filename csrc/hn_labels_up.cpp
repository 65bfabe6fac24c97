#include "hn_labels_up.h"

#include <algorithm>

namespace fs {
namespace {

constexpr std::int64_t kBlock = 1024;  // normals summed in float before the sum joins a double

FS_CLONES void frame_block(const Mat3f& r, const float* x, const float* y, const float* z, std::int64_t n, float lambda,
                           FrameSums& out) {
  float e = 0, m0 = 0, m1 = 0, m2 = 0, m3 = 0, m4 = 0, m5 = 0, m6 = 0, m7 = 0, m8 = 0;
#pragma omp simd reduction(+ : e, m0, m1, m2, m3, m4, m5, m6, m7, m8)
  for (std::int64_t i = 0; i < n; ++i) {
    FrameSums one;
    add_to_frame(one, r, {x[i], y[i], z[i]}, lambda, 1.f);
    e += one.objective;
    m0 += one.m[0], m1 += one.m[1], m2 += one.m[2], m3 += one.m[3], m4 += one.m[4];
    m5 += one.m[5], m6 += one.m[6], m7 += one.m[7], m8 += one.m[8];
  }
  out = {e, {m0, m1, m2, m3, m4, m5, m6, m7, m8}};
}

FS_CLONES void floor_wall_block(Vec3f up, const float* x, const float* y, const float* z, std::int64_t n, Cone cone,
                                float (&out)[6]) {
  float m0 = 0, m1 = 0, m2 = 0, m3 = 0, m4 = 0, m5 = 0;
#pragma omp simd reduction(+ : m0, m1, m2, m3, m4, m5)
  for (std::int64_t i = 0; i < n; ++i) {
    float one[6] = {};
    add_to_floor_wall(one, up, {x[i], y[i], z[i]}, cone, 1.f);
    m0 += one[0], m1 += one[1], m2 += one[2], m3 += one[3], m4 += one[4], m5 += one[5];
  }
  out[0] = m0, out[1] = m1, out[2] = m2, out[3] = m3, out[4] = m4, out[5] = m5;
}

Mat3f single(const Mat3d& m) {
  return {single(m.r0), single(m.r1), single(m.r2)};
}

}  // namespace

// Robust Manhattan frame: alternates soft thresholding and Procrustes; true when the objective settled.
bool manhattan(const Rules& rules, const Sample& s, Vec3d prior, Vec3d& up) {
  Mat3d r = frame_of(prior);
  double before = std::numeric_limits<double>::infinity();
  bool settled = false;
  for (int k = 0; k < rules.iterations && !settled; ++k) {
    const Mat3f rf = single(r);
    double objective = 0, m[9] = {};
    for (std::int64_t at = 0; at < s.n; at += kBlock) {
      FrameSums part;
      frame_block(rf, s.x + at, s.y + at, s.z + at, std::min(kBlock, s.n - at), rules.lambda, part);
      objective += part.objective;
      for (int e = 0; e < 9; ++e) m[e] += part.m[e];
    }
    settled = before - objective < rules.tolerance * before;
    before = objective;
    if (!settled) r = nearest_rotation(Mat3d{{m[0], m[1], m[2]}, {m[3], m[4], m[5]}, {m[6], m[7], m[8]}});
  }
  up = nearest_axis(r, prior);
  return settled;
}

Vec3d floor_wall(const Sample& s, Vec3d up) {
  for (int k = 0; k < kFloorWallSteps; ++k) {
    const Vec3f at = single(up);
    double m[6] = {};
    for (std::int64_t i = 0; i < s.n; i += kBlock) {
      float part[6];
      floor_wall_block(at, s.x + i, s.y + i, s.z + i, std::min(kBlock, s.n - i), cone_of(k), part);
      for (int e = 0; e < 6; ++e) m[e] += part[e];
    }
    up = floor_wall_up(Sym3d{m[0], m[1], m[2], m[3], m[4], m[5]}, up);
  }
  return up;
}

}  // namespace fs
