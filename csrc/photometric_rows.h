// Rows of the photometric loss on the CPU: window sums, means and errors. With photometric_places.h, what the sweeps of
// photometric_forward.h and photometric_backward.h are made of.
#pragma once

#include "photometric_places.h"

namespace fs {

// Rows of one frame that one worker makes; it also makes what it needs of the rows above and below.
struct Band {
  std::int64_t frame, top, bottom;
};

template <class T>
FS_HD void write_valid(const T* on, std::int64_t width, std::uint8_t* valid) {
  row_loop<T>([=] {
#pragma GCC ivdep
    for (std::int64_t u = 0; u < width; ++u) valid[u] = on[u] > 0 ? 1 : 0;
  });
}

template <Ssim K>
inline constexpr int kRadius = K == Ssim::kBox3   ? 1
                               : K == Ssim::kBox7 ? 3
                                                  : 5;
template <Ssim K>
inline constexpr int kWindow = 2 * kRadius<K> + 1;

// The weights of a window along one axis. A box sums plainly and is scaled once by `scale`.
template <class T, Ssim K>
struct Window {
  static constexpr bool box = K != Ssim::kGauss11;
  T weight[kWindow<K>];
  T scale = box ? T(1) / static_cast<T>(kWindow<K> * kWindow<K>) : T(1);

  Window() {
    for (int k = 0; k < kWindow<K>; ++k) weight[k] = box ? T(1) : ssim_weight<T>(K, k - kRadius<K>);
  }
};

// The window's rows of two images around a row, mirrored.
template <class T, Ssim K>
struct WindowRows {
  const T *x[kWindow<K>], *y[kWindow<K>];
};

// Of two planes.
template <class T, Ssim K>
FS_HD WindowRows<T, K> window_rows(const T* x, const T* y, std::int64_t v, std::int64_t height, std::int64_t width) {
  WindowRows<T, K> rows;
  for (int k = 0; k < kWindow<K>; ++k) {
    const std::int64_t row = mirrored(v + k - kRadius<K>, height);
    rows.x[k] = x + row * width, rows.y[k] = y + row * width;
  }
  return rows;
}

// Of a plane, and of one channel of a ring.
template <class T, Ssim K>
FS_HD WindowRows<T, K> window_rows(const T* x, const Ring<T>& y, std::int64_t channel, std::int64_t v,
                                   std::int64_t height, std::int64_t width) {
  WindowRows<T, K> rows;
  for (int k = 0; k < kWindow<K>; ++k) {
    const std::int64_t row = mirrored(v + k - kRadius<K>, height);
    rows.x[k] = x + row * width, rows.y[k] = y.at(row) + channel * y.pitch;
  }
  return rows;
}

// Sums of x, y, x^2 + y^2 and (x - y)^2 over the columns of a window's rows, into four rows `step` apart, mirrored at
// the ends.
template <class T, Ssim K>
FS_HD void column_sums(const WindowRows<T, K>& rows, const Window<T, K>& window, std::int64_t width, T* sums,
                       std::int64_t step) {
  constexpr int r = kRadius<K>;
  row_loop<T>([=] {
#pragma GCC ivdep
    for (std::int64_t u = 0; u < width; ++u) {
      Moments<T> m{};
#pragma GCC unroll 11
      for (int k = 0; k < kWindow<K>; ++k) {
        const T x = rows.x[k][u], y = rows.y[k][u], wx = window.box ? x : window.weight[k] * x,
                wy = window.box ? y : window.weight[k] * y;
        m.x += wx, m.y += wy, m.square += wx * x, m.square += wy * y, m.difference += (wx - wy) * (x - y);
      }
      sums[u] = m.x, sums[u + step] = m.y, sums[u + 2 * step] = m.square, sums[u + 3 * step] = m.difference;
    }
  });
  for (T* sum = sums; sum < sums + 4 * step; sum += step)
    for (int k = 1; k <= r; ++k) sum[-k] = sum[k], sum[width - 1 + k] = sum[width - 1 - k];
}

template <class T, Ssim K>
FS_HD Moments<T> window_means(const T* sums, std::int64_t step, std::int64_t u, const Window<T, K>& window) {
  Moments<T> m{};
#pragma GCC unroll 11
  for (int k = 0; k < kWindow<K>; ++k) {
    const T w = window.box ? T(1) : window.weight[k];
    const T* const at = sums + u + k - kRadius<K>;
    m.x += w * at[0], m.y += w * at[step], m.square += w * at[2 * step], m.difference += w * at[3 * step];
  }
  return {m.x * window.scale, m.y * window.scale, m.square * window.scale, m.difference * window.scale};
}

// Adds the error of one channel to a row; x and y are the images' own rows.
template <class T, Ssim K>
FS_HD void add_errors(const T* sums, std::int64_t step, const Window<T, K>& window, const T* x, const T* y, T alpha,
                      std::int64_t width, T* error) {
  row_loop<T>([=] {
#pragma GCC ivdep
    for (std::int64_t u = 0; u < width; ++u)
      error[u] += photometric_error(ssim(window_means<T, K>(sums, step, u, window)), x[u], y[u], alpha);
  });
}

}  // namespace fs
