#include "hn_labels.h"

#include <algorithm>
#include <cmath>

#include "for_each.h"
#include "normals_rows.h"

namespace fs {
namespace {

constexpr std::int64_t kBlock = 1024;  // normals summed in float before the sum joins a double

// What one frame's steps hand to each other; all of it lies in the worker's scratch.
struct Workspace {
  float* q;          // (H, W) inverse depth
  float* height;     // (H, W) up . p, +inf without depth
  float* sample[3];  // normals for gravity, `samples` of them, finite and packed
  float* low;        // candidates for the floor
  float* row[3];     // a row of normals
  double* rows;      // scratch of NormalRows
};

std::int64_t even(std::int64_t n) {
  return (n + 1) / 2 * 2;
}

// Places for the sampled normals, and one to write past the last.
std::int64_t samples(std::int64_t height, std::int64_t width, int stride) {
  return even((height + stride - 1) / stride * ((width + stride - 1) / stride) + 1);
}

Workspace cut(double* scratch, std::int64_t height, std::int64_t width, int stride) {
  const std::int64_t size = even(height * width), sampled = samples(height, width, stride);
  float* f = reinterpret_cast<float*>(scratch);
  Workspace w{};
  w.q = f, w.height = f + size, w.low = f + 2 * size, f += 3 * size;
  for (float*& s : w.sample) s = f, f += sampled;
  for (float*& r : w.row) r = f, f += even(width);
  w.rows = reinterpret_cast<double*>(f);
  return w;
}

// Packs the defined normals of every stride-th row and column; returns how many.
std::int64_t sample_normals(const HnLabels& a, const Workspace& w, std::int64_t height, std::int64_t width) {
  NormalRows sweep(w.q, height, width, a.camera, a.gravity_fit, a.stride, w.rows);
  const std::int64_t columns = (width + a.stride - 1) / a.stride;
  std::int64_t n = 0;
  for (std::int64_t v = 0; v < height; v += a.stride) {
    sweep.row(v, w.row);
    for (std::int64_t u = 0; u < columns; ++u) {
      for (int c = 0; c < 3; ++c) w.sample[c][n] = w.row[c][u];
      n += w.row[0][u] == w.row[0][u];
    }
  }
  return n;
}

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
  auto row = [](Vec3d r) { return Vec3f{static_cast<float>(r.x), static_cast<float>(r.y), static_cast<float>(r.z)}; };
  return {row(m.r0), row(m.r1), row(m.r2)};
}

// Robust Manhattan frame: alternates soft thresholding and Procrustes; true when the objective settled.
bool manhattan(const Rules& rules, const Workspace& w, std::int64_t n, Vec3d prior, Vec3d& up) {
  Mat3d r = frame_of(prior);
  double before = std::numeric_limits<double>::infinity();
  bool settled = false;
  for (int k = 0; k < rules.iterations && !settled; ++k) {
    const Mat3f rf = single(r);
    double objective = 0, m[9] = {};
    for (std::int64_t at = 0; at < n; at += kBlock) {
      FrameSums part;
      frame_block(rf, w.sample[0] + at, w.sample[1] + at, w.sample[2] + at, std::min(kBlock, n - at), rules.lambda,
                  part);
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

Vec3d floor_wall(const Workspace& w, std::int64_t n, Vec3d up) {
  for (int k = 0; k < kFloorWallSteps; ++k) {
    const Vec3f at{static_cast<float>(up.x), static_cast<float>(up.y), static_cast<float>(up.z)};
    double m[6] = {};
    for (std::int64_t i = 0; i < n; i += kBlock) {
      float part[6];
      floor_wall_block(at, w.sample[0] + i, w.sample[1] + i, w.sample[2] + i, std::min(kBlock, n - i), cone_of(k),
                       part);
      for (int e = 0; e < 6; ++e) m[e] += part[e];
    }
    up = floor_wall_up(Sym3d{m[0], m[1], m[2], m[3], m[4], m[5]}, up);
  }
  return up;
}

FS_CLONES void height_row(const float* q, const Pinhole& k, Vec3f up, std::int64_t v, std::int64_t width, float* out) {
  for (std::int64_t u = 0; u < width; ++u) {
    const float h = height_along(up, k, q[u], static_cast<float>(static_cast<int>(u)), static_cast<float>(v));
    out[u] = q[u] > 0 ? h : std::numeric_limits<float>::infinity();
  }
}

FS_CLONES std::int64_t count_valid(const float* q, std::int64_t n) {
  std::int64_t valid = 0;
  for (std::int64_t i = 0; i < n; ++i) valid += q[i] > 0;
  return valid;
}

// A height that about twice the wanted share of values lies below, guessed from every 37th pixel.
float guess(const Workspace& w, std::int64_t size, float percentile) {
  std::int64_t n = 0;
  for (std::int64_t i = 0; i < size; i += 37)
    if (w.q[i] > 0) w.low[n++] = w.height[i];
  if (n == 0) return std::numeric_limits<float>::max();
  const std::int64_t k = std::min(n - 1, 2 * floor_rank(percentile, n) + 30);
  std::nth_element(w.low, w.low + k, w.low + n);
  return w.low[k];
}

// Packs the heights up to `bound`; blocks without one are passed over whole.
FS_CLONES std::int64_t collect(const float* height, std::int64_t size, float bound, float* low) {
  std::int64_t n = 0;
  for (std::int64_t at = 0; at < size; at += 64) {
    const std::int64_t end = std::min(size, at + 64);
    int hits = 0;
    for (std::int64_t i = at; i < end; ++i) hits += height[i] <= bound;
    if (hits == 0) continue;
    for (std::int64_t i = at; i < end; ++i)
      if (height[i] <= bound) low[n++] = height[i];
  }
  return n;
}

// The exact order statistic of the heights: only values up to a guess are sorted, all of them when it was too low.
float floor_height(const Workspace& w, std::int64_t size, std::int64_t valid, float percentile) {
  const std::int64_t rank = floor_rank(percentile, valid);
  if (valid == 0) return std::numeric_limits<float>::quiet_NaN();
  std::int64_t n = collect(w.height, size, guess(w, size, percentile), w.low);
  if (n <= rank) n = collect(w.height, size, std::numeric_limits<float>::max(), w.low);
  std::nth_element(w.low, w.low + rank, w.low + n);
  return w.low[rank];
}

struct Counts {
  std::int64_t low = 0, defined = 0, aligned = 0;
};

constexpr int kSpan = 64;

// Labels up to kSpan pixels from their heights along up and their cosines to it.
FS_HD void label_span(const HnLabels& a, const float* height, const float* cosine, float floor, int span,
                      std::uint8_t* label) {
  const int edges = static_cast<int>(a.height_edges.size()), cosines = static_cast<int>(a.normal_cosines.size());
  float h[kSpan] = {}, c[kSpan] = {};
  int bin[kSpan] = {};
  for (int l = 0; l < span; ++l) h[l] = height[l] - floor, c[l] = cosine[l];
  for (int e = 0; e < edges; ++e)
    for (int l = 0; l < kSpan; ++l) bin[l] += h[l] >= a.height_edges.data[e];
  for (int e = 0; e < cosines; ++e)
    for (int l = 0; l < kSpan; ++l) bin[l] += std::fabs(c[l]) <= a.normal_cosines.data[e] ? edges + 1 : 0;
  for (int l = 0; l < span; ++l) label[l] = c[l] == c[l] ? static_cast<std::uint8_t>(bin[l]) : kIgnore;
}

FS_CLONES void label_row(const HnLabels& a, const Workspace& w, const float* height, float floor, Vec3f up,
                         std::int64_t width, std::uint8_t* label, Counts& counts) {
  std::int64_t low = 0, defined = 0, aligned = 0;
  float* const c = w.row[0];  // the cosines take the place of the first components
#pragma GCC ivdep
  for (std::int64_t u = 0; u < width; ++u) {
    c[u] = up.x * w.row[0][u] + up.y * w.row[1][u] + up.z * w.row[2][u];
    low += height[u] <= floor, defined += (height[u] <= floor) & (c[u] == c[u]);
    aligned += (height[u] <= floor) & (c[u] > a.rules.aligned_cosine);
  }
  for (std::int64_t at = 0; at < width; at += kSpan) {
    const int span = static_cast<int>(std::min<std::int64_t>(kSpan, width - at));
    label_span(a, height + at, c + at, floor, span, label + at);
  }
  counts.low += low, counts.defined += defined, counts.aligned += aligned;
}

// Labels the frame row by row; returns the share of the lowest points that look up.
float write_labels(const HnLabels& a, const Workspace& w, std::int64_t frame, float floor, Vec3f up) {
  const std::int64_t height = a.depth.shape[1], width = a.depth.shape[2], bins = a.histogram.shape[1];
  NormalRows sweep(w.q, height, width, a.camera, a.fit, 1, w.rows);
  Counts counts;
  std::int32_t histogram[4][256] = {};
  for (std::int64_t v = 0; v < height; ++v) {
    std::uint8_t* label = &a.label(frame, v, 0);
    sweep.row(v, w.row);
    label_row(a, w, w.height + v * width, floor, up, width, label, counts);
    for (std::int64_t u = 0; u < width; ++u) ++histogram[u & 3][label[u]];
  }
  for (std::int64_t b = 0; b < bins; ++b)
    a.histogram(frame, b) = histogram[0][b] + histogram[1][b] + histogram[2][b] + histogram[3][b];
  return aligned_fraction(counts.low, counts.defined, counts.aligned);
}

void label_frame(const HnLabels& a, std::int64_t frame, double* scratch) {
  const std::int64_t height = a.depth.shape[1], width = a.depth.shape[2], size = height * width;
  const Workspace w = cut(scratch, height, width, a.stride);
  inverse_depth(a.depth, frame * size, size, a.scale, w.q);
  const std::int64_t valid = count_valid(w.q, size);
  const Vec3d prior{a.prior(frame, 0), a.prior(frame, 1), a.prior(frame, 2)};
  const std::int64_t n = sample_normals(a, w, height, width);
  Vec3d axis = prior;
  const bool found = n >= a.rules.fewest_normals && manhattan(a.rules, w, n, prior, axis);
  const Vec3d walls = found ? floor_wall(w, n, axis) : prior;
  const Vec3d chosen = a.rules.gravity == Gravity::kManhattan ? axis : walls;
  const Vec3f up{static_cast<float>(chosen.x), static_cast<float>(chosen.y), static_cast<float>(chosen.z)};
  for (std::int64_t v = 0; v < height; ++v) height_row(w.q + v * width, a.camera, up, v, width, w.height + v * width);
  const float floor = floor_height(w, size, valid, a.rules.percentile);
  const float aligned = write_labels(a, w, frame, floor, up);
  const float share = size > 0 ? static_cast<float>(valid) / static_cast<float>(size) : 0.f;
  const float disagreement = found ? angle_deg(axis, walls) : std::numeric_limits<float>::quiet_NaN();
  a.up(frame, 0) = up.x, a.up(frame, 1) = up.y, a.up(frame, 2) = up.z;
  a.figures(frame, kFloor) = floor, a.figures(frame, kAligned) = aligned;
  a.figures(frame, kValid) = share, a.figures(frame, kDisagreement) = disagreement;
  a.verdict(frame) = static_cast<std::int32_t>(verdict_of(a.rules, share, found, disagreement, aligned));
}

}  // namespace

std::int64_t hn_labels_scratch(std::int64_t height, std::int64_t width, int radius, int stride) {
  return (3 * even(height * width) + 3 * samples(height, width, stride) + 3 * even(width)) / 2 +
         normal_rows_scratch(width, radius);
}

void hn_labels(const HnLabels& args, Stream) {
  for_each_worker(args.depth.shape[0], args.scratch.shape[0],
                  [&](std::int64_t frame, std::int64_t worker) { label_frame(args, frame, &args.scratch(worker, 0)); });
}

}  // namespace fs
