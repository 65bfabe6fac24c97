// The sweeps that make the photometric loss, the warped images and SSIM maps on the CPU.
#pragma once

#include <array>

#include "photometric_rows.h"

namespace fs {

// Rows of errors of a source, warped and as it is.
template <class T>
struct SourceErrors {
  T *error, *still;
};

// The loss of a band, row by row: every source is warped one radius ahead.
template <class T, Ssim K>
struct LossSweep {
  const Photometric<T>& a;
  Band band;
  std::int64_t channels, height, width, sources, pitch;
  Window<T, K> window;
  Places<T> places;
  T* sums;  // four rows
  std::array<SourceErrors<T>, kMaxSources> errors;
  Ring<T> rings[kMaxSources];  // C rows for each row
  std::int64_t next[kMaxSources];
  Looker<T> lookers[kMaxSources];

  FS_HD LossSweep(const Photometric<T>& args, const Band& rows_of, RowStack<T> rows)
      : a(args),
        band(rows_of),
        channels(args.target.shape[1]),
        height(args.target.shape[2]),
        width(args.target.shape[3]),
        sources(args.sources.shape[1]),
        pitch(rows.pitch),
        places(rows),
        sums(rows.take(4)) {
    for (std::int64_t s = 0; s < sources; ++s) {
      errors[s] = {rows.take(), rows.take()};
      rings[s] = Ring<T>(rows, kWindow<K>, channels), next[s] = std::max<std::int64_t>(0, band.top - kRadius<K>);
      lookers[s] = looker(a.sources, a.lookup, band.frame, s);
    }
  }

  FS_HD void advance(std::int64_t s, std::int64_t last) {
    for (; next[s] <= last; ++next[s]) {
      const std::int64_t v = next[s];
      warp_row<T, false>(lookers[s], v, places, rings[s].at(v), nullptr, nullptr, pitch);
      if (v >= band.top && v < band.bottom) write_valid(places.on, width, &a.valid(band.frame, s, v, 0));
    }
  }

  // The error row of the target against the warped rows of a source, or with `Still` against the source as it is.
  template <bool Still>
  FS_HD void error_row(std::int64_t s, std::int64_t v, T* error) {
    std::fill_n(error, width, T(0));
    for (std::int64_t c = 0; c < channels; ++c) {
      const T* const x = &a.target(band.frame, c, 0, 0);
      const WindowRows<T, K> rows = Still ? window_rows<T, K>(x, &a.sources(band.frame, s, c, 0, 0), v, height, width)
                                          : window_rows<T, K>(x, rings[s], c, v, height, width);
      column_sums(rows, window, width, sums, pitch);
      add_errors<T, K>(sums, pitch, window, rows.x[kRadius<K>], rows.y[kRadius<K>], a.alpha, width, error);
    }
  }

  template <int S>
  FS_HD void decide(std::int64_t v) {
    const T per_channel = T(1) / static_cast<T>(channels);
    T* const loss = &a.loss(band.frame, v, 0);
    std::int8_t* const choice = &a.choice(band.frame, v, 0);
    const std::uint8_t* const valid = &a.valid(band.frame, 0, v, 0);
    const std::int64_t columns = width, plane = height * width;
    const Reduce reduce = a.reduce;
    const bool automask = a.automask;
    const std::array<SourceErrors<T>, kMaxSources> from = errors;
    row_loop<T>([=] {
#pragma GCC ivdep
      for (std::int64_t u = 0; u < columns; ++u) {
        Best<T> best;
#pragma GCC unroll 4
        for (int s = 0; s < S; ++s) best.add(s, from[s].error[u], from[s].still[u], valid[s * plane + u] > 0);
        loss[u] = best.loss(reduce, automask) * per_channel;
        choice[u] = static_cast<std::int8_t>(best.choice);
      }
    });
  }

  FS_HD void run() {
    for (std::int64_t v = band.top; v < band.bottom; ++v) {
      for (std::int64_t s = 0; s < sources; ++s) {
        advance(s, std::min(height - 1, v + kRadius<K>));
        error_row<false>(s, v, errors[s].error);
        if (a.automask) error_row<true>(s, v, errors[s].still);
      }
      if (sources == 1) decide<1>(v);
      if (sources == 2) decide<2>(v);
      if (sources == 3) decide<3>(v);
      if (sources == 4) decide<4>(v);
    }
  }
};

template <class T>
FS_HD void loss_band(const Photometric<T>& a, const Band& band, double* scratch) {
  const RowStack<T> rows(scratch, a.target.shape[3]);
  if (a.kind == Ssim::kBox3) LossSweep<T, Ssim::kBox3>(a, band, rows).run();
  if (a.kind == Ssim::kBox7) LossSweep<T, Ssim::kBox7>(a, band, rows).run();
  if (a.kind == Ssim::kGauss11) LossSweep<T, Ssim::kGauss11>(a, band, rows).run();
}

template <class T>
FS_HD void warp_band(const Warp<T>& a, const Band& band, double* scratch) {
  RowStack<T> rows(scratch, a.sources.shape[4]);
  const Places<T> places(rows);
  for (std::int64_t s = 0; s < a.sources.shape[1]; ++s) {
    const Looker<T> source = looker(a.sources, a.lookup, band.frame, s);
    for (std::int64_t v = band.top; v < band.bottom; ++v) {
      warp_row<T, false>(source, v, places, &a.warped(band.frame, s, 0, v, 0), nullptr, nullptr,
                         source.height * source.width);
      write_valid(places.on, source.width, &a.valid(band.frame, s, v, 0));
    }
  }
}

template <class T, Ssim K>
FS_HD void ssim_rows(const SsimMap<T>& a, const Band& band, RowStack<T> rows) {
  const std::int64_t height = a.x.shape[1], width = a.x.shape[2], pitch = rows.pitch;
  const Window<T, K> window;
  T* const sums = rows.take(4);
  for (std::int64_t v = band.top; v < band.bottom; ++v) {
    column_sums(window_rows<T, K>(&a.x(band.frame, 0, 0), &a.y(band.frame, 0, 0), v, height, width), window, width,
                sums, rows.pitch);
    T* const map = &a.map(band.frame, v, 0);
    row_loop<T>([=] {
#pragma GCC ivdep
      for (std::int64_t u = 0; u < width; ++u) map[u] = ssim(window_means<T, K>(sums, pitch, u, window));
    });
  }
}

template <class T>
FS_HD void ssim_band(const SsimMap<T>& a, const Band& band, double* scratch) {
  const RowStack<T> rows(scratch, a.x.shape[2]);
  if (a.kind == Ssim::kBox3) ssim_rows<T, Ssim::kBox3>(a, band, rows);
  if (a.kind == Ssim::kBox7) ssim_rows<T, Ssim::kBox7>(a, band, rows);
  if (a.kind == Ssim::kGauss11) ssim_rows<T, Ssim::kGauss11>(a, band, rows);
}

}  // namespace fs
