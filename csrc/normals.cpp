#include "normals.h"

#include <algorithm>
#include <utility>

#include "for_each.h"
#include "normals_rows.h"

namespace fs {
namespace {

// The sums over the column of 2 radius + 1 pixels above and below a row, one entry a column, with `radius` zeros at
// either end so that windows may reach outside.
struct Columns {
  double *d, *jd, *dd;
  float *n, *j, *jj;
};

// Window sums of Columns along the row: `weight` 1, k and k^2 with k = 0 at the window's first column.
struct Windows {
  double *d, *kd, *jd, *dd;
  float *n, *k, *kk, *j, *kj, *jj;
};

constexpr std::int64_t kColumnDoubles = 3, kColumnFloats = 3, kWindowDoubles = 4, kWindowFloats = 6;

std::int64_t padded(std::int64_t width, int radius) {
  return (width + 2 * radius + 7) / 8 * 8;
}

struct Buffers {
  Columns columns;
  Windows part, sum;  // sums over 2^b columns, and over the whole window
};

Buffers cut(double* scratch, std::int64_t width, int radius) {
  const std::int64_t n = padded(width, radius);
  double* doubles = scratch;
  float* floats = reinterpret_cast<float*>(scratch + (kColumnDoubles + 2 * kWindowDoubles) * n);
  auto next_d = [&] { return std::exchange(doubles, doubles + n); };
  auto next_f = [&] { return std::exchange(floats, floats + n); };
  auto windows = [&] {
    return Windows{next_d(), next_d(), next_d(), next_d(), next_f(), next_f(), next_f(), next_f(), next_f(), next_f()};
  };
  const Columns columns{next_d(), next_d(), next_d(), next_f(), next_f(), next_f()};
  const Windows part = windows();
  return {columns, part, windows()};
}

// Moves the columns' window down by one row: `leaving` goes out above, `entering` comes in below (each may be null).
FS_CLONES void slide_columns(const Columns& c, const float* leaving, const float* entering, std::int64_t width,
                             int radius) {
  const float r = static_cast<float>(radius);
  if (leaving)
    for (std::int64_t u = 0; u < width; ++u) {
      const double q = leaving[u];
      const float m = leaving[u] > 0 ? 1.f : 0.f;
      c.n[u] -= m, c.j[u] += r * m, c.jj[u] -= r * r * m;
      c.d[u] -= q, c.jd[u] += radius * q, c.dd[u] -= q * q;
    }
  for (std::int64_t u = 0; u < width; ++u) {  // every row left is one row higher now
    c.jj[u] += c.n[u] - 2 * c.j[u], c.j[u] -= c.n[u], c.jd[u] -= c.d[u];
  }
  if (entering)
    for (std::int64_t u = 0; u < width; ++u) {
      const double q = entering[u];
      const float m = entering[u] > 0 ? 1.f : 0.f;
      c.n[u] += m, c.j[u] += r * m, c.jj[u] += r * r * m;
      c.d[u] += q, c.jd[u] += radius * q, c.dd[u] += q * q;
    }
}

FS_CLONES void start_windows(const Columns& c, const Windows& w, std::int64_t n) {
  for (std::int64_t p = 0; p < n; ++p) {
    w.d[p] = c.d[p], w.kd[p] = 0, w.jd[p] = c.jd[p], w.dd[p] = c.dd[p];
    w.n[p] = c.n[p], w.k[p] = 0, w.kk[p] = 0, w.j[p] = c.j[p], w.kj[p] = 0, w.jj[p] = c.jj[p];
  }
}

// to[p] += from[p + offset], with from's weights counted from p. `to` may be `from`: a vector of weighted sums is taken
// before the sums it is made of change.
FS_CLONES void add_windows(const Windows& to, const Windows& from, std::int64_t offset, std::int64_t n) {
  const float o = static_cast<float>(offset);
#pragma GCC ivdep
  for (std::int64_t p = 0; p < n; ++p) {
    const std::int64_t f = p + offset;
    to.kd[p] += from.kd[f] + o * from.d[f], to.d[p] += from.d[f];
    to.jd[p] += from.jd[f], to.dd[p] += from.dd[f];
  }
#pragma GCC ivdep
  for (std::int64_t p = 0; p < n; ++p) {
    const std::int64_t f = p + offset;
    to.kk[p] += from.kk[f] + 2 * o * from.k[f] + o * o * from.n[f];
    to.k[p] += from.k[f] + o * from.n[f], to.n[p] += from.n[f];
    to.kj[p] += from.kj[f] + o * from.j[f], to.j[p] += from.j[f], to.jj[p] += from.jj[f];
  }
}

void clear_windows(const Windows& w, std::int64_t n) {
  for (double* a : {w.d, w.kd, w.jd, w.dd}) std::fill_n(a, n, 0.);
  for (float* a : {w.n, w.k, w.kk, w.j, w.kj, w.jj}) std::fill_n(a, n, 0.f);
}

// b.sum = sums over 2 radius + 1 columns, by doubling: as many steps as the window's width has bits.
void sum_windows(const Buffers& b, std::int64_t width, int radius) {
  const std::int64_t length = width + 2 * radius, window = 2 * radius + 1;
  start_windows(b.columns, b.part, length);
  clear_windows(b.sum, width);
  for (std::int64_t size = 1, offset = 0; size <= window; size *= 2) {
    if (window & size) add_windows(b.sum, b.part, offset, width), offset += size;
    if (2 * size <= window) add_windows(b.part, b.part, size, length - 2 * size + 1);
  }
}

FS_CLONES void solve_row(const Windows& w, const float* q, const Pinhole& camera, const Fit& fit, std::int64_t v,
                         std::int64_t width, float* nx, float* ny, float* nz) {
  const float r = static_cast<float>(fit.radius);
#pragma GCC ivdep
  for (std::int64_t u = 0; u < width; ++u) {
    PlaneSums s;
    s.n = w.n[u], s.i = w.k[u] - r * w.n[u], s.ii = w.kk[u] - 2 * r * w.k[u] + r * r * w.n[u];
    s.j = w.j[u], s.ij = w.kj[u] - r * w.j[u], s.jj = w.jj[u];
    s.d = w.d[u], s.id = w.kd[u] - r * w.d[u], s.jd = w.jd[u], s.dd = w.dd[u];
    const Vec3f n = plane_normal(s, camera, fit, static_cast<float>(static_cast<int>(u)), static_cast<float>(v),
                                 q[u] > 0);
    nx[u] = n.x, ny[u] = n.y, nz[u] = n.z;
  }
}

// Adds the neighbours `di` columns away in row `other` to the sums of every pixel of a row (ten rows of floats).
FS_CLONES void add_neighbours(const float* q, const float* other, std::int64_t dj, std::int64_t di, std::int64_t v,
                              std::int64_t width, const Pinhole& k, const Fit& fit, float* const (&sums)[10]) {
  const std::int64_t from = di < 0 ? -di : 0, to = di > 0 ? width - di : width;
  const float y0 = (static_cast<float>(v) - k.cy) / k.fy, y1 = (static_cast<float>(v + dj) - k.cy) / k.fy;
#pragma GCC ivdep
  for (std::int64_t u = from; u < to; ++u) {
    const float column = static_cast<float>(static_cast<int>(u));
    const float z0 = q[u] > 0 ? 1 / q[u] : 0.f, z1 = other[u + di] > 0 ? 1 / other[u + di] : 0.f;
    const float m = same_surface(z0, z1, fit) ? 1.f : 0.f;
    const float x0 = (column - k.cx) / k.fx, x1 = (column + static_cast<float>(di) - k.cx) / k.fx;
    const float x = m * (x1 * z1 - x0 * z0), y = m * (y1 * z1 - y0 * z0), z = m * (z1 - z0);
    sums[0][u] += m, sums[1][u] += x, sums[2][u] += y, sums[3][u] += z;
    sums[4][u] += x * x, sums[5][u] += x * y, sums[6][u] += x * z;
    sums[7][u] += y * y, sums[8][u] += y * z, sums[9][u] += z * z;
  }
}

void pca_row(const float* q, std::int64_t height, std::int64_t width, const Pinhole& k, const Fit& fit, std::int64_t v,
             double* scratch, float* const (&out)[3]) {
  float* sums[10];
  for (int s = 0; s < 10; ++s) sums[s] = reinterpret_cast<float*>(scratch) + s * width;
  std::fill_n(sums[0], 10 * width, 0.f);
  const std::int64_t r = fit.radius;
  for (std::int64_t j = std::max<std::int64_t>(0, v - r); j <= std::min(height - 1, v + r); ++j)
    for (std::int64_t i = -r; i <= r; ++i)
      add_neighbours(q + v * width, q + j * width, j - v, i, v, width, k, fit, sums);
  for (std::int64_t u = 0; u < width; ++u) {
    const PcaSums s{sums[0][u],
                    {sums[1][u], sums[2][u], sums[3][u]},
                    {sums[4][u], sums[5][u], sums[6][u], sums[7][u], sums[8][u], sums[9][u]}};
    const Vec3f n = pca_normal(s, fit, ray(k, static_cast<float>(u), static_cast<float>(v)), q[v * width + u] > 0);
    out[0][u] = n.x, out[1][u] = n.y, out[2][u] = n.z;
  }
}

FS_CLONES void invert(const std::uint16_t* raw, std::int64_t n, float scale, float* q) {
  for (std::int64_t i = 0; i < n; ++i) q[i] = inverse(metres(raw[i], scale));
}
FS_CLONES void invert(const float* raw, std::int64_t n, float scale, float* q) {
  for (std::int64_t i = 0; i < n; ++i) q[i] = inverse(metres(raw[i], scale));
}

template <class T>
void write_points(const T* raw, const Normals& a, std::int64_t frame) {
  const std::int64_t height = a.depth.shape[1], width = a.depth.shape[2];
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (std::int64_t v = 0; v < height; ++v)
    for (std::int64_t u = 0; u < width; ++u) {
      const float z = metres(raw[(frame * height + v) * width + u], a.scale);
      const Vec3f p = (z > 0 ? z : nan) * ray(a.camera, static_cast<float>(u), static_cast<float>(v));
      a.points(frame, 0, v, u) = p.x, a.points(frame, 1, v, u) = p.y, a.points(frame, 2, v, u) = p.z;
    }
}

void write_normals(const Normals& a, std::int64_t frame, double* scratch) {
  const std::int64_t height = a.depth.shape[1], width = a.depth.shape[2], size = height * width, s = a.stride;
  float* q = reinterpret_cast<float*>(scratch);
  float* rows = q + size + size % 2;
  float* const row[3] = {rows, rows + width, rows + 2 * width};
  inverse_depth(a.depth, frame * size, size, a.scale, q);
  NormalRows sweep(q, height, width, a.camera, a.fit, scratch + (size + 1) / 2 + (3 * width + 1) / 2);
  for (std::int64_t v = 0; v < height; v += s) {
    float* const whole[3] = {&a.normals(frame, 0, v / s, 0), &a.normals(frame, 1, v / s, 0),
                             &a.normals(frame, 2, v / s, 0)};
    sweep.row(v, s == 1 ? whole : row);
    if (s > 1)
      for (int c = 0; c < 3; ++c)
        for (std::int64_t u = 0; u < width; u += s) whole[c][u / s] = row[c][u];
  }
}

}  // namespace

std::int64_t normal_rows_scratch(std::int64_t width, int radius) {
  const std::int64_t n = padded(width, radius);
  return (kColumnDoubles + 2 * kWindowDoubles) * n + (kColumnFloats + 2 * kWindowFloats) * n / 2 + 5 * width;
}

NormalRows::NormalRows(const float* q, std::int64_t height, std::int64_t width, const Pinhole& camera, const Fit& fit,
                       double* scratch)
    : q_(q), height_(height), width_(width), camera_(camera), fit_(fit), scratch_(scratch), next_(-fit.radius) {
  std::fill_n(scratch, normal_rows_scratch(width, fit.radius), 0.);
}

void NormalRows::slide(std::int64_t v) {
  const Buffers b = cut(scratch_, width_, fit_.radius);
  const std::int64_t r = fit_.radius, top = v - r - 1;
  Columns inner = b.columns;
  inner.d += r, inner.jd += r, inner.dd += r, inner.n += r, inner.j += r, inner.jj += r;
  slide_columns(inner, top >= 0 ? q_ + top * width_ : nullptr, v + r < height_ ? q_ + (v + r) * width_ : nullptr,
                width_, fit_.radius);
}

void NormalRows::row(std::int64_t v, float* const (&out)[3]) {
  if (fit_.estimator == Estimator::kPca) return pca_row(q_, height_, width_, camera_, fit_, v, scratch_, out);
  for (; next_ <= v; ++next_) slide(next_);
  const Buffers b = cut(scratch_, width_, fit_.radius);
  sum_windows(b, width_, fit_.radius);
  solve_row(b.sum, q_ + v * width_, camera_, fit_, v, width_, out[0], out[1], out[2]);
}

void inverse_depth(const Array& depth, std::int64_t at, std::int64_t n, float scale, float* q) {
  if (depth.dtype == DType::kUint16) return invert(static_cast<const std::uint16_t*>(depth.data) + at, n, scale, q);
  invert(static_cast<const float*>(depth.data) + at, n, scale, q);
}

std::int64_t normals_scratch(std::int64_t height, std::int64_t width, int radius) {
  return (height * width + 1) / 2 + (3 * width + 1) / 2 + normal_rows_scratch(width, radius);
}

void normals(const Normals& args, Stream) {
  for_each_worker(args.depth.shape[0], args.scratch.shape[0], [&](std::int64_t frame, std::int64_t worker) {
    if (args.points.data && args.depth.dtype == DType::kUint16)
      write_points(static_cast<const std::uint16_t*>(args.depth.data), args, frame);
    if (args.points.data && args.depth.dtype == DType::kFloat32)
      write_points(static_cast<const float*>(args.depth.data), args, frame);
    if (args.normals.data) write_normals(args, frame, &args.scratch(worker, 0));
  });
}

}  // namespace fs
