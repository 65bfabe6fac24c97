// The way back through SSIM's windows on the GPU: a block writes the slopes of its windows to shared memory, then each
// pixel gathers from the windows it lies in. Used by photometric.cu alone.
#pragma once

#include "photometric_tile.h"

namespace fs {

inline constexpr int kMapWide = kWide + 2;  // a row of slopes, from column -1 on
inline constexpr int kMap = kMapWide * kTall;

// Three maps of slopes, one entry a window of the block, and what pixels near the image's edge take from them.
template <class T, Ssim K>
struct SlopeMaps {
  static constexpr int kTaps = 2 * kRadius<K> + 1;
  alignas(16) T slope[3 * kMap];
  T across[kWide * kTaps], down[kTall * kTaps];  // weights by pixel and window, with the mirrored ones

  FS_DEVICE void weigh_edges(const Region& r) {
    for (int i = static_cast<int>(threadIdx.x); i < (kWide + kTall) * kTaps; i += kTileThreads) {
      const bool wide = i < kWide * kTaps;
      const int j = wide ? i : i - kWide * kTaps, pixel = (wide ? r.left : r.top) + j / kTaps;
      (wide ? across : down)[j] =
          mirrored_weight<T>(K, pixel + j % kTaps - kRadius<K>, pixel, wide ? r.width : r.height);
    }
  }
  FS_DEVICE void store(int row, int column, const SsimSlopes<T>& s) {
    T* const at = slope + row * kMapWide + column + 1;
    at[0] = s.y, at[kMap] = s.square, at[2 * kMap] = s.difference;
  }
  // The 2 R + 2 windows in a row around this thread's columns, j rows below the first that its pixels take from.
  FS_DEVICE void read(int j, SsimSlopes<T> (&raw)[kTaps + 1]) const {
    const int row = first_row() + j - kRadius<K>;
    const bool inside = (row >= 0) & (row < kTall);
    const T* const at = slope + (inside ? row : 0) * kMapWide + first_column() + 1 - kRadius<K>;
#pragma unroll
    for (int i = 0; i <= kRadius<K>; ++i) {
      Pair<T> two[3];
#pragma unroll
      for (int m = 0; m < 3; ++m) two[m] = *reinterpret_cast<const Pair<T>*>(at + m * kMap + 2 * i);
      raw[2 * i] = {two[0].x, two[1].x, two[2].x}, raw[2 * i + 1] = {two[0].y, two[1].y, two[2].y};
    }
  }
};

// Writes the slopes of this thread's windows: `upstream` is the gradient of their pixels' loss, `factor` that of SSIM.
template <class T, Ssim K>
FS_DEVICE void spread(const Pair<T>* tile, const Weights<T>& w, const Region& r, const T (&upstream)[2][kRows],
                      T factor, SlopeMaps<T, K>& maps) {
  Moments<T> means[2][kRows];
  window_moments<T, K>(tile, w, means);
  for_windows([&](int k, int c, int row, int column) {
    SsimSlopes<T> s = ssim_slopes(means[c][k]);
    s = (factor * upstream[c][k]) * s;
    maps.store(row, column, r.holds(row, column) ? s : SsimSlopes<T>{});
  });
}

// The sums of slopes over the windows that hold this thread's pixels; near the image's edge the weights differ.
template <class T, Ssim K>
FS_DEVICE void slope_sums(const SlopeMaps<T, K>& maps, const Weights<T>& w, bool edge, SsimSlopes<T> (&sum)[2][kRows]) {
  constexpr int R = kRadius<K>, kTaps = SlopeMaps<T, K>::kTaps;
  SsimSlopes<T> middle[2][kRows / 2], raw[kTaps + 1], line[2];
  const auto across = [&](int c, int i) { return maps.across[(first_column() + c) * kTaps + i]; };
  const auto down = [&](int k, int i) { return maps.down[(first_row() + k) * kTaps + i]; };
  const auto weight = [&](int, int i) { return w.at[i < R ? R - i : i - R]; };
#pragma unroll
  for (int j = 0; j < kRows + 2 * R; ++j) {
    maps.read(j, raw);
    if (edge) {
      add_across<R>(raw, line, across);
      for (int c = 0; c < 2; ++c) add_down<R>(j, line[c], sum[c], down);
    } else if constexpr (kBox<K>) {
      add_across<R>(raw, line);
      for (int c = 0; c < 2; ++c) add_down<R>(j, line[c], sum[c], middle[c]);
    } else {
      add_across<R>(raw, line, weight);
      for (int c = 0; c < 2; ++c) add_down<R>(j, line[c], sum[c], weight);
    }
  }
  if (kBox<K> && !edge) for_windows([&](int k, int c, int, int) { sum[c][k] = (w.at[0] * w.at[0]) * sum[c][k]; });
}

// Replaces y in this thread's pairs by the gradient of y, `difference` being the factor of |x - y|. Pixels in the
// block's margin get none: their windows are another block's.
template <class T, Ssim K>
FS_DEVICE void gather(Pair<T>* tile, const SlopeMaps<T, K>& maps, const Weights<T>& w, const Region& r,
                      const T (&upstream)[2][kRows], T difference) {
  SsimSlopes<T> sum[2][kRows];
  r.edge ? slope_sums(maps, w, true, sum) : slope_sums(maps, w, false, sum);
  for_windows([&](int k, int c, int row, int column) {
    Pair<T>& p = tile[cell_under<K>(row, column)];
    const T sign = static_cast<T>((p.y > p.x) - (p.y < p.x));
    p.y = pixel_slope(sum[c][k], p.x, p.y) + difference * upstream[c][k] * sign;
  });
}

// Whether a block has every window that holds a pixel.
template <Ssim K>
FS_DEVICE bool owns(int row, int column) {
  constexpr int R = kRadius<K>;
  return (row >= R) & (row < kTall - R) & (column >= R) & (column < kWide - R);
}

// Whether this thread's columns hold pixels of which the block has all windows.
template <Ssim K>
FS_DEVICE bool gathers() {
  return (first_column() >= kRadius<K> - 1) & (first_column() < kWide - kRadius<K>);
}

}  // namespace fs
