// The geometry of photometric: where a pixel lies in a source frame, what is seen there, and how both change.
#pragma once

#include <cmath>
#include <limits>

#include "core.h"

namespace fs {

inline constexpr int kPoseSums = 12;      // what one part of the image adds to the gradient of one pose
inline constexpr double kNearest = 1e-3;  // metres: a point no further in front of the source camera is invalid

enum class Padding : int { kBorder = 0, kZeros = 1 };

// 1 / depth in metres, 0 where nothing was measured.
template <class T>
FS_HD T reciprocal_depth(T z) {
  return 1 / (z > 0 ? z : std::numeric_limits<T>::infinity());
}

// What a pose does to pixel p = (u, v, 1) of inverse depth q: it moves to (u + n0, v + n1) / (1 + n2) with
// n = D p + b q, where D = K (R - 1) K^-1 and b = K t. The identity gives n = 0, hence exactly (u, v).
template <class T>
struct Projection {
  T d[3][3], b[3];
};

// intrinsics: fx, fy, cx, cy; pose: 16 numbers, row by row.
template <class T>
FS_HD Projection<T> projection(const T* intrinsics, const T* pose) {
  const T fx = intrinsics[0], fy = intrinsics[1], cx = intrinsics[2], cy = intrinsics[3];
  Projection<T> p;
  for (int i = 0; i < 3; ++i) {
    const T m0 = (pose[4 * i] - (i == 0 ? 1 : 0)) / fx, m1 = (pose[4 * i + 1] - (i == 1 ? 1 : 0)) / fy;
    p.d[i][0] = m0, p.d[i][1] = m1, p.d[i][2] = pose[4 * i + 2] - (i == 2 ? 1 : 0) - m0 * cx - m1 * cy;
    p.b[i] = pose[4 * i + 3];
  }
  for (int j = 0; j < 3; ++j) {
    p.d[0][j] = fx * p.d[0][j] + cx * p.d[2][j];
    p.d[1][j] = fy * p.d[1][j] + cy * p.d[2][j];
  }
  p.b[0] = fx * p.b[0] + cx * p.b[2], p.b[1] = fy * p.b[1] + cy * p.b[2];
  return p;
}

// The gradient of a pose, 16 numbers, from that of its projection: sums[3 i + j] of D_ij and sums[9 + i] of b_i.
template <class T>
FS_HD void pose_gradient(const T* intrinsics, const double* sums, T* dpose) {
  const double fx = intrinsics[0], fy = intrinsics[1], cx = intrinsics[2], cy = intrinsics[3];
  for (int i = 0; i < 3; ++i) {
    double row[4];  // of K^T (dD | db)
    for (int j = 0; j < 4; ++j) {
      const double* const s = sums + (j < 3 ? j : 9);
      const int step = j < 3 ? 3 : 1;
      row[j] = i == 0 ? fx * s[0] : i == 1 ? fy * s[step] : cx * s[0] + cy * s[step] + s[2 * step];
    }
    dpose[4 * i] = static_cast<T>((row[0] - cx * row[2]) / fx);
    dpose[4 * i + 1] = static_cast<T>((row[1] - cy * row[2]) / fy);
    dpose[4 * i + 2] = static_cast<T>(row[2]), dpose[4 * i + 3] = static_cast<T>(row[3]);
  }
  for (int j = 12; j < 16; ++j) dpose[j] = 0;
}

// Adds what one source has in the gradient of the intrinsics, 4 numbers, from that of its projection: S of D, s of b,
// laid out as above. With A = (R - 1) K^-1 the projection moves by dD = dK A - D dK K^-1 and db = dK t, so that the
// gradient of K is S A^T + s t^T - D^T S K^-T.
template <class T>
FS_HD void add_intrinsics_gradient(const T* intrinsics, const T* pose, const double* sums, double* dintrinsics) {
  const double camera[4] = {intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3]};
  double moves[12];
  for (int i = 0; i < 12; ++i) moves[i] = pose[i];
  const Projection<double> p = projection(camera, moves);
  for (int i = 0; i < 2; ++i) {  // fx and cx, then fy and cy
    const double f = camera[i], c = camera[2 + i];
    double df = sums[9 + i] * moves[4 * i + 3], dc = sums[9 + i] * moves[11], back[3] = {};  // back: row i of D^T S
    for (int j = 0; j < 3; ++j) {
      df += sums[3 * i + j] * (p.d[i][j] - c * p.d[2][j]) / f, dc += sums[3 * i + j] * p.d[2][j];
      for (int k = 0; k < 3; ++k) back[j] += p.d[k][i] * sums[3 * k + j];
    }
    dintrinsics[i] += df - (back[i] - c * back[2]) / f, dintrinsics[2 + i] += dc - back[2];
  }
}

// A pixel's position in the source frame, before the grid's own scale.
template <class T>
struct Spot {
  T x, y;
  T w;  // depth in the target frame over depth in the source frame
  bool valid;
};

template <class T>
FS_HD Spot<T> project(const Projection<T>& p, T u, T v, T q) {
  const T n0 = p.d[0][0] * u + p.d[0][1] * v + p.d[0][2] + p.b[0] * q;
  const T n1 = p.d[1][0] * u + p.d[1][1] * v + p.d[1][2] + p.b[1] * q;
  const T n2 = p.d[2][0] * u + p.d[2][1] * v + p.d[2][2] + p.b[2] * q;
  const bool front = (q > 0) & (1 + n2 > T(kNearest) * q);
  const T w = 1 / (front ? 1 + n2 : T(1));
  const T x = u + (n0 - u * n2) * w, y = v + (n1 - v * n2) * w;
  const bool valid = front & (x == x) & (y == y);
  return {x, y, w, valid};
}

// The gradient of n0, n1, n2 from that of the position; the gradient of q is then n . b, that of D_ij n_i p_j, of b_i
// n_i q, and of the depth -q^2 times that of q.
template <class T>
struct Motion {
  T n0, n1, n2;
};
template <class T>
FS_HD Motion<T> motion_gradient(const Spot<T>& s, T dx, T dy) {
  return {dx * s.w, dy * s.w, -(dx * s.x + dy * s.y) * s.w};
}

template <class T>
FS_HD Spot<T> displace(T u, T v, T du, T dv) {
  const T x = u + du, y = v + dv;
  const bool valid = (x == x) & (y == y);
  return {x, y, T(1), valid};
}

// b unless a is the lesser (greater): a NaN for a gives b.
template <class T>
FS_HD T lesser(T a, T b) {
  return a < b ? a : b;
}
template <class T>
FS_HD T greater(T a, T b) {
  return a > b ? a : b;
}

// The grid of a source image.
template <class T>
struct Raster {
  T right, bottom;         // its last column and row
  T sx, sy, shift;         // position x is looked up at sx x + shift
  std::int32_t left_most;  // the last column, and row, that can be a top left corner
  std::int32_t top_most;
  bool anywhere;  // positions outside are valid
};
template <class T>
FS_HD Raster<T> raster(std::int64_t height, std::int64_t width, Padding padding, bool align_corners) {
  const T right = static_cast<T>(width - 1), bottom = static_cast<T>(height - 1);
  return {right,
          bottom,
          align_corners ? T(1) : static_cast<T>(width) / right,
          align_corners ? T(1) : static_cast<T>(height) / bottom,
          align_corners ? T(0) : T(-0.5),
          static_cast<std::int32_t>(width > 1 ? width - 2 : 0),
          static_cast<std::int32_t>(height > 1 ? height - 2 : 0),
          padding == Padding::kBorder};
}

// The four pixels between which a sample lies, (x, y) the top left one, and how far the sample is from it.
template <class T>
struct Corner {
  std::int32_t x, y;  // inside the image whatever the position was
  T fx, fy;           // in [0, 1]
  T gx, gy;           // how the sample's place moves with the position: the grid's scale, 0 where it is clamped
  bool valid;
};

template <class T>
FS_HD Corner<T> corner(const Spot<T>& s, const Raster<T>& r) {
  const T x = s.x * r.sx + r.shift, y = s.y * r.sy + r.shift;
  const T at_x = greater(lesser(x, r.right), T(0)), at_y = greater(lesser(y, r.bottom), T(0));  // NaN: r.right
  const bool moves_x = (at_x == x) & (x != 0) & (x != r.right), moves_y = (at_y == y) & (y != 0) & (y != r.bottom);
  const bool valid = s.valid & (r.anywhere | ((at_x == x) & (at_y == y)));
  const std::int32_t left = lesser(static_cast<std::int32_t>(at_x), r.left_most);
  const std::int32_t top = lesser(static_cast<std::int32_t>(at_y), r.top_most);
  return {left,
          top,
          at_x - static_cast<T>(left),
          at_y - static_cast<T>(top),
          (valid & moves_x) ? r.sx : T(0),
          (valid & moves_y) ? r.sy : T(0),
          valid};
}

// The sample between four pixels, and how it changes with its place.
template <class T>
struct Bilinear {
  T value, dx, dy;
};
template <class T>
FS_HD Bilinear<T> bilinear(T top_left, T top_right, T bottom_left, T bottom_right, T fx, T fy) {
  const T top = (1 - fx) * top_left + fx * top_right, bottom = (1 - fx) * bottom_left + fx * bottom_right;
  return {(1 - fy) * top + fy * bottom, (1 - fy) * (top_right - top_left) + fy * (bottom_right - bottom_left),
          bottom - top};
}

}  // namespace fs
