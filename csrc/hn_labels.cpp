#include "hn_labels.h"

#include <algorithm>
#include <cmath>

#include "for_each.h"
#include "hn_labels_up.h"
#include "normals_rows.h"

namespace fs {
namespace {

// What one frame's steps hand to each other; all of it lies in the worker's scratch.
struct Workspace {
  float* z;          // (H, W) metres, 0 without depth
  float* sample[3];  // normals for gravity, `samples` of them, finite and packed
  float* low;        // candidates for the floor
  float* row[3];     // kRowsAtOnce rows of normals
  float* rows;       // scratch of normal_rows
};

// Places for the sampled normals, and one to write past the last.
std::int64_t samples(std::int64_t height, std::int64_t width, int stride) {
  return (height + stride - 1) / stride * ((width + stride - 1) / stride) + 1;
}

Workspace cut(float* scratch, std::int64_t height, std::int64_t width, int stride) {
  const std::int64_t size = height * width, sampled = samples(height, width, stride);
  Workspace w{};
  w.z = scratch, w.low = scratch + size, scratch += 2 * size;
  for (float*& s : w.sample) s = scratch, scratch += sampled;
  for (float*& r : w.row) r = scratch, scratch += kRowsAtOnce * width;
  w.rows = scratch;
  return w;
}

// The frame's depth as metres, so that it is converted once.
DepthImage image_of(const HnLabels& a, const Workspace& w) {
  return {w.z, DType::kFloat32, 1.f, a.depth.shape[1], a.depth.shape[2]};
}

// Packs the defined normals of every stride-th row and column; returns how many.
std::int64_t sample_normals(const HnLabels& a, const Workspace& w) {
  const std::int64_t width = a.depth.shape[2], columns = strip_columns(a.gravity_fit.estimator, a.stride, width);
  const std::int64_t step = rows_at_once(a.stride) * a.stride;
  RowPlan plan{image_of(a, w), a.camera, a.gravity_fit, a.stride, 0, 0, 0};
  std::int64_t n = 0;
  for (; plan.left < width; plan.left += columns) {
    plan.right = std::min(plan.left + columns, width);
    const std::int64_t pixels = (plan.right - plan.left + a.stride - 1) / a.stride;
    for (std::int64_t v = 0; v < plan.depth.height; v += step) {
      normal_rows(plan, v, w.rows, w.row, width);
      for (std::int64_t r = 0; r * a.stride < step && v + r * a.stride < plan.depth.height; ++r)
        for (std::int64_t u = r * width; u < r * width + pixels; ++u) {
          for (int c = 0; c < 3; ++c) w.sample[c][n] = w.row[c][u];
          n += w.row[0][u] == w.row[0][u];
        }
    }
  }
  return n;
}

FS_CLONES std::int64_t count_valid(const float* z, std::int64_t n) {
  std::int64_t valid = 0;
  for (std::int64_t i = 0; i < n; ++i) valid += z[i] > 0;
  return valid;
}

// A height that nearly twice the wanted share of values lies below, guessed from some four thousand pixels.
float guess(const HnLabels& a, const Workspace& w, Vec3f up) {
  const std::int64_t width = a.depth.shape[2], size = a.depth.shape[1] * width, step = size / 4096 | 1;
  std::int64_t n = 0;
  for (std::int64_t i = 0; i < size; i += step)
    if (w.z[i] > 0)
      w.low[n++] = height_of(up, a.camera, w.z[i], static_cast<float>(i % width), static_cast<float>(i / width));
  if (n == 0) return std::numeric_limits<float>::max();
  const std::int64_t k = std::min(n - 1, floor_rank(a.rules.percentile, n) * 3 / 2 + 20);
  std::nth_element(w.low, w.low + k, w.low + n);
  return w.low[k];
}

constexpr int kSpan = 64;

// Heights along up of up to kSpan pixels of a row from column u on, +inf without depth.
FS_HD void heights(const float* z, const Pinhole& k, Vec3f up, std::int64_t u, std::int64_t v, int span,
                   float (&out)[kSpan]) {
  const float first = static_cast<float>(static_cast<int>(u)), y = static_cast<float>(static_cast<int>(v));
  for (int l = 0; l < span; ++l) {
    const float h = height_of(up, k, z[u + l], first + static_cast<float>(l), y);
    out[l] = z[u + l] > 0 ? h : std::numeric_limits<float>::infinity();
  }
}

FS_HD std::int64_t collect_pixels(const float* z, const Pinhole& k, Vec3f up, std::int64_t u, std::int64_t v, int span,
                                  float bound, float* low, std::int64_t n) {
  float h[kSpan];
  heights(z, k, up, u, v, span, h);
  int hits = 0;
  for (int l = 0; l < span; ++l) hits += h[l] <= bound;
  for (int l = 0; hits > 0 && l < span; ++l)
    if (h[l] <= bound) low[n++] = h[l];
  return n;
}

// Packs the row's heights up to `bound` behind the n there are; spans without one are passed over whole.
FS_CLONES std::int64_t collect_row(const float* z, const Pinhole& k, Vec3f up, std::int64_t v, std::int64_t width,
                                   float bound, float* low, std::int64_t n) {
  std::int64_t u = 0;
  for (; u + kSpan <= width; u += kSpan) n = collect_pixels(z, k, up, u, v, kSpan, bound, low, n);
  return u < width ? collect_pixels(z, k, up, u, v, static_cast<int>(width - u), bound, low, n) : n;
}

std::int64_t collect(const HnLabels& a, const Workspace& w, Vec3f up, float bound) {
  const std::int64_t width = a.depth.shape[2];
  std::int64_t n = 0;
  for (std::int64_t v = 0; v < a.depth.shape[1]; ++v)
    n = collect_row(w.z + v * width, a.camera, up, v, width, bound, w.low, n);
  return n;
}

// The exact order statistic of the heights: only values up to a guess are sorted, all of them when it was too low.
float floor_height(const HnLabels& a, const Workspace& w, Vec3f up, std::int64_t valid) {
  const std::int64_t rank = floor_rank(a.rules.percentile, valid);
  if (valid == 0) return std::numeric_limits<float>::quiet_NaN();
  std::int64_t n = collect(a, w, up, guess(a, w, up));
  if (n <= rank) n = collect(a, w, up, std::numeric_limits<float>::max());
  std::nth_element(w.low, w.low + rank, w.low + n);
  return w.low[rank];
}

// What is counted while labels are made.
struct Counts {
  std::int64_t low = 0, defined = 0, aligned = 0;
  std::int32_t histogram[4][256] = {};
};

// Labels of up to kSpan pixels from their heights above the floor and their cosines to up.
FS_HD void label_span(const HnLabels& a, const float (&h)[kSpan], const float (&c)[kSpan], int span,
                      std::uint8_t (&label)[kSpan]) {
  const int edges = static_cast<int>(a.height_edges.size()), cosines = static_cast<int>(a.normal_cosines.size());
  int bin[kSpan] = {};
  for (int e = 0; e < edges; ++e)
    for (int l = 0; l < kSpan; ++l) bin[l] += h[l] >= a.height_edges.data[e];
  for (int e = 0; e < cosines; ++e)
    for (int l = 0; l < kSpan; ++l) bin[l] += std::fabs(c[l]) <= a.normal_cosines.data[e] ? edges + 1 : 0;
  for (int l = 0; l < span; ++l) label[l] = c[l] == c[l] ? static_cast<std::uint8_t>(bin[l]) : kIgnore;
}

FS_HD void count_low(const float (&h)[kSpan], const float (&c)[kSpan], int span, float aligned_cosine, Counts& out) {
  int low = 0;
  for (int l = 0; l < span; ++l) low += h[l] <= 0;
  if (low == 0) return;
  int defined = 0, aligned = 0;
  for (int l = 0; l < span; ++l)
    defined += (h[l] <= 0) & (c[l] == c[l]), aligned += (h[l] <= 0) & (c[l] > aligned_cosine);
  out.low += low, out.defined += defined, out.aligned += aligned;
}

// Adds to the histogram, eight labels at a time where they are the same, as they mostly are. Four tables, because a
// count that was just stored is slow to read again.
FS_HD void count_labels(const std::uint8_t (&label)[kSpan], int span, Counts& out) {
  std::uint64_t eight;
  int l = 0;
  for (; l + 8 <= span; l += 8) {
    __builtin_memcpy(&eight, label + l, 8);
    if (eight == 0x0101010101010101u * label[l])
      out.histogram[l >> 3 & 3][label[l]] += 8;
    else
      for (int k = 0; k < 8; ++k) ++out.histogram[k & 3][eight >> 8 * k & 255];
  }
  for (; l < span; ++l) ++out.histogram[0][label[l]];
}

// What the labels of a row are made from.
struct LabelRow {
  const float* z;
  const float* normal[3];
  Vec3f up;
  float floor;
  std::int64_t v, left;  // place of the first normal
};

// Labels `span` pixels from column u on.
FS_HD void label_pixels(const HnLabels& a, const LabelRow& row, std::int64_t u, int span, std::uint8_t* out,
                        Counts& counts) {
  float h[kSpan] = {}, c[kSpan] = {};
  std::uint8_t label[kSpan] = {};
  const float *const x = row.normal[0] + (u - row.left), *const y = row.normal[1] + (u - row.left),
                     *const z = row.normal[2] + (u - row.left);
  heights(row.z, a.camera, row.up, u, row.v, span, h);
  for (int l = 0; l < span; ++l) h[l] -= row.floor, c[l] = row.up.x * x[l] + row.up.y * y[l] + row.up.z * z[l];
  count_low(h, c, span, a.rules.aligned_cosine, counts);
  label_span(a, h, c, span, label);
  count_labels(label, span, counts);
  if (out) __builtin_memcpy(out + u, label, static_cast<std::size_t>(span));
}

FS_CLONES void label_row(const HnLabels& a, const LabelRow& row, std::int64_t right, std::uint8_t* out,
                         Counts& counts) {
  std::int64_t u = row.left;
  for (; u + kSpan <= right; u += kSpan) label_pixels(a, row, u, kSpan, out, counts);
  if (u < right) label_pixels(a, row, u, static_cast<int>(right - u), out, counts);
}

// Labels a group of rows of a strip.
void label_rows(const HnLabels& a, const Workspace& w, const RowPlan& plan, std::int64_t frame, std::int64_t v,
                float floor, Vec3f up, Counts& counts) {
  const std::int64_t width = plan.depth.width;
  float* row[3] = {w.row[0], w.row[1], w.row[2]};
  for (int axis = 0; axis < 3 && a.normals.data; ++axis) row[axis] = &a.normals(frame, axis, v, plan.left);
  normal_rows(plan, v, w.rows, row, width);
  for (std::int64_t r = v; r < std::min(v + kRowsAtOnce, plan.depth.height); ++r) {
    const std::int64_t at = (r - v) * width;
    std::uint8_t* const label = a.label.data ? &a.label(frame, r, 0) : nullptr;
    label_row(a, {w.z + r * width, {row[0] + at, row[1] + at, row[2] + at}, up, floor, r, plan.left}, plan.right, label,
              counts);
  }
}

// Labels the frame strip by strip; returns the share of the lowest points that look up.
float write_labels(const HnLabels& a, const Workspace& w, std::int64_t frame, float floor, Vec3f up) {
  const std::int64_t width = a.depth.shape[2], columns = strip_columns(a.fit.estimator, 1, width);
  RowPlan plan{image_of(a, w), a.camera, a.fit, 1, 0, 0, 0};
  Counts counts;
  for (; plan.left < width; plan.left += columns) {
    plan.right = std::min(plan.left + columns, width);
    for (std::int64_t v = 0; v < plan.depth.height; v += kRowsAtOnce)
      label_rows(a, w, plan, frame, v, floor, up, counts);
  }
  for (std::int64_t b = 0; b < a.histogram.shape[1]; ++b) {
    a.histogram(frame, b) = 0;
    for (const auto& table : counts.histogram) a.histogram(frame, b) += table[b];
  }
  return aligned_fraction(counts.low, counts.defined, counts.aligned);
}

// The depth as metres and, when wanted, as points.
std::int64_t read_depth(const HnLabels& a, const Workspace& w, std::int64_t frame) {
  const DepthImage depth = image_of(a.depth, frame, a.scale);
  for (std::int64_t v = 0; v < depth.height; ++v) {
    float* const z = w.z + v * depth.width;
    metres_row(depth, v, 0, depth.width, z);
    if (a.points.data)
      points_row(z, a.camera, v, depth.width, &a.points(frame, 0, v, 0), &a.points(frame, 1, v, 0),
                 &a.points(frame, 2, v, 0));
  }
  return count_valid(w.z, depth.height * depth.width);
}

void label_frame(const HnLabels& a, std::int64_t frame, float* scratch) {
  const std::int64_t height = a.depth.shape[1], width = a.depth.shape[2], size = height * width;
  const Workspace w = cut(scratch, height, width, a.stride);
  const std::int64_t valid = read_depth(a, w, frame), n = sample_normals(a, w);
  const Vec3d prior{a.prior(frame, 0), a.prior(frame, 1), a.prior(frame, 2)};
  const Sample sample{w.sample[0], w.sample[1], w.sample[2], n};
  Vec3d axis = prior;
  const bool found = n >= a.rules.fewest_normals && manhattan(a.rules, sample, prior, axis);
  const Vec3d walls = found ? floor_wall(sample, axis) : prior;
  const Vec3f up = single(a.rules.gravity == Gravity::kManhattan ? axis : walls);
  const float floor = floor_height(a, w, up, valid);
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
  const std::int64_t floats = 2 * height * width + 3 * samples(height, width, stride) + 3 * kRowsAtOnce * width +
                              normal_rows_scratch(width, radius);
  return (floats + 1) / 2;
}

void hn_labels(const HnLabels& args, Stream) {
  for_each_worker(args.depth.shape[0], args.scratch.shape[0], [&](std::int64_t frame, std::int64_t worker) {
    label_frame(args, frame, reinterpret_cast<float*>(&args.scratch(worker, 0)));
  });
}

}  // namespace fs
