#include "for_each.h"
#include "normals.h"

namespace fs {
namespace {

// A block makes the normals of a tile of the image; a margin of `radius` pixels around it is read as well.
constexpr int kTileWidth = 32, kTileHeight = 16, kThreads = 256;

struct Tile {
  std::int64_t frame, top, left;  // of the tile's first pixel
  int radius, rows, columns;      // margin, and the tile's size with its margin
};

FS_DEVICE Tile tile_of(int radius, std::int64_t height) {
  const std::int64_t down = (height + kTileHeight - 1) / kTileHeight;
  return {static_cast<std::int64_t>(blockIdx.x) / down,
          static_cast<std::int64_t>(blockIdx.x) % down * kTileHeight,
          static_cast<std::int64_t>(blockIdx.y) * kTileWidth,
          radius,
          kTileHeight + 2 * radius,
          kTileWidth + 2 * radius};
}

template <class T>
FS_DEVICE float depth_at(const Normals& a, std::int64_t frame, std::int64_t v, std::int64_t u) {
  const std::int64_t height = a.depth.shape[1], width = a.depth.shape[2];
  if (v < 0 || u < 0 || v >= height || u >= width) return 0.f;
  return metres(static_cast<const T*>(a.depth.data)[(frame * height + v) * width + u], a.scale);
}

// tile(r, c) = metres, margin included; 0 outside the image.
template <class T>
FS_DEVICE void load_tile(const Normals& a, const Tile& t, float* tile) {
  for (int i = static_cast<int>(threadIdx.x); i < t.rows * t.columns; i += kThreads)
    tile[i] = depth_at<T>(a, t.frame, t.top + i / t.columns - t.radius, t.left + i % t.columns - t.radius);
}

// Where a thread's normal goes; false when the pixel is outside the image or skipped by the stride.
FS_DEVICE bool wanted(const Normals& a, std::int64_t v, std::int64_t u) {
  return v < a.depth.shape[1] && u < a.depth.shape[2] && v % a.stride == 0 && u % a.stride == 0;
}

FS_DEVICE void write(const Normals& a, std::int64_t frame, std::int64_t v, std::int64_t u, Vec3f n) {
  const std::int64_t row = v / a.stride, column = u / a.stride;
  a.normals(frame, 0, row, column) = n.x;
  a.normals(frame, 1, row, column) = n.y;
  a.normals(frame, 2, row, column) = n.z;
}

// Sums over the 2 radius + 1 pixels above and below a pixel of the tile.
struct Column {
  double d, jd, dd;
  float n, j, jj;
};

FS_DEVICE Column column_sums(const float* tile, const Tile& t, int row, int column) {
  Column s{};
  for (int j = -t.radius; j <= t.radius; ++j) {
    const float q = inverse(tile[(row + t.radius + j) * t.columns + column]);
    const float m = q > 0 ? 1.f : 0.f, weight = static_cast<float>(j);
    s.n += m, s.j += weight * m, s.jj += weight * weight * m;
    s.d += q, s.jd += static_cast<double>(weight) * q, s.dd += static_cast<double>(q) * q;
  }
  return s;
}

FS_DEVICE PlaneSums window_sums(const Column* columns, const Tile& t, int row, int column, float base) {
  PlaneSums s;
  s.base = base;
  const double b = base;
  for (int i = -t.radius; i <= t.radius; ++i) {
    const Column& c = columns[row * t.columns + column + t.radius + i];
    const float w = static_cast<float>(i), d = static_cast<float>(c.d - b * c.n);
    s.n += c.n, s.i += w * c.n, s.ii += w * w * c.n, s.j += c.j, s.ij += w * c.j, s.jj += c.jj;
    s.d += d, s.id += w * d, s.jd += static_cast<float>(c.jd - b * c.j);
    s.dd += static_cast<float>(c.dd - 2 * b * c.d + b * b * c.n);
  }
  return s;
}

template <class T>
FS_KERNEL void plane_kernel(Normals a) {
  FS_DYNAMIC_SHARED(unsigned char, shared);
  const Tile t = tile_of(a.fit.radius, a.depth.shape[1]);
  Column* const columns = reinterpret_cast<Column*>(shared);
  float* const tile = reinterpret_cast<float*>(shared + sizeof(Column) * kTileHeight * t.columns);
  load_tile<T>(a, t, tile);
  FS_SYNC();
  for (int i = static_cast<int>(threadIdx.x); i < kTileHeight * t.columns; i += kThreads)
    columns[i] = column_sums(tile, t, i / t.columns, i % t.columns);
  FS_SYNC();
  for (int i = static_cast<int>(threadIdx.x); i < kTileHeight * kTileWidth; i += kThreads) {
    const int row = i / kTileWidth, column = i % kTileWidth;
    const std::int64_t v = t.top + row, u = t.left + column;
    if (!wanted(a, v, u)) continue;
    const float q = inverse(tile[(row + t.radius) * t.columns + column + t.radius]);
    write(a, t.frame, v, u,
          plane_normal(window_sums(columns, t, row, column, q), a.camera, a.fit, static_cast<float>(u),
                       static_cast<float>(v), q > 0));
  }
}

FS_DEVICE PcaSums neighbour_sums(const Normals& a, const float* tile, const Tile& t, int row, int column) {
  const float z0 = tile[(row + t.radius) * t.columns + column + t.radius];
  const float u0 = static_cast<float>(t.left + column), v0 = static_cast<float>(t.top + row);
  const Vec3f p0 = z0 * ray(a.camera, u0, v0);
  PcaSums s;
  for (int j = 0; j <= 2 * t.radius; ++j)
    for (int i = 0; i <= 2 * t.radius; ++i) {
      const float z = tile[(row + j) * t.columns + column + i];
      if (!same_surface(z0, z, a.fit)) continue;
      const Vec3f p =
          z * ray(a.camera, u0 + static_cast<float>(i - t.radius), v0 + static_cast<float>(j - t.radius)) - p0;
      s.n += 1, s.p = s.p + p;
      s.pp.xx += p.x * p.x, s.pp.xy += p.x * p.y, s.pp.xz += p.x * p.z;
      s.pp.yy += p.y * p.y, s.pp.yz += p.y * p.z, s.pp.zz += p.z * p.z;
    }
  return s;
}

template <class T>
FS_KERNEL void pca_kernel(Normals a) {
  FS_DYNAMIC_SHARED(float, tile);
  const Tile t = tile_of(a.fit.radius, a.depth.shape[1]);
  load_tile<T>(a, t, tile);
  FS_SYNC();
  for (int i = static_cast<int>(threadIdx.x); i < kTileHeight * kTileWidth; i += kThreads) {
    const int row = i / kTileWidth, column = i % kTileWidth;
    const std::int64_t v = t.top + row, u = t.left + column;
    if (!wanted(a, v, u)) continue;
    const bool valid = tile[(row + t.radius) * t.columns + column + t.radius] > 0;
    write(a, t.frame, v, u,
          pca_normal(neighbour_sums(a, tile, t, row, column), a.fit,
                     ray(a.camera, static_cast<float>(u), static_cast<float>(v)), valid));
  }
}

template <class T>
struct PointAt {
  Normals a;
  FS_HD void operator()(std::int64_t i) const {
    const std::int64_t width = a.depth.shape[2], size = a.depth.shape[1] * width;
    const std::int64_t frame = i / size, v = i % size / width, u = i % width;
    const float z = metres(static_cast<const T*>(a.depth.data)[i], a.scale);
    const Vec3f p = (z > 0 ? z : std::numeric_limits<float>::quiet_NaN()) *
                    ray(a.camera, static_cast<float>(u), static_cast<float>(v));
    a.points(frame, 0, v, u) = p.x, a.points(frame, 1, v, u) = p.y, a.points(frame, 2, v, u) = p.z;
  }
};

template <class T>
void run(const Normals& a, Stream stream) {
  const std::int64_t frames = a.depth.shape[0], height = a.depth.shape[1], width = a.depth.shape[2];
  if (frames * height * width == 0) return;
  if (a.points.data) for_each(frames * height * width, stream, PointAt<T>{a});
  if (!a.normals.data) return;
  const std::int64_t down = (height + kTileHeight - 1) / kTileHeight, across = (width + kTileWidth - 1) / kTileWidth;
  require(frames * down < (std::int64_t{1} << 31) && across < 65536, "depth is too large for one launch");
  const Grid grid{static_cast<unsigned>(frames * down), static_cast<unsigned>(across)};
  const std::size_t r = static_cast<std::size_t>(a.fit.radius), columns = kTileWidth + 2 * r;
  const std::size_t tile = sizeof(float) * (kTileHeight + 2 * r) * columns;
  if (a.fit.estimator == Estimator::kPlane)
    launch(plane_kernel<T>, grid, {kThreads}, tile + sizeof(Column) * kTileHeight * columns, stream, a);
  else
    launch(pca_kernel<T>, grid, {kThreads}, tile, stream, a);
}

}  // namespace

std::int64_t normals_scratch(std::int64_t, std::int64_t, int) {
  return 0;
}

void normals(const Normals& args, Stream stream) {
  if (args.depth.dtype == DType::kUint16) return run<std::uint16_t>(args, stream);
  run<float>(args, stream);
}

}  // namespace fs
