// The sweeps that take gradients of the photometric loss, of warped images and of SSIM maps back on the CPU. What the
// forward computed is computed again, row by row.
#pragma once

#include "photometric_gradient.h"

namespace fs {

// Which part of its frame a band is.
struct Part {
  std::int64_t index, count;
};

// Its row of LookupGradient::sums for source s of frame n.
template <class T>
std::int64_t sums_row(const View5<const T>& sources, std::int64_t n, std::int64_t s, Part part) {
  return (n * sources.shape[1] + s) * part.count + part.index;
}

// The gradient of a band for one source: slopes are made one radius ahead of the row that gathers them, warped rows one
// radius ahead of the slopes.
template <class T, Ssim K>
struct LossGradientSweep {
  const Photometric<T>& a;
  const T* dloss;  // (H, W)
  T* dsource;      // (C, H, W) or null
  Band band;
  std::int64_t s, channels, height, width, pitch, next;
  Window<T, K> window;
  Looker<T> source;
  Places<T> places;
  std::int32_t* count;
  T *sums, *dvalue, *dx, *dy;
  Ring<T> warped, slopes, upstream;  // warped: C values, C slopes in x, C in y
  PositionSink<T> sink;

  FS_HD LossGradientSweep(const PhotometricGradient<T>& args, const Band& rows_of, Part part, std::int64_t of,
                          RowStack<T> rows)
      : a(args.forward),
        dloss(&args.dloss(rows_of.frame, 0, 0)),
        dsource(args.out.dsources.data ? &args.out.dsources(rows_of.frame, of, 0, 0, 0) : nullptr),
        band(rows_of),
        s(of),
        channels(a.target.shape[1]),
        height(a.target.shape[2]),
        width(a.target.shape[3]),
        pitch(rows.pitch),
        next(std::max<std::int64_t>(0, band.top - 2 * kRadius<K>)),
        source(looker(a.sources, a.lookup, band.frame, s)),
        places(rows),
        count(reinterpret_cast<std::int32_t*>(rows.take())),
        sums(rows.take(4)),
        dvalue(rows.take()),
        dx(rows.take()),
        dy(rows.take()),
        warped(rows, kWindow<K>, 3 * channels),
        slopes(rows, kWindow<K>, 3 * channels),
        upstream(rows, kWindow<K>, 1),
        sink(source, args.out, band.frame, s, sums_row(a.sources, band.frame, s, part), rows) {}

  // What this source answers for of a row's loss, by channel.
  FS_HD void upstream_row(std::int64_t v, T* out) {
    const std::int8_t* const choice = &a.choice(band.frame, v, 0);
    const std::uint8_t* const valid = &a.valid(band.frame, 0, v, 0);
    const T* const row = dloss + v * width;
    const T per_channel = T(1) / static_cast<T>(channels);
    const std::int64_t plane = height * width, columns = width;
    const Reduce reduce = a.reduce;
    const int of = static_cast<int>(s);
    std::int32_t* const valids = count;
    std::fill_n(valids, width, 0);
    for (std::int64_t i = 0; reduce == Reduce::kMean && i < a.sources.shape[1]; ++i)
      for (std::int64_t u = 0; u < width; ++u) valids[u] += valid[i * plane + u];
    row_loop<T>([=] {
#pragma GCC ivdep
      for (std::int64_t u = 0; u < columns; ++u) {
        const T part = share<T>(reduce, choice[u], of, valid[of * plane + u] > 0, valids[u]);
        out[u] = part > 0 ? row[u] * part * per_channel : T(0);
      }
    });
  }

  FS_HD void slope_rows(std::int64_t p) {
    for (; next <= std::min(height - 1, p + kRadius<K>); ++next) {
      T* const to = warped.at(next);
      warp_row<T, true>(source, next, places, to, to + channels * pitch, to + 2 * channels * pitch, pitch);
    }
    upstream_row(p, upstream.at(p));
    for (std::int64_t c = 0; c < channels; ++c) {
      const T* const x = &a.target(band.frame, c, 0, 0);
      column_sums(window_rows<T, K>(x, warped, c, p, height, width), window, width, sums, pitch);
      T* const to = slopes.at(p) + 3 * c * pitch;
      slope_row(sums, pitch, window, upstream.at(p), -a.alpha / 2, width, to, to + pitch, to + 2 * pitch);
    }
  }

  // Adds a channel's gradient to that of the positions.
  FS_HD void add_channel(std::int64_t v, std::int64_t c, const GatherRows<T, K>& from) {
    const T* const x = &a.target(band.frame, c, v, 0);
    const T* const y = warped.at(v) + c * pitch;
    const T *const slope_x = y + channels * pitch, *const slope_y = slope_x + channels * pitch;
    gather_columns(slopes, c, from, width, sums, pitch);
    gather_row(sums, pitch, window, x, y, width, dvalue);
    const T* const g = upstream.at(v);
    const T weight = 1 - a.alpha;
    const std::int64_t columns = width;
    T *const dimage = dvalue, *const sum_x = dx, *const sum_y = dy;
    row_loop<T>([=] {
#pragma GCC ivdep
      for (std::int64_t u = 0; u < columns; ++u) {
        const T sign = y[u] > x[u] ? T(1) : y[u] < x[u] ? T(-1) : T(0);
        const T d = dimage[u] + weight * sign * g[u];
        dimage[u] = d, sum_x[u] += d * slope_x[u], sum_y[u] += d * slope_y[u];
      }
    });
    if (dsource) scatter_row(places, dvalue, height, width, dsource + c * height * width);
  }

  FS_HD void row(std::int64_t v) {
    const GatherRows<T, K> from(v, height, window);
    std::fill_n(dx, width, T(0)), std::fill_n(dy, width, T(0));
    if (dsource) find_row(source, v, places);
    for (std::int64_t c = 0; c < channels; ++c) add_channel(v, c, from);
    sink.row(v, dx, dy);
  }

  FS_HD void run() {
    for (std::int64_t p = std::max<std::int64_t>(0, band.top - kRadius<K>); p < band.bottom + kRadius<K>; ++p) {
      if (p < height) slope_rows(p);
      if (p - kRadius<K> >= band.top) row(p - kRadius<K>);
    }
  }
};

template <class T>
FS_HD void loss_gradient_band(const PhotometricGradient<T>& a, const Band& band, Part part, double* scratch) {
  const RowStack<T> rows(scratch, a.forward.target.shape[3]);
  for (std::int64_t s = 0; s < a.forward.sources.shape[1]; ++s) {
    if (a.forward.kind == Ssim::kBox3) LossGradientSweep<T, Ssim::kBox3>(a, band, part, s, rows).run();
    if (a.forward.kind == Ssim::kBox7) LossGradientSweep<T, Ssim::kBox7>(a, band, part, s, rows).run();
    if (a.forward.kind == Ssim::kGauss11) LossGradientSweep<T, Ssim::kGauss11>(a, band, part, s, rows).run();
  }
}

template <class T>
FS_HD void add_products(const T* dvalue, const T* slope_x, const T* slope_y, std::int64_t width, T* dx, T* dy) {
  row_loop<T>([=] {
#pragma GCC ivdep
    for (std::int64_t u = 0; u < width; ++u) dx[u] += dvalue[u] * slope_x[u], dy[u] += dvalue[u] * slope_y[u];
  });
}

template <class T>
FS_HD void warp_gradient_band(const WarpGradient<T>& a, const Band& band, Part part, double* scratch) {
  const View5<const T>& sources = a.forward.sources;
  const std::int64_t channels = sources.shape[2], height = sources.shape[3], width = sources.shape[4];
  for (std::int64_t s = 0; s < sources.shape[1]; ++s) {
    RowStack<T> rows(scratch, width);
    const std::int64_t pitch = rows.pitch;
    const Looker<T> source = looker(sources, a.forward.lookup, band.frame, s);
    const Places<T> places(rows);
    T *const slope_x = rows.take(channels), *const slope_y = rows.take(channels), *const value = rows.take(channels);
    T *const dx = rows.take(), *const dy = rows.take();
    PositionSink<T> sink(source, a.out, band.frame, s, sums_row(sources, band.frame, s, part), rows);
    for (std::int64_t v = band.top; v < band.bottom; ++v) {
      warp_row<T, true>(source, v, places, value, slope_x, slope_y, pitch);
      std::fill_n(dx, width, T(0)), std::fill_n(dy, width, T(0));
      for (std::int64_t c = 0; c < channels; ++c) {
        const T* const dvalue = &a.dwarped(band.frame, s, c, v, 0);
        add_products(dvalue, slope_x + c * pitch, slope_y + c * pitch, width, dx, dy);
        if (a.out.dsources.data) scatter_row(places, dvalue, height, width, &a.out.dsources(band.frame, s, c, 0, 0));
      }
      sink.row(v, dx, dy);
    }
  }
}

// The gradient of y; that of x is the same with the two exchanged.
template <class T, Ssim K>
FS_HD void ssim_gradient_rows(const View3<const T>& xs, const View3<const T>& ys, const View3<const T>& dmap,
                              const View3<T>& out, const Band& band, RowStack<T> rows) {
  const std::int64_t height = xs.shape[1], width = xs.shape[2], pitch = rows.pitch, r = kRadius<K>;
  const T *const x = &xs(band.frame, 0, 0), *const y = &ys(band.frame, 0, 0);
  const Window<T, K> window;
  T* const sums = rows.take(4);
  const Ring<T> slopes(rows, kWindow<K>, 3);
  for (std::int64_t p = std::max<std::int64_t>(0, band.top - r); p < band.bottom + r; ++p) {
    if (p < height) {
      column_sums(window_rows<T, K>(x, y, p, height, width), window, width, sums, pitch);
      T* const to = slopes.at(p);
      slope_row(sums, pitch, window, &dmap(band.frame, p, 0), T(1), width, to, to + pitch, to + 2 * pitch);
    }
    const std::int64_t v = p - r;
    if (v < band.top) continue;
    gather_columns(slopes, 0, GatherRows<T, K>(v, height, window), width, sums, pitch);
    gather_row(sums, pitch, window, x + v * width, y + v * width, width, &out(band.frame, v, 0));
  }
}

template <class T, Ssim K>
FS_HD void ssim_gradient_kind(const SsimGradient<T>& a, const Band& band, double* scratch) {
  const RowStack<T> rows(scratch, a.dmap.shape[2]);
  if (a.dy.data) ssim_gradient_rows<T, K>(a.forward.x, a.forward.y, a.dmap, a.dy, band, rows);
  if (a.dx.data) ssim_gradient_rows<T, K>(a.forward.y, a.forward.x, a.dmap, a.dx, band, rows);
}

template <class T>
FS_HD void ssim_gradient_band(const SsimGradient<T>& a, const Band& band, double* scratch) {
  if (a.forward.kind == Ssim::kBox3) ssim_gradient_kind<T, Ssim::kBox3>(a, band, scratch);
  if (a.forward.kind == Ssim::kBox7) ssim_gradient_kind<T, Ssim::kBox7>(a, band, scratch);
  if (a.forward.kind == Ssim::kGauss11) ssim_gradient_kind<T, Ssim::kGauss11>(a, band, scratch);
}

}  // namespace fs
