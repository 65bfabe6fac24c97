#include "normals.h"

#include <algorithm>
#include <utility>

#include "for_each.h"
#include "normals_rows.h"

// Lanes never cross a call that is not inlined, so their calling convention does not matter.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace fs {
namespace {

// The sums over the column of 2 radius + 1 pixels above and below a row, one entry a column, with `radius` zeros at
// either end so that windows may reach outside.
struct Columns {
  double *d, *jd, *dd;
  float *n, *j, *jj;
};

constexpr std::int64_t kColumnDoubles = 3, kColumnFloats = 3;
constexpr int kLanes = 16, kPatch = kLanes + 2 * kMaxRadius;

std::int64_t padded(std::int64_t width, int radius) {
  return (width + kLanes + 2 * radius + 7) / 8 * 8;
}

Columns cut(double* scratch, std::int64_t width, int radius) {
  const std::int64_t n = padded(width, radius);
  float* const floats = reinterpret_cast<float*>(scratch + kColumnDoubles * n);
  return {scratch, scratch + n, scratch + 2 * n, floats, floats + n, floats + 2 * n};
}

// Moves the columns' window down by one row: `leaving` goes out above, `entering` comes in below (each may be null).
FS_CLONES void slide_columns(const Columns& c, const float* leaving, const float* entering, std::int64_t width,
                             int radius) {
  const float r = static_cast<float>(radius);
  if (leaving) {
#pragma GCC ivdep
    for (std::int64_t u = 0; u < width; ++u) {
      const double q = leaving[u];
      const float m = leaving[u] > 0 ? 1.f : 0.f;
      c.n[u] -= m, c.j[u] += r * m, c.jj[u] -= r * r * m;
      c.d[u] -= q, c.jd[u] += r * q, c.dd[u] -= q * q;
    }
  }
#pragma GCC ivdep
  for (std::int64_t u = 0; u < width; ++u)  // every row left is one row higher now
    c.jj[u] += c.n[u] - 2 * c.j[u], c.j[u] -= c.n[u], c.jd[u] -= c.d[u];
  if (entering) {
#pragma GCC ivdep
    for (std::int64_t u = 0; u < width; ++u) {
      const double q = entering[u];
      const float m = entering[u] > 0 ? 1.f : 0.f;
      c.n[u] += m, c.j[u] += r * m, c.jj[u] += r * r * m;
      c.d[u] += q, c.jd[u] += r * q, c.dd[u] += q * q;
    }
  }
}

// Sixteen pixels side by side; the compiler cuts it into whatever registers the machine has.
typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float)), aligned(4)));

FS_HD Lanes at(const float* p) {
  Lanes out;
  __builtin_memcpy(&out, p, sizeof out);
  return out;
}

// The columns under kLanes pixels and their margins, with 1 / z counted from `base`.
struct Patch {
  float n[kPatch], j[kPatch], jj[kPatch], d[kPatch], jd[kPatch], dd[kPatch];
  float base;
  bool full;  // every pixel of every window is valid
};

FS_HD void fill(Patch& p, const Columns& c, std::int64_t from, int length, float base, int window) {
  const double b = base;
  int holes = 0;
  p.base = base;
#pragma GCC ivdep
  for (int k = 0; k < length; ++k) {
    const double n = c.n[from + k], d = c.d[from + k];
    p.n[k] = c.n[from + k], p.j[k] = c.j[from + k], p.jj[k] = c.jj[from + k];
    p.d[k] = static_cast<float>(d - b * n);
    p.jd[k] = static_cast<float>(c.jd[from + k] - b * c.j[from + k]);
    p.dd[k] = static_cast<float>(c.dd[from + k] - 2 * b * d + b * b * n);
    holes += c.n[from + k] != static_cast<float>(window);
  }
  p.full = holes == 0;
}

struct LaneSums {
  Lanes n{}, i{}, j{}, ii{}, ij{}, jj{}, d{}, id{}, jd{}, dd{};
};

FS_HD void add_depths(LaneSums& s, const Patch& p, int radius) {
  for (int k = 0; k <= 2 * radius; ++k) {
    const float i = static_cast<float>(k - radius);
    const Lanes d = at(p.d + k);
    s.d += d, s.id += i * d, s.jd += at(p.jd + k), s.dd += at(p.dd + k);
  }
}

FS_HD void add_places(LaneSums& s, const Patch& p, int radius) {
  for (int k = 0; k <= 2 * radius; ++k) {
    const float i = static_cast<float>(k - radius);
    const Lanes n = at(p.n + k), j = at(p.j + k);
    s.n += n, s.i += i * n, s.ii += i * i * n, s.j += j, s.ij += i * j, s.jj += at(p.jj + k);
  }
}

// What add_places finds when every pixel of the window is valid.
FS_HD void full_places(LaneSums& s, int radius) {
  const float r = static_cast<float>(radius), window = 2 * r + 1, second = window * window * r * (r + 1) / 3;
  s.n = Lanes{} + window * window, s.ii = s.jj = Lanes{} + second;
}

// The same sums as arrays, which is what the compiler turns a loop over pixels into vectors from.
struct LaneArrays {
  float n[kLanes], i[kLanes], j[kLanes], ii[kLanes], ij[kLanes], jj[kLanes], d[kLanes], id[kLanes], jd[kLanes],
      dd[kLanes];
};

// The normals of one row from the sums of its columns, kLanes pixels at a time.
FS_CLONES void solve_row(const Columns& c, const float* q, const Pinhole& camera, const Fit& fit, std::int64_t v,
                         std::int64_t width, float* nx, float* ny, float* nz) {
  Patch p;
  LaneArrays a;
  float centre[kLanes], x[kLanes], y[kLanes], z[kLanes];
  for (std::int64_t u = 0; u < width; u += kLanes) {
    const std::int64_t lanes = std::min<std::int64_t>(kLanes, width - u);
    for (std::int64_t l = 0; l < kLanes; ++l) centre[l] = q[u + std::min(l, lanes - 1)];
    fill(p, c, u, kLanes + 2 * fit.radius, q[u + lanes / 2], 2 * fit.radius + 1);
    LaneSums s;
    add_depths(s, p, fit.radius);
    if (p.full)
      full_places(s, fit.radius);
    else
      add_places(s, p, fit.radius);
    __builtin_memcpy(&a, &s, sizeof a);
    const float left = static_cast<float>(u);
#pragma GCC ivdep
    for (int l = 0; l < kLanes; ++l) {
      const PlaneSums one{a.n[l], a.i[l], a.j[l], a.ii[l], a.ij[l], a.jj[l], a.d[l], a.id[l], a.jd[l], a.dd[l], p.base};
      const Vec3f n =
          plane_normal(one, camera, fit, left + static_cast<float>(l), static_cast<float>(v), centre[l] > 0);
      x[l] = n.x, y[l] = n.y, z[l] = n.z;
    }
    const std::size_t bytes = static_cast<std::size_t>(lanes) * sizeof(float);
    __builtin_memcpy(nx + u, x, bytes), __builtin_memcpy(ny + u, y, bytes), __builtin_memcpy(nz + u, z, bytes);
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

// A row of points from its inverse depth.
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
  float* q = reinterpret_cast<float*>(scratch);
  float* rows = q + size + size % 2;
  float* const row[3] = {rows, rows + width, rows + 2 * width};
  inverse_depth(a.depth, frame * size, size, a.scale, q);
  if (a.points.data) write_points(a, frame, q);
  if (!a.normals.data) return;
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
  const std::int64_t columns = (kColumnDoubles + (kColumnFloats + 1) / 2) * padded(width, radius);
  return std::max(columns, 5 * width);  // ten rows of floats for pca
}

NormalRows::NormalRows(const float* q, std::int64_t height, std::int64_t width, const Pinhole& camera, const Fit& fit,
                       double* scratch)
    : q_(q), height_(height), width_(width), camera_(camera), fit_(fit), scratch_(scratch), next_(-fit.radius) {
  std::fill_n(scratch, normal_rows_scratch(width, fit.radius), 0.);
}

void NormalRows::slide(std::int64_t v) {
  Columns c = cut(scratch_, width_, fit_.radius);
  const std::int64_t r = fit_.radius, top = v - r - 1;
  c.d += r, c.jd += r, c.dd += r, c.n += r, c.j += r, c.jj += r;
  slide_columns(c, top >= 0 ? q_ + top * width_ : nullptr, v + r < height_ ? q_ + (v + r) * width_ : nullptr, width_,
                fit_.radius);
}

void NormalRows::row(std::int64_t v, float* const (&out)[3]) {
  if (fit_.estimator == Estimator::kPca) return pca_row(q_, height_, width_, camera_, fit_, v, scratch_, out);
  for (; next_ <= v; ++next_) slide(next_);
  solve_row(cut(scratch_, width_, fit_.radius), q_ + v * width_, camera_, fit_, v, width_, out[0], out[1], out[2]);
}

void inverse_depth(const Array& depth, std::int64_t at, std::int64_t n, float scale, float* q) {
  if (depth.dtype == DType::kUint16) return invert(static_cast<const std::uint16_t*>(depth.data) + at, n, scale, q);
  invert(static_cast<const float*>(depth.data) + at, n, scale, q);
}

std::int64_t normals_scratch(std::int64_t height, std::int64_t width, int radius) {
  return (height * width + 1) / 2 + (3 * width + 1) / 2 + normal_rows_scratch(width, radius);
}

void normals(const Normals& args, Stream) {
  for_each_worker(args.depth.shape[0], args.scratch.shape[0],
                  [&](std::int64_t frame, std::int64_t worker) { write_frame(args, frame, &args.scratch(worker, 0)); });
}

}  // namespace fs
