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
  double total[4] = {};  // four sums that need not wait for each other
  for (int w = 0; warp == 0 && lane < Count && w < kSelectWarps; ++w) total[w % 4] += shared[w * Count + lane];
  return (total[0] + total[1]) + (total[2] + total[3]);
}

// What the first warp tells the block after a step; plain numbers, as shared memory runs no constructors.
struct Step {
  float frame[9], up[3];
  int settled;
};
FS_DEVICE Mat3f frame_in(const Step* s) {
  const float* const m = s->frame;
  return {{m[0], m[1], m[2]}, {m[3], m[4], m[5]}, {m[6], m[7], m[8]}};
}
FS_DEVICE Vec3f up_in(const Step* s) {
  return {s->up[0], s->up[1], s->up[2]};
}
FS_DEVICE void put(float* at, Vec3f a) {
  at[0] = a.x, at[1] = a.y, at[2] = a.z;
}
FS_DEVICE void put(float* at, const Mat3f& m) {
  put(at, m.r0), put(at + 3, m.r1), put(at + 6, m.r2);
}

// The normals for gravity of a frame.
struct Sample {
  float* x;  // (3, n); zero where undefined, as a zero adds nothing to any sum below
  int n;

  FS_DEVICE Vec3f at(int i) const { return {x[i], x[n + i], x[2 * n + i]}; }
};

// Puts zeros in the place of undefined normals; every thread those that it alone reads. True for all threads when
// enough normals are defined.
FS_DEVICE bool prepare(const Sample& sample, int fewest, int* counted) {
  int defined = 0;
  for (int i = static_cast<int>(threadIdx.x); i < sample.n; i += kSelectThreads) {
    const bool known = sample.x[i] == sample.x[i];
    defined += known;
    for (int axis = 0; axis < 3 && !known; ++axis) sample.x[axis * sample.n + i] = 0;
  }
  if (threadIdx.x == 0) *counted = 0;
  FS_SYNC();
  defined = warp_sum(defined);
  if (threadIdx.x % 32 == 0) atomic_add(counted, defined);
  FS_SYNC();
  return *counted >= fewest;
}

// One step of the robust Manhattan frame; `before` is the objective, kept by the first warp.
FS_DEVICE void manhattan_step(const Rules& rules, const Sample& sample, float* shared, double& before, Step* step) {
  const Mat3f r = frame_in(step);
  FrameSums part;
  for (int i = static_cast<int>(threadIdx.x); i < sample.n; i += kSelectThreads)
    add_to_frame(part, r, sample.at(i), rules.lambda, 1.f);
  const float* const m = part.m;
  const float value[10] = {m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7], m[8], part.objective};
  const double total = block_sums(value, shared);
  if (threadIdx.x < 32) {
    float next[9];
    for (int c = 0; c < 9; ++c) next[c] = static_cast<float>(shfl(total, c));
    const double objective = shfl(total, 9);
    const bool settled = before - objective < rules.tolerance * before;
    before = objective;
    if (threadIdx.x == 0) {
      step->settled = settled;
      if (!settled)
        put(step->frame,
            polar_rotation({{next[0], next[1], next[2]}, {next[3], next[4], next[5]}, {next[6], next[7], next[8]}}));
    }
  }
  FS_SYNC();
}

FS_DEVICE void floor_wall_step(const Sample& sample, Cone cone, float* shared, Step* step) {
  const Vec3f up = up_in(step);
  float part[6] = {};
  for (int i = static_cast<int>(threadIdx.x); i < sample.n; i += kSelectThreads)
    add_to_floor_wall(part, up, sample.at(i), cone, 1.f);
  const double total = block_sums(part, shared);
  if (threadIdx.x < 32) {
    float m[6];
    for (int c = 0; c < 6; ++c) m[c] = static_cast<float>(shfl(total, c));
    if (threadIdx.x == 0) put(step->up, floor_wall_up(Sym3f{m[0], m[1], m[2], m[3], m[4], m[5]}, up));
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
FS_KERNEL void __launch_bounds__(kSelectThreads, 1)
    gravity_kernel(DepthFrames<T> depth, Rays rays, HnLabels a, Layout l) {
  FS_SHARED(float, sums, kSelectWarps * 10);
  FS_SHARED(Step, step, 1);
  FS_SHARED(Search, search, 1);
  FS_SHARED(int, bucket, kBuckets);
  FS_SHARED(int, total, kSelectWarps);
  FS_SHARED(int, counted, 1);
  FS_SHARED(unsigned, guess, kGuesses);
  const int frame = static_cast<int>(blockIdx.x);
  const Sample sample{l.sample + std::int64_t{frame} * 3 * l.samples, l.samples};
  const Vec3d prior{a.prior(frame, 0), a.prior(frame, 1), a.prior(frame, 2)};
  if (threadIdx.x == 0) {
    const Mat3d start = frame_of(prior);
    put(step->frame, Mat3f{single(start.r0), single(start.r1), single(start.r2)});
    step->settled = 0;
  }
  const bool enough = prepare(sample, a.rules.fewest_normals, counted);
  double before = std::numeric_limits<double>::infinity();
  for (int k = 0; enough && k < a.rules.iterations && step->settled == 0; ++k)
    manhattan_step(a.rules, sample, sums, before, step);
  const bool found = step->settled != 0;
  const Mat3f r = frame_in(step);
  const Vec3d axis = found ? nearest_axis({wide(r.r0), wide(r.r1), wide(r.r2)}, prior) : prior;
  FS_SYNC();
  if (threadIdx.x == 0) put(step->up, single(axis));
  FS_SYNC();
  for (int k = 0; found && k < kFloorWallSteps; ++k) floor_wall_step(sample, cone_of(k), sums, step);
  const Vec3f up = a.rules.gravity == Gravity::kManhattan ? single(axis) : up_in(step);
  const float bound = guess_bound(depth, rays, up, frame, a.rules.percentile, guess, counted, {search, bucket, total});
  if (threadIdx.x != 0) return;
  a.up(frame, 0) = up.x, a.up(frame, 1) = up.y, a.up(frame, 2) = up.z;
  a.figures(frame, kDisagreement) =
      found ? angle_deg(axis, wide(up_in(step))) : std::numeric_limits<float>::quiet_NaN();
  l.counters[frame].found = found, l.counters[frame].bound = bound;
}

}  // namespace fs
