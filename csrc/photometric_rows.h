// Rows of the photometric loss on the CPU: looking a row up in a source, window means, slopes. Everything here is
// inlined into the sweeps of photometric_forward.h and photometric_backward.h.
#pragma once

#include <algorithm>
#include <cstring>

#include "photometric.h"

namespace fs {

inline constexpr int kRowMargin = 16;  // elements before and after each row of scratch memory
inline constexpr int kRowLanes = 16;

inline std::int64_t row_pitch(std::int64_t width) {
  return (width + kRowLanes - 1) / kRowLanes * kRowLanes + 2 * kRowMargin;
}

// Runs a loop over a row, in float in a clone for each x86-64 level; what it captures, it must capture by value.
template <class F>
static FS_CLONES void cloned(const F loop) {
  loop();
}
template <class T, class F>
void row_loop(const F loop) {
  if constexpr (std::is_same_v<T, float>)
    cloned(loop);
  else
    loop();
}

// Hands out rows of a worker's scratch memory, each with its margins.
template <class T>
struct RowStack {
  T* next;
  std::int64_t pitch;

  RowStack(double* scratch, std::int64_t width) : next(reinterpret_cast<T*>(scratch)), pitch(row_pitch(width)) {}
  T* take(std::int64_t rows = 1) {
    T* const first = next + kRowMargin;
    next += rows * pitch;
    return first;
  }
};

// Rows around the sweep's row: slot r holds row v with v % depth == r, each of `count` rows of `pitch` elements.
template <class T>
struct Ring {
  T* rows = nullptr;
  std::int64_t depth = 0, count = 0, pitch = 0;

  Ring() = default;
  Ring(RowStack<T>& stack, std::int64_t depth_of, std::int64_t count_of)
      : rows(stack.take(depth_of * count_of)), depth(depth_of), count(count_of), pitch(stack.pitch) {}
  FS_HD T* at(std::int64_t row) const { return rows + row % depth * count * pitch; }
};

// One source of one frame, as rows are looked up in it.
template <class T>
struct Looker {
  const T* source;  // (C, H, W)
  std::int64_t channels, height, width;
  const T* depth;  // (H, W), or null
  const T* flow;   // (2, H, W), or null
  Projection<T> projection;
  Raster<T> raster;

  FS_HD Spot<T> spot(std::int64_t at, T u, T v) const {
    if (depth) return project(projection, u, v, reciprocal_depth(depth[at]));
    return displace(u, v, flow[at], flow[height * width + at]);
  }
};

template <class T>
Looker<T> looker(const View5<const T>& sources, const Lookup<T>& l, std::int64_t n, std::int64_t s) {
  const std::int64_t channels = sources.shape[2], height = sources.shape[3], width = sources.shape[4];
  const bool flows = l.flow.data != nullptr;
  Looker<T> out{&sources(n, s, 0, 0, 0),
                channels,
                height,
                width,
                flows ? nullptr : &l.depth(n, 0, 0),
                flows ? &l.flow(n, s, 0, 0, 0) : nullptr,
                {},
                raster<T>(height, width, l.padding, l.align_corners)};
  if (!flows) out.projection = projection(&l.intrinsics(n, 0), &l.poses(n, s, 0, 0));
  return out;
}

// Where the pixels of one row are looked up; each field is a row.
template <class T>
struct Places {
  std::int32_t* offset;  // of the top left pixel in its plane
  T *fx, *fy;            // shares of the right and the lower pixels
  T *gx, *gy;            // see Corner
  T* on;                 // 1 where valid, else 0
  T* q;                  // inverse depth
  T *upper, *lower;      // pairs of neighbours, two elements a pixel

  explicit Places(RowStack<T>& rows)
      : offset(reinterpret_cast<std::int32_t*>(rows.take())),
        fx(rows.take()),
        fy(rows.take()),
        gx(rows.take()),
        gy(rows.take()),
        on(rows.take()),
        q(rows.take()),
        upper(rows.take(2)),
        lower(rows.take(2)) {}
};
inline constexpr int kPlaceRows = 11;

template <class T>
FS_HD void invert_row(const T* depth, std::int64_t width, T* q) {
  row_loop<T>([=] {
#pragma GCC ivdep
    for (std::int64_t u = 0; u < width; ++u) q[u] = reciprocal_depth(depth[u]);
  });
}

template <class T, bool Depth>
FS_HD void find_places(const Looker<T>& k, std::int64_t row, const Places<T>& p) {
  const std::int32_t width = static_cast<std::int32_t>(k.width);
  const T v = static_cast<T>(row);
  const T* const flow_u = Depth ? nullptr : k.flow + row * width;
  const T* const flow_v = Depth ? nullptr : flow_u + k.height * k.width;
  if constexpr (Depth) invert_row(k.depth + row * width, width, p.q);
  const Projection<T> projection = k.projection;
  const Raster<T> r = k.raster;
  row_loop<T>([=] {
#pragma GCC ivdep
    for (std::int32_t u = 0; u < width; ++u) {
      Spot<T> s;
      if constexpr (Depth)
        s = project(projection, static_cast<T>(u), v, p.q[u]);
      else
        s = displace(static_cast<T>(u), v, flow_u[u], flow_v[u]);
      const Corner<T> c = corner(s, r);
      p.offset[u] = c.y * width + c.x;
      p.fx[u] = c.fx, p.fy[u] = c.fy, p.gx[u] = c.gx, p.gy[u] = c.gy, p.on[u] = c.valid ? T(1) : T(0);
    }
  });
}

template <class T>
FS_HD void find_row(const Looker<T>& k, std::int64_t row, const Places<T>& p) {
  k.depth ? find_places<T, true>(k, row, p) : find_places<T, false>(k, row, p);
}

// Copies the two neighbours at each place of a plane's row `down` elements below it; they move as one word.
template <class T>
FS_HD void fetch_pairs(const T* plane, const std::int32_t* offset, std::int64_t width, T* pairs) {
  row_loop<T>([=] {
#pragma GCC unroll 4
    for (std::int64_t u = 0; u < width; ++u) std::memcpy(pairs + 2 * u, plane + offset[u], 2 * sizeof(T));
  });
}

template <class T>
FS_HD void fetch(const Looker<T>& k, std::int64_t channel, const Places<T>& p) {
  const T* const plane = k.source + channel * k.height * k.width;
  const std::int64_t down = k.height > 1 ? k.width : 0;
  for (std::int64_t u = 0; u < k.width; u += kRowLanes) __builtin_prefetch(plane + p.offset[u] + 3 * down);
  if (k.width > 1) {
    fetch_pairs(plane, p.offset, k.width, p.upper);
    fetch_pairs(plane + down, p.offset, k.width, p.lower);
  } else {
    p.upper[0] = p.upper[1] = plane[p.offset[0]], p.lower[0] = p.lower[1] = plane[p.offset[0] + down];
  }
}

// The warped row of one channel, and with Slopes how it changes with the position.
template <class T, bool Slopes>
FS_HD void blend(const Places<T>& p, std::int64_t width, T* value, T* dx, T* dy) {
  row_loop<T>([=] {
#pragma GCC ivdep
    for (std::int64_t u = 0; u < width; ++u) {
      const Bilinear<T> b =
          bilinear(p.upper[2 * u], p.upper[2 * u + 1], p.lower[2 * u], p.lower[2 * u + 1], p.fx[u], p.fy[u]);
      value[u] = p.on[u] > 0 ? b.value : T(0);
      if constexpr (Slopes) dx[u] = p.gx[u] * b.dx, dy[u] = p.gy[u] * b.dy;
    }
  });
}

// One row of every channel: `warped` (and with Slopes `dx`, `dy`) are C rows, `step` elements apart.
template <class T, bool Slopes>
FS_HD void warp_row(const Looker<T>& k, std::int64_t row, const Places<T>& p, T* warped, T* dx, T* dy,
                    std::int64_t step) {
  find_row(k, row, p);
  for (std::int64_t c = 0; c < k.channels; ++c) {
    fetch(k, c, p);
    blend<T, Slopes>(p, k.width, warped + c * step, Slopes ? dx + c * step : nullptr, Slopes ? dy + c * step : nullptr);
  }
}

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
