#include "normals.h"

#include <algorithm>

#include "for_each.h"
#include "lanes.h"
#include "normals_rows.h"

namespace fs {
namespace {

// The sums over the column of 2 radius + 1 pixels above and below a row, one entry a column, with `radius` zeros at
// either end so that windows may reach outside; and a row of zeros to slide in where the image has ended.
struct Columns {
  double *d, *jd, *dd;
  float *n, *j, *jj, *zeros;
};

constexpr int kBlocks = 4;  // vectors that share a patch
constexpr int kPatch = kLanes * std::max(kBlocks, kMaxStride) + 2 * kMaxRadius + kMaxStride;

std::int64_t padded(std::int64_t width, int radius) {
  return (width + kPatch + 2 * radius + 7) / 8 * 8;  // a patch may reach past the last column
}

Columns cut(double* scratch, std::int64_t width, int radius) {
  const std::int64_t n = padded(width, radius);
  float* const floats = reinterpret_cast<float*>(scratch + 3 * n);
  return {scratch, scratch + n, scratch + 2 * n, floats, floats + n, floats + 2 * n, floats + 3 * n};
}

// Moves the columns' window down by one row: `leaving` goes out above, every row left is one row higher, `entering`
// comes in below.
FS_CLONES void slide_columns(const Columns& c, const float* leaving, const float* entering, std::int64_t width,
                             int radius) {
  const float r = static_cast<float>(radius);
#pragma GCC ivdep
  for (std::int64_t u = 0; u < width; ++u) {
    const float out = leaving[u] > 0 ? 1.f : 0.f, in = entering[u] > 0 ? 1.f : 0.f;
    const float n = c.n[u] - out, j = c.j[u] + r * out, jj = c.jj[u] - r * r * out;
    c.n[u] = n + in, c.j[u] = j - n + r * in, c.jj[u] = jj - 2 * j + n + r * r * in;
  }
#pragma GCC ivdep
  for (std::int64_t u = 0; u < width; ++u) {
    const double out = leaving[u], in = entering[u], d = c.d[u] - out;
    c.jd[u] += r * out - d + r * in, c.d[u] = d + in, c.dd[u] += in * in - out * out;
  }
}

// The columns under some blocks of kLanes pixels, `stride` columns from pixel to pixel, and their margins. Column k is
// entry k / stride of part k % stride, so that the pixels' k-th neighbours lie side by side; 1 / z counts from `base`.
struct Patch {
  float n[kPatch], j[kPatch], jj[kPatch], d[kPatch], jd[kPatch], dd[kPatch];
  float base;
  int stride, part;  // columns from pixel to pixel; entries of a part
};

// One part, from entry `at` on.
FS_HD void fill_part(Patch& p, const Columns& c, std::int64_t first, int at, int stride) {
  const double b = p.base;
#pragma GCC ivdep
  for (int k = 0; k < p.part; ++k) {
    const std::int64_t column = first + static_cast<std::int64_t>(k) * stride;
    const double n = c.n[column], d = c.d[column];
    p.n[at + k] = c.n[column], p.j[at + k] = c.j[column], p.jj[at + k] = c.jj[column];
    p.d[at + k] = static_cast<float>(d - b * n);
    p.jd[at + k] = static_cast<float>(c.jd[column] - b * c.j[column]);
    p.dd[at + k] = static_cast<float>(c.dd[column] - 2 * b * d + b * b * n);
  }
}

FS_HD void fill(Patch& p, const Columns& c, std::int64_t from, int length, float base, int stride) {
  p.base = base, p.stride = stride, p.part = (length + stride - 1) / stride;
  if (stride == 1) return fill_part(p, c, from, 0, 1);
  for (int phase = 0; phase < stride; ++phase) fill_part(p, c, from + phase, phase * p.part, stride);
}

// The sums over the windows of kLanes pixels.
struct LaneSums {
  Lanes n{}, i{}, j{}, ii{}, ij{}, jj{}, d{}, id{}, jd{}, dd{};
};

// Adds the windows' columns; `Whole` says that every pixel of the windows is valid, whose places need no counting.
template <bool Whole>
FS_HD void add_columns(LaneSums& s, const Patch& p, int block, int radius) {
  for (int k = 0, phase = 0, at_k = block * kLanes; k <= 2 * radius; ++k) {
    const float i = static_cast<float>(k - radius);
    const int e = phase * p.part + at_k;
    const Lanes d = at(p.d + e);
    s.d += d, s.id += i * d, s.jd += at(p.jd + e), s.dd += at(p.dd + e);
    if constexpr (!Whole) {
      const Lanes n = at(p.n + e), j = at(p.j + e);
      s.n += n, s.i += i * n, s.ii += i * i * n, s.j += j, s.ij += i * j, s.jj += at(p.jj + e);
    }
    if (++phase == p.stride) phase = 0, ++at_k;
  }
  if constexpr (Whole) {
    const float r = static_cast<float>(radius), window = 2 * r + 1, second = window * window * r * (r + 1) / 3;
    s.n = Lanes{} + window * window, s.ii = s.jj = Lanes{} + second;
  }
}

FS_HD bool whole(const Patch& p, int block, int radius) {
  const float window = static_cast<float>(2 * radius + 1);
  const int entries = kLanes + 2 * radius / p.stride;
  int holes = 0;
  for (int phase = 0; phase < p.stride; ++phase)
    for (int k = 0; k < entries; ++k) holes += p.n[phase * p.part + block * kLanes + k] != window;
  return holes == 0;
}

// The same sums as arrays: a loop over these becomes vectors.
using LaneArrays = float[10][kLanes];

// The normals of kLanes pixels of row v from column u on; `q` their inverse depths.
FS_HD void solve_block(const LaneArrays& a, const float* q, const Patch& p, const Pinhole& camera, const Fit& fit,
                       float u, float v, float (&out)[3][kLanes]) {
  const float step = static_cast<float>(p.stride);
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) {
    const PlaneSums one{a[0][l], a[1][l], a[2][l], a[3][l], a[4][l], a[5][l],
                        a[6][l], a[7][l], a[8][l], a[9][l], p.base};
    const Vec3f n = plane_normal(one, camera, fit, u + step * static_cast<float>(l), v, q[l] > 0);
    out[0][l] = n.x, out[1][l] = n.y, out[2][l] = n.z;
  }
}

// The normals of every stride-th pixel of one row from the sums of its columns.
FS_CLONES void solve_row(const Columns& c, const float* q, const Pinhole& camera, const Fit& fit, std::int64_t v,
                         std::int64_t width, int stride, float* const (&out)[3]) {
  const int blocks = std::max(1, kBlocks / stride);
  const std::int64_t pixels = (width + stride - 1) / stride, step = blocks * kLanes;
  Patch p;
  LaneArrays a;
  float centre[kLanes], solved[3][kLanes];
  for (std::int64_t first = 0; first < pixels; first += step) {
    const std::int64_t from = first * stride, middle = std::min(width - 1, from + step * stride / 2);
    fill(p, c, from, static_cast<int>(step) * stride + 2 * fit.radius, q[middle], stride);
    for (int b = 0; b < blocks && first + b * kLanes < pixels; ++b) {
      const std::int64_t pixel = first + b * kLanes, lanes = std::min<std::int64_t>(kLanes, pixels - pixel);
      for (std::int64_t l = 0; l < kLanes; ++l) centre[l] = l < lanes ? q[(pixel + l) * stride] : 0.f;
      LaneSums s;
      if (whole(p, b, fit.radius))
        add_columns<true>(s, p, b, fit.radius);
      else
        add_columns<false>(s, p, b, fit.radius);
      __builtin_memcpy(a, &s, sizeof a);
      solve_block(a, centre, p, camera, fit, static_cast<float>(pixel * stride), static_cast<float>(v), solved);
      for (int axis = 0; axis < 3; ++axis)
        if (lanes == kLanes)
          __builtin_memcpy(out[axis] + pixel, solved[axis], sizeof solved[axis]);
        else
          std::copy_n(solved[axis], lanes, out[axis] + pixel);
    }
  }
}

// Metres of the window's rows around row v, `pitch` floats a row, `radius` zeros at either end.
FS_CLONES void depth_rows(const float* q, std::int64_t height, std::int64_t width, std::int64_t v, int radius,
                          std::int64_t pitch, float* z) {
  for (std::int64_t j = -radius; j <= radius; ++j, z += pitch) {
    std::fill_n(z, pitch, 0.f);
    if (v + j < 0 || v + j >= height) continue;
    const float* const row = q + (v + j) * width;
    for (std::int64_t u = 0; u < width; ++u) z[radius + u] = inverse(row[u]);
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

FS_CLONES void pca_row(const float* q, std::int64_t height, std::int64_t width, const Pinhole& k, const Fit& fit,
                       std::int64_t v, int stride, double* scratch, float* const (&out)[3]) {
  float* const z = reinterpret_cast<float*>(scratch);
  const std::int64_t pitch = padded(width, fit.radius);
  float s[10][kLanes], solved[3][kLanes];
  depth_rows(q, height, width, v, fit.radius, pitch, z);
  for (std::int64_t u = 0; u < width; u += kLanes) {
    neighbour_sums(z, pitch, k, fit, u, v, s);
    const float* const centre = z + fit.radius * pitch + fit.radius + u;
    const float left = static_cast<float>(u);
#pragma GCC ivdep
    for (int l = 0; l < kLanes; ++l) {
      const PcaSums one{s[0][l], {s[1][l], s[2][l], s[3][l]}, {s[4][l], s[5][l], s[6][l], s[7][l], s[8][l], s[9][l]}};
      const Vec3f towards = ray(k, left + static_cast<float>(l), static_cast<float>(v));
      const Vec3f n = pca_normal(one, fit, towards, centre[l] > 0);
      solved[0][l] = n.x, solved[1][l] = n.y, solved[2][l] = n.z;
    }
    for (std::int64_t p = (u + stride - 1) / stride; p * stride < std::min(width, u + kLanes); ++p)
      for (int axis = 0; axis < 3; ++axis) out[axis][p] = solved[axis][p * stride - u];
  }
}

FS_CLONES void invert(const std::uint16_t* raw, std::int64_t n, float scale, float* q) {
  for (std::int64_t i = 0; i < n; ++i) q[i] = inverse(metres(raw[i], scale));
}
FS_CLONES void invert(const float* raw, std::int64_t n, float scale, float* q) {
  for (std::int64_t i = 0; i < n; ++i) q[i] = inverse(metres(raw[i], scale));
}
FS_CLONES void points_row(const float* q, const Pinhole& k, std::int64_t v, std::int64_t width, float* x, float* y,
                          float* z) {
#pragma GCC ivdep
  for (std::int64_t u = 0; u < width; ++u) {
    const float depth = q[u] > 0 ? 1 / q[u] : std::numeric_limits<float>::quiet_NaN();
    const Vec3f p = depth * ray(k, static_cast<float>(static_cast<int>(u)), static_cast<float>(v));
    x[u] = p.x, y[u] = p.y, z[u] = p.z;
  }
}

void write_points(const Normals& a, std::int64_t frame, const float* q) {
  const std::int64_t width = a.depth.shape[2];
  for (std::int64_t v = 0; v < a.depth.shape[1]; ++v)
    points_row(q + v * width, a.camera, v, width, &a.points(frame, 0, v, 0), &a.points(frame, 1, v, 0),
               &a.points(frame, 2, v, 0));
}

void write_frame(const Normals& a, std::int64_t frame, double* scratch) {
  const std::int64_t height = a.depth.shape[1], width = a.depth.shape[2], size = height * width, s = a.stride;
  float* const q = reinterpret_cast<float*>(scratch);
  inverse_depth(a.depth, frame * size, size, a.scale, q);
  if (a.points.data) write_points(a, frame, q);
  if (!a.normals.data) return;
  NormalRows sweep(q, height, width, a.camera, a.fit, a.stride, scratch + (size + 1) / 2);
  for (std::int64_t v = 0; v < height; v += s) {
    float* const row[3] = {&a.normals(frame, 0, v / s, 0), &a.normals(frame, 1, v / s, 0),
                           &a.normals(frame, 2, v / s, 0)};
    sweep.row(v, row);
  }
}

}  // namespace

std::int64_t normal_rows_scratch(std::int64_t width, int radius) {
  // plane: three doubles and four floats a column; pca: the rows of the window
  return std::max<std::int64_t>(5, radius + 1) * padded(width, radius);
}

NormalRows::NormalRows(const float* q, std::int64_t height, std::int64_t width, const Pinhole& camera, const Fit& fit,
                       int stride, double* scratch)
    : q_(q),
      height_(height),
      width_(width),
      camera_(camera),
      fit_(fit),
      stride_(stride),
      scratch_(scratch),
      next_(-fit.radius) {
  std::fill_n(scratch, normal_rows_scratch(width, fit.radius), 0.);
}

void NormalRows::slide(std::int64_t v) {
  Columns c = cut(scratch_, width_, fit_.radius);
  const std::int64_t r = fit_.radius, top = v - r - 1, bottom = v + r;
  c.d += r, c.jd += r, c.dd += r, c.n += r, c.j += r, c.jj += r;
  slide_columns(c, top >= 0 ? q_ + top * width_ : c.zeros, bottom < height_ ? q_ + bottom * width_ : c.zeros, width_,
                fit_.radius);
}

void NormalRows::row(std::int64_t v, float* const (&out)[3]) {
  if (fit_.estimator == Estimator::kPca) return pca_row(q_, height_, width_, camera_, fit_, v, stride_, scratch_, out);
  for (; next_ <= v; ++next_) slide(next_);
  solve_row(cut(scratch_, width_, fit_.radius), q_ + v * width_, camera_, fit_, v, width_, stride_, out);
}

void inverse_depth(const Array& depth, std::int64_t at, std::int64_t n, float scale, float* q) {
  if (depth.dtype == DType::kUint16) return invert(static_cast<const std::uint16_t*>(depth.data) + at, n, scale, q);
  invert(static_cast<const float*>(depth.data) + at, n, scale, q);
}

std::int64_t normals_scratch(std::int64_t height, std::int64_t width, int radius) {
  return (height * width + 1) / 2 + normal_rows_scratch(width, radius);
}

void normals(const Normals& args, Stream) {
  for_each_worker(args.depth.shape[0], args.scratch.shape[0],
                  [&](std::int64_t frame, std::int64_t worker) { write_frame(args, frame, &args.scratch(worker, 0)); });
}

}  // namespace fs
