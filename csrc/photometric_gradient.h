// Gradients of the photometric loss on the CPU, row by row: from slopes of window means to an image, from an image to
// positions, from positions to depth, pose, flow and source.
#pragma once

#include "photometric_rows.h"

namespace fs {

// The slopes of one channel's loss by its window means, a row each in y, square and difference; `upstream` is d loss /
// d SSIM.
template <class T, Ssim K>
FS_HD void slope_row(const T* sums, std::int64_t step, const Window<T, K>& window, const T* upstream, T factor,
                     std::int64_t width, T* y, T* square, T* difference) {
  row_loop<T>([=] {
#pragma GCC ivdep
    for (std::int64_t u = 0; u < width; ++u) {
      const SsimSlopes<T> s = ssim_slopes(window_means<T, K>(sums, step, u, window));
      const T g = factor * upstream[u];
      y[u] = g * s.y, square[u] = g * s.square, difference[u] = g * s.difference;
    }
  });
}

// Of the windows around which rows a row's pixels take their gradients, and with what weight.
template <class T, Ssim K>
struct GatherRows {
  std::int64_t row[kWindow<K>];
  T weight[kWindow<K>];

  FS_HD GatherRows(std::int64_t v, std::int64_t height, const Window<T, K>& window) {
    const T across = window.box ? T(1) / static_cast<T>(kWindow<K>) : T(1);  // a box's sums along the row are plain
    for (int k = 0; k < kWindow<K>; ++k) {
      const std::int64_t centre = v + k - kRadius<K>;
      const bool inside = centre >= 0 && centre < height;
      row[k] = inside ? centre : v;
      weight[k] = inside ? across * mirrored_weight<T>(K, centre, v, height) : T(0);
    }
  }
};

// Weighted sums of slope rows over the windows' rows into three rows of `sums`, zeros around them.
template <class T, Ssim K>
FS_HD void gather_columns(const Ring<T>& slopes, std::int64_t channel, const GatherRows<T, K>& from, std::int64_t width,
                          T* sums, std::int64_t step) {
  for (int j = 0; j < 3; ++j, sums += step) {
    const T* rows[kWindow<K>];
    for (int k = 0; k < kWindow<K>; ++k) rows[k] = slopes.at(from.row[k]) + (3 * channel + j) * slopes.pitch;
    row_loop<T>([=] {
#pragma GCC ivdep
      for (std::int64_t u = 0; u < width; ++u) {
        T sum = 0;
#pragma GCC unroll 11
        for (int k = 0; k < kWindow<K>; ++k) sum += from.weight[k] * rows[k][u];
        sums[u] = sum;
      }
    });
    std::fill_n(sums - kRadius<K>, kRadius<K>, T(0)), std::fill_n(sums + width, kRadius<K>, T(0));
  }
}

// What pixel `m` steps from an end takes from windows that reach it in the mirror; `inward` is 1 at the left, -1 right.
template <class T, Ssim K>
FS_HD T mirrored_share(const T* end, std::int64_t inward, int m, const Window<T, K>& window) {
  T sum = 0;
  for (int i = 0; i + m <= kRadius<K>; ++i) sum += window.weight[kRadius<K> + i + m] * end[inward * i];
  return sum;
}

// The gradient of image row y from the sums of gather_columns.
template <class T, Ssim K>
FS_HD void gather_row(const T* sums, std::int64_t step, const Window<T, K>& window, const T* x, const T* y,
                      std::int64_t width, T* dy) {
  row_loop<T>([=] {
#pragma GCC ivdep
    for (std::int64_t u = 0; u < width; ++u) {
      T s0 = 0, s1 = 0, s2 = 0;
#pragma GCC unroll 11
      for (int k = 0; k < kWindow<K>; ++k) {
        const T w = window.box ? T(1) : window.weight[k];
        const T* const at = sums + u + k - kRadius<K>;
        s0 += w * at[0], s1 += w * at[step], s2 += w * at[2 * step];
      }
      dy[u] = pixel_slope({s0, s1, s2}, x[u], y[u]);
    }
  });
  for (const std::int64_t inward : {1, -1})
    for (int m = 1; m <= kRadius<K>; ++m) {
      const T* const end = inward > 0 ? sums : sums + width - 1;
      const std::int64_t u = inward > 0 ? m : width - 1 - m;
      dy[u] += pixel_slope({mirrored_share(end, inward, m, window), mirrored_share(end + step, inward, m, window),
                            mirrored_share(end + 2 * step, inward, m, window)},
                           x[u], y[u]);
    }
}

// Adds a row's gradient to the four pixels each sample was made of.
template <class T>
FS_HD void scatter_row(const Places<T>& p, const T* dvalue, std::int64_t height, std::int64_t width, T* dplane) {
  const std::int64_t right = width > 1 ? 1 : 0, down = height > 1 ? width : 0;
  for (std::int64_t u = 0; u < width; ++u) {
    if (!(p.on[u] > 0)) continue;
    T* const at = dplane + p.offset[u];
    const T d = dvalue[u], fx = p.fx[u], fy = p.fy[u];
    at[0] += (1 - fx) * (1 - fy) * d, at[right] += fx * (1 - fy) * d;
    at[down] += (1 - fx) * fy * d, at[down + right] += fx * fy * d;
  }
}

// Takes the gradient of one source's positions, row by row, to depth and pose or to flow.
template <class T>
struct PositionSink {
  const Looker<T>& source;
  T* ddepth;     // (H, W) or null
  T* dflow;      // (2, H, W) or null
  double* sums;  // kPoseSums numbers or null
  bool first;    // ddepth is written, not added to
  T *n0, *n1, *n2, *q;

  static constexpr int kRows = 4;

  FS_HD PositionSink(const Looker<T>& looked, const LookupGradient<T>& out, std::int64_t n, std::int64_t s,
                     std::int64_t sums_row, RowStack<T>& rows)
      : source(looked),
        ddepth(out.ddepth.data ? &out.ddepth(n, 0, 0) : nullptr),
        dflow(out.dflow.data ? &out.dflow(n, s, 0, 0, 0) : nullptr),
        sums(out.sums.data ? &out.sums(sums_row, 0) : nullptr),
        first(s == 0),
        n0(rows.take()),
        n1(rows.take()),
        n2(rows.take()),
        q(rows.take()) {
    if (sums) std::fill_n(sums, kPoseSums, 0.);
    const std::int64_t end = (source.width + kRowLanes - 1) / kRowLanes * kRowLanes;
    for (T* row : {n0, n1, n2, q}) std::fill(row + source.width, row + end, T(0));
  }

  FS_HD void row(std::int64_t v, const T* dx, const T* dy) {
    const std::int64_t at = v * source.width;
    if (dflow) {
      std::copy_n(dx, source.width, dflow + at);
      std::copy_n(dy, source.width, dflow + source.height * source.width + at);
    }
    if (!ddepth && !sums) return;
    motion_row(v, dx, dy);
    if (ddepth) depth_row(ddepth + at);
    if (sums) add_sums(static_cast<T>(v));
  }

  FS_HD void motion_row(std::int64_t v, const T* dx, const T* dy) {
    const std::int32_t width = static_cast<std::int32_t>(source.width);
    const Projection<T> p = source.projection;
    invert_row(source.depth + v * width, width, q);
    const T y = static_cast<T>(v);
    T *const o0 = n0, *const o1 = n1, *const o2 = n2, *const inverses = q;
    row_loop<T>([=] {
#pragma GCC ivdep
      for (std::int32_t u = 0; u < width; ++u) {
        const Spot<T> spot = project(p, static_cast<T>(u), y, inverses[u]);
        const Motion<T> m = motion_gradient(spot, dx[u], dy[u]);
        o0[u] = spot.valid ? m.n0 : T(0), o1[u] = spot.valid ? m.n1 : T(0), o2[u] = spot.valid ? m.n2 : T(0);
      }
    });
  }

  FS_HD void depth_row(T* out) const {
    const T *const m0 = n0, *const m1 = n1, *const m2 = n2, *const inverses = q;
    const std::int64_t width = source.width;
    const bool fresh = first;
    const T b0 = source.projection.b[0], b1 = source.projection.b[1], b2 = source.projection.b[2];
    row_loop<T>([=] {
#pragma GCC ivdep
      for (std::int64_t u = 0; u < width; ++u) {
        const T d = -inverses[u] * inverses[u] * (b0 * m0[u] + b1 * m1[u] + b2 * m2[u]);
        out[u] = fresh ? d : out[u] + d;
      }
    });
  }

  // Lane by lane within the row, then in double, always in the same order.
  FS_HD void add_sums(T v) {
    const T* const n[3] = {n0, n1, n2};
    for (int i = 0; i < 3; ++i) {
      T plain[kRowLanes] = {}, across[kRowLanes] = {}, by_q[kRowLanes] = {};
      for (std::int64_t u = 0; u < source.width; u += kRowLanes)
        for (int l = 0; l < kRowLanes; ++l) {
          const T m = n[i][u + l];
          plain[l] += m, across[l] += m * static_cast<T>(static_cast<std::int32_t>(u) + l), by_q[l] += m * q[u + l];
        }
      double sum = 0, sum_u = 0, sum_q = 0;
      for (int l = 0; l < kRowLanes; ++l) sum += plain[l], sum_u += across[l], sum_q += by_q[l];
      sums[3 * i] += sum_u, sums[3 * i + 1] += sum * v, sums[3 * i + 2] += sum, sums[9 + i] += sum_q;
    }
  }
};

// The gradients of poses and intrinsics from the partial sums of their frames' parts.
template <class T>
void write_cameras(const Lookup<T>& lookup, const LookupGradient<T>& out, std::int64_t parts) {
  const std::int64_t frames = lookup.poses.shape[0], sources = lookup.poses.shape[1];
  for (std::int64_t i = 0; i < frames * sources; ++i) {
    double* const total = &out.sums(i * parts, 0);
    for (std::int64_t part = 1; part < parts; ++part)
      for (int k = 0; k < kPoseSums; ++k) total[k] += out.sums(i * parts + part, k);
    if (out.dposes.data)
      pose_gradient(&lookup.intrinsics(i / sources, 0), total, &out.dposes(i / sources, i % sources, 0, 0));
  }
  const IntrinsicsGradient<T> intrinsics{lookup, out, parts};
  for (std::int64_t frame = 0; out.dintrinsics.data && frame < frames; ++frame) intrinsics(frame);
}

}  // namespace fs
