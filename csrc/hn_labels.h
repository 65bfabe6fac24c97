// hn_labels: depth -> height/normal labels, with the gravity and the floor they were made from.
#pragma once

#include "normals.h"

namespace fs {

enum class Gravity : int { kManhattan = 0, kFloorWall = 1 };
enum class Verdict : int { kAccepted = 0, kNoDepth = 1, kGravity = 2, kNoFloor = 3 };

// The numbers of the method; the defaults live in fastseg/ops/hn_labels.py.
struct Rules {
  Gravity gravity = Gravity::kFloorWall;
  float lambda = 0.3f;          // weight of |X|_1 in the Manhattan objective
  float tolerance = 1e-4f;      // the objective has converged when it falls by less than this part
  int iterations = 100;         // at most, of the Manhattan frame
  int fewest_normals = 100;     // under this many, gravity is not estimated
  float max_disagreement = 10;  // degrees between the two gravity estimators
  float percentile = 1;         // of the heights: the floor
  float min_valid = 0.1f;       // fewest valid pixels, as a part of the image
  float min_aligned = 0.8f;     // of the points at or below the floor, so many must look up
  float aligned_cosine = 0.8660254f;
};

struct HnLabels {
  Array depth;                        // (N, H, W) uint16 or float32, in units of `scale` metres
  float scale = 1;                    // metres for one unit of depth
  Pinhole camera{};                   // of the depth image
  Fit fit, gravity_fit;               // the normals of the label, and those of gravity
  int stride = 4;                     // gravity looks at every stride-th row and column
  Rules rules;                        // thresholds of the method
  View2<const double> prior;          // (N, 3) where up is expected, unit; (N, 4) up and floor_m of hn_labels_given
  View1<const float> height_edges;    // (n_height - 1) inner edges in metres, ascending
  View1<const float> normal_cosines;  // (n_normal - 1) cosines of the inner edges of the folded angle, descending
  View4<float> points;                // (N, 3, H, W) metres, NaN without depth; null when not wanted
  View4<float> normals;               // (N, 3, H, W) of `fit`, NaN where undefined; null when not wanted
  View3<std::uint8_t> label;      // (N, H, W) normal_bin * n_height + height_bin, 255 = ignore; null when not wanted
  View2<float> up;                // (N, 3) unit, camera frame
  View2<float> figures;           // (N, 4) floor_m, aligned_fraction, valid_fraction, disagreement_deg
  View1<std::int32_t> verdict;    // (N) Verdict
  View2<std::int32_t> histogram;  // (N, n_normal * n_height) pixels of each label
  View2<double> scratch;          // CPU: (workers, hn_labels_scratch(...)); GPU: (N, hn_labels_scratch(...))
};
void hn_labels(const HnLabels& args, Stream stream);

// The same labels with up and floor given, not found: frames are accepted unless they have too little depth.
void hn_labels_given(const HnLabels& args, Stream stream);

// Doubles of scratch for one worker (CPU) or one frame (GPU).
std::int64_t hn_labels_scratch(std::int64_t height, std::int64_t width, int radius, int stride);

inline constexpr int kFloor = 0, kAligned = 1, kValid = 2, kDisagreement = 3;  // columns of HnLabels::figures
inline constexpr float kDegrees = 57.29577951308232f;
inline constexpr std::uint8_t kIgnore = 255;

// One step of the robust Manhattan frame, 1/2 |R N - X|_F^2 + lambda |X|_1 over X by soft thresholding:
// the objective, and X N^T from which the next R comes.
struct FrameSums {
  float objective = 0;
  float m[9] = {};  // rows of X N^T
};

FS_HD float soft_threshold(float y, float lambda) {
  const float x = std::fabs(y) - lambda;
  return x > 0 ? std::copysign(x, y) : 0.f;
}

// `weight` is 1 for a normal that counts, else 0 (n must then be finite).
FS_HD void add_to_frame(FrameSums& s, const Mat3f& r, Vec3f n, float lambda, float weight) {
  const Vec3f y = r * n;
  const Vec3f x{soft_threshold(y.x, lambda) * weight, soft_threshold(y.y, lambda) * weight,
                soft_threshold(y.z, lambda) * weight};
  const Vec3f d = weight * y - x;
  s.objective += 0.5f * dot(d, d) + lambda * (std::fabs(x.x) + std::fabs(x.y) + std::fabs(x.z));
  s.m[0] += x.x * n.x, s.m[1] += x.x * n.y, s.m[2] += x.x * n.z;
  s.m[3] += x.y * n.x, s.m[4] += x.y * n.y, s.m[5] += x.y * n.z;
  s.m[6] += x.z * n.x, s.m[7] += x.z * n.y, s.m[8] += x.z * n.z;
}

// Floor/wall gravity runs five iterations with a cone of 45 degrees, then five with 15 (Gupta et al.).
struct Cone {
  float cosine, sine;
};
inline constexpr int kFloorWallSteps = 10;
FS_HD Cone cone_of(int step) {
  return step < kFloorWallSteps / 2 ? Cone{0.70710678f, 0.70710678f} : Cone{0.96592583f, 0.25881905f};
}

// One step of floor/wall gravity: sum over walls of n n^T minus sum over floors, within the cone.
FS_HD void add_to_floor_wall(float (&m)[6], Vec3f up, Vec3f n, Cone cone, float weight) {
  const float t = std::fabs(dot(up, n));
  const float w = weight * ((t < cone.sine ? 1.f : 0.f) - (t > cone.cosine ? 1.f : 0.f));
  m[0] += w * n.x * n.x, m[1] += w * n.x * n.y, m[2] += w * n.x * n.z;
  m[3] += w * n.y * n.y, m[4] += w * n.y * n.z, m[5] += w * n.z * n.z;
}

// The rotation whose second row is -up: the frame in which the search starts.
FS_HD Mat3d frame_of(Vec3d up) {
  const Vec3d y = -up;
  const Vec3d side = std::fabs(y.x) < 0.9 ? Vec3d{1, 0, 0} : Vec3d{0, 0, 1};
  const Vec3d x = normalize(side - dot(side, y) * y);
  return {x, y, cross(x, y)};
}

// The axis of the frame, or its opposite, nearest to the prior.
FS_HD Vec3d nearest_axis(const Mat3d& r, Vec3d prior) {
  const double a = dot(r.r0, prior), b = dot(r.r1, prior), c = dot(r.r2, prior);
  const double aa = std::fabs(a), bb = std::fabs(b), cc = std::fabs(c);
  const Vec3d axis = aa >= bb && aa >= cc ? r.r0 : bb >= cc ? r.r1 : r.r2;
  return dot(axis, prior) < 0 ? -axis : axis;
}

// Up after a step of floor/wall gravity: the smallest eigenvector with the sign kept; unchanged when no normal voted.
FS_HD Vec3d floor_wall_up(const Sym3d& m, Vec3d up) {
  if (!(std::fabs(m.xx) + std::fabs(m.yy) + std::fabs(m.zz) > 0)) return up;
  const Vec3d next = eigen(m).vector[0];
  return dot(next, up) < 0 ? -next : next;
}

FS_HD float angle_deg(Vec3d a, Vec3d b) {
  const double c = norm(cross(a, b)), d = dot(a, b);
  return static_cast<float>(std::atan2(c, d)) * kDegrees;
}

// The order statistic that is the floor: index of the percentile among n sorted values.
FS_HD std::int64_t floor_rank(float percentile, std::int64_t n) {
  return static_cast<std::int64_t>(static_cast<double>(percentile) / 100 * static_cast<double>(n - 1));
}

// Height of a pixel's point along up: up . p, with p = z ray.
FS_HD float height_of(Vec3f up, const Pinhole& k, float z, float u, float v) {
  return dot(up, ray(k, u, v)) * z;
}

// The label of a point `height` above the floor whose normal has cosine `c` to up; ignore when c is NaN.
FS_HD std::uint8_t label_of(float height, float c, const float* height_edges, int n_edges, const float* cosines,
                            int n_cosines) {
  int height_bin = 0, normal_bin = 0;
  for (int e = 0; e < n_edges; ++e) height_bin += height >= height_edges[e];
  for (int e = 0; e < n_cosines; ++e) normal_bin += std::fabs(c) <= cosines[e];
  return c == c ? static_cast<std::uint8_t>(normal_bin * (n_edges + 1) + height_bin) : kIgnore;
}

// The part of the points at or below the floor that look up, among those that have a normal; 0 when hardly any has.
FS_HD float aligned_fraction(std::int64_t low, std::int64_t defined, std::int64_t aligned) {
  return defined > 0 && defined * 10 >= low ? static_cast<float>(aligned) / static_cast<float>(defined) : 0.f;
}

// Whether the frame is kept, from its figures; `gravity_found` says that the estimators ran and converged.
FS_HD Verdict verdict_of(const Rules& r, float valid, bool gravity_found, float disagreement, float aligned) {
  if (!(valid >= r.min_valid)) return Verdict::kNoDepth;
  if (!gravity_found || !(disagreement <= r.max_disagreement)) return Verdict::kGravity;
  return aligned >= r.min_aligned ? Verdict::kAccepted : Verdict::kNoFloor;
}

// The first half of hn_labels_given's answer for a frame, known before it is looked at.
FS_HD void take_given(const HnLabels& a, std::int64_t frame) {
  for (int axis = 0; axis < 3; ++axis) a.up(frame, axis) = static_cast<float>(a.prior(frame, axis));
  a.figures(frame, kFloor) = static_cast<float>(a.prior(frame, 3));
  a.figures(frame, kDisagreement) = std::numeric_limits<float>::quiet_NaN();
}

// The second half, from the part of the pixels with depth and the part of the lowest points that look up.
FS_HD void judge_given(const HnLabels& a, std::int64_t frame, float valid, float aligned) {
  a.figures(frame, kAligned) = aligned, a.figures(frame, kValid) = valid;
  const Verdict verdict = valid >= a.rules.min_valid ? Verdict::kAccepted : Verdict::kNoDepth;
  a.verdict(frame) = static_cast<std::int32_t>(verdict);
}

}  // namespace fs
