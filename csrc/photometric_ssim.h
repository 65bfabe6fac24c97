// The SSIM half of photometric: windows and the formula, with its slopes.
#pragma once

#include <cmath>

#include "core.h"

namespace fs {

enum class Ssim : int { kBox3 = 0, kBox7 = 1, kGauss11 = 2 };

inline constexpr int kMaxSsimRadius = 5;
inline constexpr double kSsimC1 = 1e-4, kSsimC2 = 9e-4;  // 0.01^2 and 0.03^2: images lie in [0, 1]

FS_HD int ssim_radius(Ssim kind) {
  return kind == Ssim::kBox3 ? 1 : kind == Ssim::kBox7 ? 3 : 5;
}

// The weight of a pixel k steps from the centre, along one axis; over a window they add up to 1. The Gaussian has
// sigma 1.5.
template <class T>
FS_HD T ssim_weight(Ssim kind, std::int64_t k) {
  const int r = ssim_radius(kind);
  if (k < -r || k > r) return T(0);
  if (kind != Ssim::kGauss11) return T(1) / static_cast<T>(2 * r + 1);
  return static_cast<T>(std::exp(-static_cast<double>(k * k) / 4.5) / 3.759232795169263);
}

// The pixel that stands at place i of an axis of `size` pixels mirrored at its ends, -size < i < 2 size - 1.
FS_HD std::int64_t mirrored(std::int64_t i, std::int64_t size) {
  const std::int64_t j = i < 0 ? -i : i;
  return j < size ? j : 2 * (size - 1) - j;
}

// The weight of a pixel in the window around a centre, along an axis of `size` pixels mirrored at its ends (the end
// pixel itself not repeated; size > radius). The same weight carries gradients from the window back to the pixel.
template <class T>
FS_HD T mirrored_weight(Ssim kind, std::int64_t centre, std::int64_t pixel, std::int64_t size) {
  T weight = ssim_weight<T>(kind, pixel - centre);
  if (pixel > 0) weight += ssim_weight<T>(kind, -pixel - centre);
  if (pixel < size - 1) weight += ssim_weight<T>(kind, 2 * (size - 1) - pixel - centre);
  return weight;
}

// Means over a window of x, y, x^2 + y^2 and (x - y)^2. From the last, rather than from the mean of x y, follow a SSIM
// of exactly 1 for equal images and full digits for nearly equal ones.
template <class T>
struct Moments {
  T x, y, square, difference;
};

// SSIM = (1 - p) (1 - q) with p = (mx - my)^2 / (mx^2 + my^2 + C1), q = var(x - y) / (vx + vy + C2).
template <class T>
FS_HD T ssim(const Moments<T>& m) {
  const T step = m.x - m.y, squares = m.x * m.x + m.y * m.y;
  const T b1 = squares + T(kSsimC1), b2 = m.square - squares + T(kSsimC2);
  const T a1 = b1 - step * step, a2 = b2 - (m.difference - step * step);
  return a1 * a2 / (b1 * b2);
}

// Slopes of SSIM by the window's means of y, of x^2 + y^2 and of (x - y)^2.
template <class T>
struct SsimSlopes {
  T y, square, difference;
};

template <class T>
FS_HD SsimSlopes<T> ssim_slopes(const Moments<T>& m) {
  const T step = m.x - m.y, squares = m.x * m.x + m.y * m.y;
  const T b1 = squares + T(kSsimC1), b2 = m.square - squares + T(kSsimC2);
  const T inverse = 1 / (b1 * b2), per_b1 = b2 * inverse, per_b2 = b1 * inverse;
  const T p = step * step * per_b1, q = (m.difference - step * step) * per_b2;
  const T y = 2 * (1 - q) * per_b1 * (step + m.y * p) - 2 * (1 - p) * per_b2 * (step + m.y * q);
  return {y, (1 - p) * q * per_b2, -(1 - p) * per_b2};
}

// A pixel's gradient from the weighted sum of the slopes of the windows it lies in.
template <class T>
FS_HD T pixel_slope(const SsimSlopes<T>& sum, T x, T y) {
  return sum.y + 2 * (y * sum.square + (y - x) * sum.difference);
}

// The error of one channel of a pixel; (1 - SSIM) / 2 lies in [0, 1] by itself.
template <class T>
FS_HD T photometric_error(T ssim_value, T x, T y, T alpha) {
  const T difference = x > y ? x - y : y - x;
  return alpha / 2 * (1 - ssim_value) + (1 - alpha) * difference;
}

}  // namespace fs
