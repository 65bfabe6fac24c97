// Gravity on the GPU: both estimators, every iteration, in one launch. Only for .cu files.
//
// A block of 1024 threads a frame: the iterations follow each other, and a barrier within a block takes tens of
// nanoseconds where one between blocks takes a microsecond or more, as much as the sums themselves (19,200 normals a
// 640x480 frame at stride 4, read from the L2 cache). Frames run side by side, one or two on each multiprocessor.
#pragma once

#include "hn_labels_select.h"

namespace fs {

inline constexpr int kGuesses = 4096;  // most heights in the sample that bounds the floor

FS_DEVICE Vec3f single(Vec3d a) {
  return {static_cast<float>(a.x), static_cast<float>(a.y), static_cast<float>(a.z)};
}
FS_DEVICE Vec3d wide(Vec3f a) {
  return {a.x, a.y, a.z};
}

FS_DEVICE float square(const Mat3f& m) {
  return dot(m.r0, m.r0) + dot(m.r1, m.r1) + dot(m.r2, m.r2);
}

// The rotation nearest to m: m's polar factor by Newton's iteration X <- (s X + X^-T / s) / 2 (Higham), which takes a
// tenth of the time of Jacobi's and a thread that all others wait for; where m is nearly singular or a reflection, by
// nearest_rotation.
FS_DEVICE Mat3f polar_rotation(const Mat3f& m) {
  const float scale = inverse_sqrt(square(m) * (1.f / 3));
  Mat3f x{scale * m.r0, scale * m.r1, scale * m.r2};
  if (!(determinant(x) > 1e-3f)) return nearest_rotation(m);
  for (int step = 0; step < 12; ++step) {
    const Mat3f c{cross(x.r1, x.r2), cross(x.r2, x.r0), cross(x.r0, x.r1)};  // det(X) X^-T
    const float det = dot(x.r0, c.r0), s2 = std::sqrt(square(c) / (square(x) * det * det));
    const float s = std::sqrt(s2), a = 0.5f * s, b = 0.5f / (s * det);
    const Mat3f next{a * x.r0 + b * c.r0, a * x.r1 + b * c.r1, a * x.r2 + b * c.r2};
    const float moved = square({next.r0 - x.r0, next.r1 - x.r1, next.r2 - x.r2});
    x = next;
    if (moved < 1e-12f) break;
  }
  return x;
}

// floor_wall_up in single precision, in closed form.
FS_DEVICE Vec3f floor_wall_up(const Sym3f& m, Vec3f up) {
  if (!(std::fabs(m.xx) + std::fabs(m.yy) + std::fabs(m.zz) > 0)) return up;
  const Vec3f next = smallest_eigenvector(m);
  return dot(next, up) < 0 ? -next : next;
}

// The sums over the block of `Count` values, in the lanes of the first warp alone: lane c holds sum c. `shared` has
// room for kSelectWarps * Count.
template <int Count>
FS_DEVICE double block_sums(const float (&value)[Count], float* shared) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  for (int c = 0; c < Count; ++c) {
    const float sum = warp_sum(value[c]);
    if (lane == 0) shared[warp * Count + c] = sum;
  }
  FS_SYNC();
  double total = 0;
  for (int w = 0; warp == 0 && lane < Count && w < kSelectWarps; ++w) total += shared[w * Count + lane];
  return total;
}

// What the first warp tells the block after a step.
struct Step {
  Mat3f frame;
  Vec3f up;
  int go_on, settled;
};

// Normal i of a frame's sample, zero with weight 0 where undefined.
FS_DEVICE Vec3f sample_at(const float* sample, int samples, int i, float& weight) {
  const Vec3f n{sample[i], sample[samples + i], sample[2 * samples + i]};
  weight = n.x == n.x ? 1.f : 0.f;
  return weight > 0 ? n : Vec3f{};
}

// One step of the robust Manhattan frame; `before` is the objective, kept by the first warp.
FS_DEVICE void manhattan_step(const Rules& rules, const float* sample, int samples, float* shared, double& before,
                              Step* step) {
  const Mat3f r = step->frame;
  FrameSums part;
  float counted = 0;
  for (int i = static_cast<int>(threadIdx.x); i < samples; i += kSelectThreads) {
    float weight;
    const Vec3f n = sample_at(sample, samples, i, weight);
    add_to_frame(part, r, n, rules.lambda, weight);
    counted += weight;
  }
  const float* const m = part.m;
  const float value[11] = {m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7], m[8], part.objective, counted};
  const double total = block_sums(value, shared);
  if (threadIdx.x < 32) {
    float next[9];
    for (int c = 0; c < 9; ++c) next[c] = static_cast<float>(shfl(total, c));
    const double objective = shfl(total, 9);
    const bool enough = shfl(total, 10) >= rules.fewest_normals;
    const bool settled = before - objective < rules.tolerance * before;
    before = objective;
    if (threadIdx.x == 0) {
      step->go_on = enough && !settled, step->settled = enough && settled;
      if (enough && !settled)
        step->frame =
            polar_rotation({{next[0], next[1], next[2]}, {next[3], next[4], next[5]}, {next[6], next[7], next[8]}});
    }
  }
  FS_SYNC();
}

FS_DEVICE void floor_wall_step(const float* sample, int samples, Cone cone, float* shared, Step* step) {
  const Vec3f up = step->up;
  float part[6] = {};
  for (int i = static_cast<int>(threadIdx.x); i < samples; i += kSelectThreads) {
    float weight;
    const Vec3f n = sample_at(sample, samples, i, weight);
    add_to_floor_wall(part, up, n, cone, weight);
  }
  const double total = block_sums(part, shared);
  if (threadIdx.x < 32) {
    float m[6];
    for (int c = 0; c < 6; ++c) m[c] = static_cast<float>(shfl(total, c));
    if (threadIdx.x == 0) step->up = floor_wall_up(Sym3f{m[0], m[1], m[2], m[3], m[4], m[5]}, up);
  }
  FS_SYNC();
}

// A height that about twice the wanted share of the image lies below, guessed from a sample; all lies below the largest
// float.
template <class T>
FS_DEVICE float guess_bound(const DepthFrames<T>& depth, const Rays& rays, Vec3f up, int frame, float percentile,
                            unsigned* guess, int* counted, const SelectShared& shared) {
  const int size = depth.height * depth.width, step = (size + kGuesses - 1) / kGuesses, n = (size + step - 1) / step;
  if (threadIdx.x == 0) *counted = 0;
  FS_SYNC();
  int valid = 0;
  for (int i = static_cast<int>(threadIdx.x); i < n; i += kSelectThreads) {
    const int v = i * step / depth.width, u = i * step % depth.width;
    const float z = depth.at(frame, v, u);
    guess[i] = z > 0 ? ordered(height_at(rays, up, z, u, v)) : ~0u;  // the bits of a NaN
    valid += z > 0;
  }
  valid = warp_sum(valid);
  if (threadIdx.x % 32 == 0) atomic_add(counted, valid);
  FS_SYNC();
  valid = *counted;
  const std::int64_t rank = 2 * floor_rank(percentile, valid) + 30;
  if (rank >= valid) return std::numeric_limits<float>::max();
  const auto of = [=](int i, unsigned& bits) {
    bits = guess[i];
    return bits != ~0u;
  };
  return unordered(select(n, static_cast<int>(rank), of, shared));
}

// Up, the estimators' disagreement, and a bound for the floor.
template <class T>
FS_KERNEL void __launch_bounds__(kSelectThreads) gravity_kernel(DepthFrames<T> depth, Rays rays, HnLabels a, Layout l) {
  FS_SHARED(float, sums, kSelectWarps * 11);
  FS_SHARED(Step, step, 1);
  FS_SHARED(Search, search, 1);
  FS_SHARED(int, bucket, kBuckets);
  FS_SHARED(int, total, kSelectWarps);
  FS_SHARED(int, counted, 1);
  FS_SHARED(unsigned, guess, kGuesses);
  const int frame = static_cast<int>(blockIdx.x);
  const float* const sample = l.sample + std::int64_t{frame} * 3 * l.samples;
  const Vec3d prior{a.prior(frame, 0), a.prior(frame, 1), a.prior(frame, 2)};
  if (threadIdx.x == 0) {
    const Mat3d start = frame_of(prior);
    *step = {{single(start.r0), single(start.r1), single(start.r2)}, single(prior), 1, 0};
  }
  FS_SYNC();
  double before = std::numeric_limits<double>::infinity();
  for (int k = 0; k < a.rules.iterations && step->go_on; ++k)
    manhattan_step(a.rules, sample, l.samples, sums, before, step);
  const bool found = step->settled != 0;
  const Mat3f r = step->frame;
  const Vec3d axis = found ? nearest_axis({wide(r.r0), wide(r.r1), wide(r.r2)}, prior) : prior;
  FS_SYNC();
  if (threadIdx.x == 0) step->up = single(axis);
  FS_SYNC();
  for (int k = 0; found && k < kFloorWallSteps; ++k) floor_wall_step(sample, l.samples, cone_of(k), sums, step);
  const Vec3f up = a.rules.gravity == Gravity::kManhattan ? single(axis) : step->up;
  const float bound = guess_bound(depth, rays, up, frame, a.rules.percentile, guess, counted, {search, bucket, total});
  if (threadIdx.x != 0) return;
  a.up(frame, 0) = up.x, a.up(frame, 1) = up.y, a.up(frame, 2) = up.z;
  a.figures(frame, kDisagreement) = found ? angle_deg(axis, wide(step->up)) : std::numeric_limits<float>::quiet_NaN();
  l.counters[frame].found = found, l.counters[frame].bound = bound;
}

}  // namespace fs
