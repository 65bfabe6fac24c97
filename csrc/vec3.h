// Small vectors, symmetric 3x3 eigenvectors and the nearest rotation, for host and device.
#pragma once

#include <bit>
#include <cmath>

#include "core.h"

namespace fs {

// 1 / sqrt(x) to within 1e-6 of itself for normal positive x; NaN stays NaN. On the CPU a guess from the exponent and
// two Newton steps, the first with constants that spread its error evenly: they vectorise and take a third of the time
// of a square root and a division.
FS_HD float inverse_sqrt(float x) {
#ifdef __CUDA_ARCH__
  return rsqrtf(x);
#else
  float y = std::bit_cast<float>(0x5f1ffff9u - (std::bit_cast<unsigned>(x) >> 1));
  y *= 0.703952253f * (2.38924456f - x * y * y);
  return y * (1.5f - 0.5f * x * y * y);
#endif
}

template <class T>
struct Vec3 {
  T x{}, y{}, z{};
};
using Vec3f = Vec3<float>;
using Vec3d = Vec3<double>;

template <class T>
FS_HD Vec3<T> operator+(Vec3<T> a, Vec3<T> b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z};
}
template <class T>
FS_HD Vec3<T> operator-(Vec3<T> a, Vec3<T> b) {
  return {a.x - b.x, a.y - b.y, a.z - b.z};
}
template <class T>
FS_HD Vec3<T> operator-(Vec3<T> a) {
  return {-a.x, -a.y, -a.z};
}
template <class T>
FS_HD Vec3<T> operator*(T s, Vec3<T> a) {
  return {s * a.x, s * a.y, s * a.z};
}
template <class T>
FS_HD T dot(Vec3<T> a, Vec3<T> b) {
  return a.x * b.x + a.y * b.y + a.z * b.z;
}
template <class T>
FS_HD Vec3<T> cross(Vec3<T> a, Vec3<T> b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
template <class T>
FS_HD T norm(Vec3<T> a) {
  return std::sqrt(dot(a, a));
}
// a / |a|; NaN in every component when a is zero.
template <class T>
FS_HD Vec3<T> normalize(Vec3<T> a) {
  return (T(1) / norm(a)) * a;
}

// Rows of a 3x3 matrix: (m.r0, m.r1, m.r2).
template <class T>
struct Mat3 {
  Vec3<T> r0, r1, r2;
};
using Mat3f = Mat3<float>;
using Mat3d = Mat3<double>;

template <class T>
FS_HD Vec3<T> operator*(const Mat3<T>& m, Vec3<T> a) {
  return {dot(m.r0, a), dot(m.r1, a), dot(m.r2, a)};
}
template <class T>
FS_HD T determinant(const Mat3<T>& m) {
  return dot(m.r0, cross(m.r1, m.r2));
}
template <class T>
FS_HD Mat3<T> transpose(const Mat3<T>& m) {
  return {{m.r0.x, m.r1.x, m.r2.x}, {m.r0.y, m.r1.y, m.r2.y}, {m.r0.z, m.r1.z, m.r2.z}};
}
template <class T>
FS_HD Mat3<T> operator*(const Mat3<T>& a, const Mat3<T>& b) {
  const Mat3<T> t = transpose(b);
  return {t * a.r0, t * a.r1, t * a.r2};
}

// The upper triangle of a symmetric 3x3 matrix.
template <class T>
struct Sym3 {
  T xx{}, xy{}, xz{}, yy{}, yz{}, zz{};
};
using Sym3f = Sym3<float>;
using Sym3d = Sym3<double>;

// One Jacobi rotation that zeroes a[p][q] of the symmetric a, applied to the columns of v as well.
template <class T, int N>
FS_HD void jacobi_rotate(T (&a)[N][N], T (&v)[N][N], int p, int q) {
  const T theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
  const T t = (theta < 0 ? T(-1) : T(1)) / (std::fabs(theta) + std::sqrt(theta * theta + 1));
  const T c = 1 / std::sqrt(t * t + 1), s = t * c;
  for (int k = 0; k < N; ++k) {
    const T kp = a[k][p], kq = a[k][q];
    a[k][p] = c * kp - s * kq, a[k][q] = s * kp + c * kq;
  }
  for (int k = 0; k < N; ++k) {
    const T pk = a[p][k], qk = a[q][k];
    a[p][k] = c * pk - s * qk, a[q][k] = s * pk + c * qk;
    const T vp = v[k][p], vq = v[k][q];
    v[k][p] = c * vp - s * vq, v[k][q] = s * vp + c * vq;
  }
  a[p][q] = a[q][p] = 0;
}

// Diagonalises the symmetric a in place by cyclic Jacobi; column j of v is the eigenvector of a[j][j] (unsorted).
template <class T, int N>
FS_HD void jacobi(T (&a)[N][N], T (&v)[N][N]) {
  T scale = 0;
  for (int i = 0; i < N; ++i)
    for (int j = 0; j < N; ++j) v[i][j] = T(i == j), scale = std::fmax(scale, std::fabs(a[i][j]));
  const T negligible = scale * (sizeof(T) == 4 ? T(1e-9) : T(1e-18));
  for (int sweep = 0; sweep < 16; ++sweep) {
    bool rotated = false;
    for (int p = 0; p < N - 1; ++p)
      for (int q = p + 1; q < N; ++q)
        if (std::fabs(a[p][q]) > negligible) jacobi_rotate(a, v, p, q), rotated = true;
    if (!rotated) return;
  }
}

template <class T>
struct Eigen3 {
  T value[3];         // ascending
  Vec3<T> vector[3];  // unit, vector[i] belongs to value[i]; the sign is arbitrary
};

// All eigenvalues and eigenvectors of a symmetric 3x3 matrix, by Jacobi (exact for repeated eigenvalues too).
template <class T>
FS_HD Eigen3<T> eigen(const Sym3<T>& m) {
  T a[3][3] = {{m.xx, m.xy, m.xz}, {m.xy, m.yy, m.yz}, {m.xz, m.yz, m.zz}}, v[3][3];
  jacobi(a, v);
  int order[3] = {0, 1, 2};
  auto by_value = [&](int i, int j) {
    if (a[order[j]][order[j]] < a[order[i]][order[i]]) {
      const int other = order[i];
      order[i] = order[j], order[j] = other;
    }
  };
  by_value(0, 1), by_value(1, 2), by_value(0, 1);
  Eigen3<T> out;
  for (int i = 0; i < 3; ++i) {
    const int j = order[i];
    out.value[i] = a[j][j];
    out.vector[i] = {v[0][j], v[1][j], v[2][j]};
  }
  return out;
}

// The smallest eigenvalue of a symmetric 3x3 matrix in closed form (trigonometric solution of its cubic).
template <class T>
FS_HD T smallest_eigenvalue(const Sym3<T>& m) {
  const T q = (m.xx + m.yy + m.zz) / 3;
  const T a = m.xx - q, b = m.yy - q, c = m.zz - q;
  const T p2 = (a * a + b * b + c * c + 2 * (m.xy * m.xy + m.xz * m.xz + m.yz * m.yz)) / 6;
  const T p = std::sqrt(p2);
  if (!(p > 0)) return q;
  const T det = a * (b * c - m.yz * m.yz) - m.xy * (m.xy * c - m.yz * m.xz) + m.xz * (m.xy * m.yz - b * m.xz);
  const T r = std::fmin(std::fmax(det / (2 * p2 * p), T(-1)), T(1));
  return q + 2 * p * std::cos((std::acos(r) + T(2 * 3.14159265358979323846)) / 3);
}

// The unit eigenvector of the smallest eigenvalue: closed form, or Jacobi where the closed form loses its digits.
// Its rounding error grows as eps * |m| / gap; centre and scale the covariance before, or use Sym3<double>.
template <class T>
FS_HD Vec3<T> smallest_eigenvector(const Sym3<T>& given) {
  const T most = std::fmax(std::fmax(std::fabs(given.xx), std::fmax(std::fabs(given.yy), std::fabs(given.zz))),
                           std::fmax(std::fabs(given.xy), std::fmax(std::fabs(given.xz), std::fabs(given.yz))));
  const T k = most > 0 ? 1 / most : T(1);  // fourth powers follow: keep them away from underflow
  const Sym3<T> m{k * given.xx, k * given.xy, k * given.xz, k * given.yy, k * given.yz, k * given.zz};
  const T e = smallest_eigenvalue(m);
  const Vec3<T> r0{m.xx - e, m.xy, m.xz}, r1{m.xy, m.yy - e, m.yz}, r2{m.xz, m.yz, m.zz - e};
  const Vec3<T> c01 = cross(r0, r1), c02 = cross(r0, r2), c12 = cross(r1, r2);
  const T n01 = dot(c01, c01), n02 = dot(c02, c02), n12 = dot(c12, c12);
  Vec3<T> best = n01 >= n02 ? c01 : c02;
  best = n12 > std::fmax(n01, n02) ? c12 : best;
  const T scale = dot(r0, r0) + dot(r1, r1) + dot(r2, r2);
  if (!(dot(best, best) > T(1e-3) * scale * scale)) return eigen(m).vector[0];
  return normalize(best);
}

// A matrix over its trace.
template <class T>
FS_HD Sym3<T> over_trace(const Sym3<T>& m) {
  const T s = 1 / (m.xx + m.yy + m.zz);
  return {s * m.xx, s * m.xy, s * m.xz, s * m.yy, s * m.yz, s * m.zz};
}
template <class T>
FS_HD Sym3<T> adjugate(const Sym3<T>& m) {
  return {m.yy * m.zz - m.yz * m.yz, m.xz * m.yz - m.xy * m.zz, m.xy * m.yz - m.xz * m.yy,
          m.xx * m.zz - m.xz * m.xz, m.xy * m.xz - m.xx * m.yz, m.xx * m.yy - m.xy * m.xy};
}
template <class T>
FS_HD Sym3<T> squared(const Sym3<T>& given) {
  const Sym3<T> m = over_trace(given);
  return {m.xx * m.xx + m.xy * m.xy + m.xz * m.xz, m.xx * m.xy + m.xy * m.yy + m.xz * m.yz,
          m.xx * m.xz + m.xy * m.yz + m.xz * m.zz, m.xy * m.xy + m.yy * m.yy + m.yz * m.yz,
          m.xy * m.xz + m.yy * m.yz + m.yz * m.zz, m.xz * m.xz + m.yz * m.yz + m.zz * m.zz};
}

// The unit eigenvector of the smallest eigenvalue of a positive semidefinite matrix whose other two are not zero,
// without a branch: the adjugate has the same eigenvectors and its largest eigenvalue there; six squarings leave only
// that one.
template <class T>
FS_HD Vec3<T> smallest_eigenvector_of_rank2(const Sym3<T>& m) {
  const Sym3<T> a = squared(squared(squared(squared(squared(squared(adjugate(over_trace(m))))))));
  const bool x = (a.xx >= a.yy) & (a.xx >= a.zz), y = a.yy >= a.zz;
  const Vec3<T> n{x ? a.xx : (y ? a.xy : a.xz), x ? a.xy : (y ? a.yy : a.yz), x ? a.xz : (y ? a.yz : a.zz)};
  return normalize(n);
}

// The rotation R (determinant +1) nearest to m in the Frobenius norm, the maximiser of trace(R^T m): the Procrustes
// solution U diag(1, 1, det UV^T) V^T, found as the largest eigenvector (a quaternion) of Davenport's 4x4 matrix,
// which needs no case for a singular or reflected m.
template <class T>
FS_HD Mat3<T> nearest_rotation(const Mat3<T>& m) {
  const T xx = m.r0.x, xy = m.r0.y, xz = m.r0.z, yx = m.r1.x, yy = m.r1.y, yz = m.r1.z, zx = m.r2.x, zy = m.r2.y,
          zz = m.r2.z;
  T k[4][4] = {{xx + yy + zz, zy - yz, xz - zx, yx - xy},
               {zy - yz, xx - yy - zz, xy + yx, xz + zx},
               {xz - zx, xy + yx, yy - xx - zz, yz + zy},
               {yx - xy, xz + zx, yz + zy, zz - xx - yy}};
  T v[4][4];
  jacobi(k, v);
  int j = 0;
  for (int i = 1; i < 4; ++i) j = k[i][i] > k[j][j] ? i : j;
  const T w = v[0][j], x = v[1][j], y = v[2][j], z = v[3][j];
  return {{1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)},
          {2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)},
          {2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)}};
}

}  // namespace fs
