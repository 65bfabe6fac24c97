// SSIM's windows on the GPU: a block holds a tile of pixel pairs in shared memory, a thread sums the windows of two
// columns by kRows rows in registers. Used by photometric.cu alone.
#pragma once

#include "for_each.h"
#include "photometric.h"

namespace fs {

// A block makes kTall x kWide windows; a thread of it kRows x 2 neighbouring ones, so that a warp's rows are whole.
inline constexpr int kWide = 64, kTall = 32, kRows = 4;
inline constexpr int kTileThreads = kWide / 2 * kTall / kRows;

template <Ssim K>
inline constexpr int kRadius = K == Ssim::kBox3   ? 1
                               : K == Ssim::kBox7 ? 3
                                                  : 5;
template <Ssim K>
inline constexpr bool kBox = K != Ssim::kGauss11;
template <Ssim K>
inline constexpr int kPairsWide = kWide + 2 * kRadius<K>;  // a tile's row, margins included
template <Ssim K>
inline constexpr int kPairs = kPairsWide<K> * (kTall + 2 * kRadius<K>);  // a tile of one channel

// What a target and a source show at one pixel.
template <class T>
struct alignas(2 * sizeof(T)) Pair {
  T x, y;
};

// SSIM's weight by distance from the centre, as kernels take it: a constant for every tap of an unrolled loop.
template <class T>
struct Weights {
  T at[kMaxSsimRadius + 1];
};
template <class T>
Weights<T> weights_of(Ssim kind) {
  Weights<T> out;
  for (int k = 0; k <= kMaxSsimRadius; ++k) out.at[k] = ssim_weight<T>(kind, k);
  return out;
}

// The windows of one block: the image they belong to, which part of it, and its pixel under the first of them.
struct Region {
  std::int64_t image, part, plane;  // plane: pixels of the image, fewer than 2^31
  int top, left, height, width;     // height and width of the image
  bool edge;                        // some window reaches outside the image, or to within a radius of its edge
  FS_HD bool holds(int row, int column) const {
    const int v = top + row, u = left + column;
    return (v >= 0) & (u >= 0) & (v < height) & (u < width);
  }
  // A window's pixel in the image.
  FS_HD int pixel(int row, int column) const { return (top + row) * width + left + column; }
};

// How many regions lie above each other, and side by side, when each answers for all its windows but a margin.
FS_HD std::int64_t regions_down(std::int64_t height, int margin) {
  return (height + kTall - 2 * margin - 1) / (kTall - 2 * margin);
}
FS_HD std::int64_t regions_across(std::int64_t width, int margin) {
  return (width + kWide - 2 * margin - 1) / (kWide - 2 * margin);
}
inline std::int64_t regions(std::int64_t height, std::int64_t width, int margin) {
  return regions_down(height, margin) * regions_across(width, margin);
}

// Within an image, elements are counted in 32 bits.
inline void require_small(std::int64_t channels, std::int64_t height, std::int64_t width) {
  require(channels * height * width < (std::int64_t{1} << 31), "an image must have fewer than 2^31 elements");
}

// One block for each region of `images` images.
inline Grid region_grid(std::int64_t images, std::int64_t height, std::int64_t width, int margin) {
  const std::int64_t down = images * regions_down(height, margin), across = regions_across(width, margin);
  require(down < (std::int64_t{1} << 31) && across < 65536, "the images are too many or too wide for one launch");
  return {static_cast<unsigned>(down), static_cast<unsigned>(across)};
}
FS_DEVICE Region region_of(std::int64_t height, std::int64_t width, int margin) {
  const unsigned down = static_cast<unsigned>(regions_down(height, margin)), row = blockIdx.x % down;
  Region r{static_cast<std::int64_t>(blockIdx.x / down),
           static_cast<std::int64_t>(row) * gridDim.y + blockIdx.y,
           height * width,
           static_cast<int>(row) * (kTall - 2 * margin) - margin,
           static_cast<int>(blockIdx.y) * (kWide - 2 * margin) - margin,
           static_cast<int>(height),
           static_cast<int>(width),
           false};
  r.edge = (r.top < kMaxSsimRadius) | (r.left < kMaxSsimRadius) | (r.top + kTall + kMaxSsimRadius > r.height) |
           (r.left + kWide + kMaxSsimRadius > r.width);
  return r;
}

// The first window of this thread.
FS_DEVICE int first_row() {
  return static_cast<int>(threadIdx.x) / (kWide / 2) * kRows;
}
FS_DEVICE int first_column() {
  return static_cast<int>(threadIdx.x) % (kWide / 2) * 2;
}

// Calls f(k, c, row, column) for each window of this thread; k and c are known when compiled.
template <class F>
FS_DEVICE void for_windows(F f) {
#pragma unroll
  for (int k = 0; k < kRows; ++k)
#pragma unroll
    for (int c = 0; c < 2; ++c) f(k, c, first_row() + k, first_column() + c);
}

// A cell of a tile: number i of it, showing the pixel (v, u), number `at` of its plane, found by mirroring at the
// image's edge. Seen: some window of the image looks at it.
struct Cell {
  int i, v, u, at;
  bool seen;
};
template <Ssim K>
FS_DEVICE Cell cell_of(const Region& r, int i) {
  constexpr int kMargin = kRadius<K>;
  Cell p{i, r.top + i / kPairsWide<K> - kMargin, r.left + i % kPairsWide<K> - kMargin, 0, i < kPairs<K>};
  if (r.edge) {
    p.seen &= (p.v >= -kMargin) & (p.u >= -kMargin) & (p.v < r.height + kMargin) & (p.u < r.width + kMargin);
    if ((p.v < 0) | (p.v >= r.height)) p.v = static_cast<int>(mirrored(p.v, r.height));
    if ((p.u < 0) | (p.u >= r.width)) p.u = static_cast<int>(mirrored(p.u, r.width));
  }
  p.at = p.v * r.width + p.u;
  return p;
}
// The cell of a window's own pixel.
template <Ssim K>
FS_DEVICE int cell_under(int row, int column) {
  return (row + kRadius<K>)*kPairsWide<K> + column + kRadius<K>;
}

// Calls f(cell, read(cell)) for the seen cells of a tile, threads side by side. Reads run ahead of their use.
template <Ssim K, class Raw, class Read, class F>
FS_DEVICE void for_cells(const Region& r, Read read, F f) {
  constexpr int kAhead = 3;
#pragma unroll 1
  for (int begin = static_cast<int>(threadIdx.x); begin < kPairs<K>; begin += kAhead * kTileThreads) {
    Raw raw[kAhead];
    Cell cell[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      cell[k] = cell_of<K>(r, begin + k * kTileThreads);
      if (cell[k].seen) raw[k] = read(cell[k]);
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k)
      if (cell[k].seen) f(cell[k], raw[k]);
  }
}

// What is summed over a window: the moments of pairs, or slopes.
template <class T>
FS_DEVICE Moments<T> operator+(const Moments<T>& a, const Moments<T>& b) {
  return {a.x + b.x, a.y + b.y, a.square + b.square, a.difference + b.difference};
}
template <class T>
FS_DEVICE Moments<T> operator*(T w, const Moments<T>& a) {
  return {w * a.x, w * a.y, w * a.square, w * a.difference};
}
template <class T>
FS_DEVICE Moments<T> operator+(const Moments<T>& a, const Pair<T>& p) {
  return {a.x + p.x, a.y + p.y, (a.square + p.x * p.x) + p.y * p.y, a.difference + (p.x - p.y) * (p.x - p.y)};
}
template <class T>
FS_DEVICE Moments<T> value_of(const Pair<T>& p) {
  const T d = p.x - p.y;
  return {p.x, p.y, p.x * p.x + p.y * p.y, d * d};
}
template <class T>
FS_DEVICE SsimSlopes<T> operator+(const SsimSlopes<T>& a, const SsimSlopes<T>& b) {
  return {a.y + b.y, a.square + b.square, a.difference + b.difference};
}
template <class T>
FS_DEVICE SsimSlopes<T> operator*(T w, const SsimSlopes<T>& a) {
  return {w * a.y, w * a.square, w * a.difference};
}
template <class T>
FS_DEVICE SsimSlopes<T> value_of(const SsimSlopes<T>& s) {
  return s;
}

// Adds up a row of windows: raw are the 2 R + 2 neighbours that two columns look at. Equal weights are left to the end,
// and the two columns share what they have in common.
template <int R, class V, class Raw>
FS_DEVICE void add_across(const Raw (&raw)[2 * R + 2], V (&line)[2]) {
  V middle = value_of(raw[1]);
#pragma unroll
  for (int i = 2; i <= 2 * R; ++i) middle = middle + raw[i];
  line[0] = middle + raw[0], line[1] = middle + raw[2 * R + 1];
}
template <int R, class V, class Raw, class W>
FS_DEVICE void add_across(const Raw (&raw)[2 * R + 2], V (&line)[2], const W& weight) {
#pragma unroll
  for (int i = 0; i <= 2 * R + 1; ++i) {
    const V value = value_of(raw[i]);
    if (i <= 2 * R) line[0] = i == 0 ? weight(0, 0) * value : line[0] + weight(0, i) * value;
    if (i >= 1) line[1] = i == 1 ? weight(1, 0) * value : line[1] + weight(1, i - 1) * value;
  }
}

// Adds row j of kRows + 2 R to the windows that hold it; each pair of windows shares the sum of its common rows.
template <int R, class V>
FS_DEVICE void add_down(int j, const V& line, V (&sum)[kRows], V (&middle)[kRows / 2]) {
#pragma unroll
  for (int p = 0; p < kRows / 2; ++p) {
    const int k = j - 2 * p;
    if (k == 0) sum[2 * p] = line;
    if (k >= 1 && k <= 2 * R) middle[p] = k == 1 ? line : middle[p] + line;
    if (k == 2 * R + 1) sum[2 * p] = sum[2 * p] + middle[p], sum[2 * p + 1] = middle[p] + line;
  }
}
template <int R, class V, class W>
FS_DEVICE void add_down(int j, const V& line, V (&sum)[kRows], const W& weight) {
#pragma unroll
  for (int k = 0; k < kRows; ++k)
    if (j >= k && j - k <= 2 * R) sum[k] = j == k ? weight(k, 0) * line : sum[k] + weight(k, j - k) * line;
}

template <class T>
struct alignas(16) TwoPairs {
  Pair<T> first, second;
};

// The means over this thread's windows, by column and row. Those that reach outside the image's tile are meaningless.
template <class T, Ssim K>
FS_DEVICE void window_moments(const Pair<T>* tile, const Weights<T>& w, Moments<T> (&sum)[2][kRows]) {
  constexpr int R = kRadius<K>;
  const Pair<T>* const corner = tile + first_row() * kPairsWide<K> + first_column();
  const auto weight = [&](int, int i) { return w.at[i < R ? R - i : i - R]; };
  Moments<T> middle[2][kRows / 2];
#pragma unroll
  for (int j = 0; j < kRows + 2 * R; ++j) {
    Pair<T> raw[2 * R + 2];
    Moments<T> line[2];
#pragma unroll
    for (int i = 0; i <= R; ++i) {
      const auto two = *reinterpret_cast<const TwoPairs<T>*>(corner + j * kPairsWide<K> + 2 * i);
      raw[2 * i] = two.first, raw[2 * i + 1] = two.second;
    }
    if constexpr (kBox<K>) {
      add_across<R>(raw, line);
      for (int c = 0; c < 2; ++c) add_down<R>(j, line[c], sum[c], middle[c]);
    } else {
      add_across<R>(raw, line, weight);
      for (int c = 0; c < 2; ++c) add_down<R>(j, line[c], sum[c], weight);
    }
  }
  if constexpr (kBox<K>) for_windows([&](int k, int c, int, int) { sum[c][k] = (w.at[0] * w.at[0]) * sum[c][k]; });
}

}  // namespace fs
