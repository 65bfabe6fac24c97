// Normals by plane fits on the GPU, at a cost that hardly grows with the window. Only for .cu files.
//
// A block reads a tile with a margin of `radius` pixels once. Then, eight rows at a time: a thread sums four windows of
// a column at once, and next a thread sums the columns of four pixels at once. Four windows next to each other have all
// but six of their rows in common, so that sum is made once. Every sum is made afresh in float32: running sums, which
// add what enters and take away what leaves, would carry the rounding of one wrong pixel (1/z is large where a sensor
// says 1 cm) through all windows after it, and doubles would halve the rate.
#pragma once

#include "normals_tile.h"

namespace fs {

inline constexpr int kTileColumns = 128, kTileRows = 32;  // columns with margin, rows without
inline constexpr int kSweepRows = 8;                      // for which column sums are held at once
inline constexpr int kSumPitch = kTileColumns + 1;        // of a row of column sums: eight rows lie in different banks

// Sums over a column's window about its centre; `missing` counts what is not measured, 0 when everything is.
struct alignas(16) ColumnSums {
  float d, jd, dd;
  unsigned missing;
};

// Sums over the missing pixels of a column's window: their number, rows and squared rows, in 7, 11 and 14 bits. The
// lowest bit of the squares is that of the rows.
struct Missing {
  int n, j, jj;
};
FS_DEVICE unsigned packed(Missing m) {
  return static_cast<unsigned>(m.n) | (static_cast<unsigned>(m.j) & 2047u) << 7 |
         static_cast<unsigned>(m.jj) >> 1 << 18;
}
FS_DEVICE Missing unpacked(unsigned bits) {
  const int j = static_cast<int>((bits >> 7 & 2047u) ^ 1024u) - 1024;
  return {static_cast<int>(bits & 127u), j, static_cast<int>(bits >> 18 << 1 | (static_cast<unsigned>(j) & 1u))};
}
FS_DEVICE Missing operator+(Missing a, Missing b) {
  return {a.n + b.n, a.j + b.j, a.jj + b.jj};
}
// The same sums with weights that are less by `by`.
FS_DEVICE Missing moved(Missing m, int by) {
  return {m.n, m.j - by * m.n, m.jj - 2 * by * m.j + by * by * m.n};
}

// Sums of a term over four windows: of(t, w) for t in [k, k + 2 radius], k = 0..3, with the weight w = t - radius - 1;
// over the first one alone when `first` is set.
template <class Term, class F>
FS_DEVICE void four_windows(int radius, bool first, F of, Term (&sum)[kQuad]) {
  float w = static_cast<float>(-radius - 1);
  const Term t0 = of(0, w), t1 = of(1, w + 1), t2 = of(2, w + 2);
  Term shared{};
  w += 3;
#pragma unroll 2
  for (int t = 3; t < 2 * radius; t += 2, w += 2) shared = shared + of(t, w) + of(t + 1, w + 1);  // an even number
  sum[2] = shared + t2;
  sum[1] = sum[2] + t1;
  sum[0] = sum[1] + t0;
  if (first) return;
  Term after = of(2 * radius + 1, w);
  sum[1] = sum[1] + after;
  after = after + of(2 * radius + 2, w + 1);
  sum[2] = sum[2] + after;
  sum[3] = shared + (after + of(2 * radius + 3, w + 2));
}

// A term of a column: its inverse depth less the base, weighted by the row w and by itself.
struct ColumnTerm {
  float d, wd, dd;
};
FS_DEVICE ColumnTerm operator+(ColumnTerm a, ColumnTerm b) {
  return {a.d + b.d, a.wd + b.wd, a.dd + b.dd};
}

// Sums of rows row .. row + 3 of one column of the tile, or of the first alone; q points to the first pixel of the
// first row's window. Rows are weighted by their distance to the second, t - radius - 1, and then moved by k - 1.
FS_DEVICE void sum_column(const float* q, int radius, bool first, float base, ColumnSums* out) {
  ColumnTerm sum[kQuad] = {};
  bool measured = true;
  four_windows(
      radius, first,
      [&](int t, float w) {
        const float here = q[t * kTileColumns], d = here > 0 ? here - base : 0.f;
        measured &= here > 0;
        return ColumnTerm{d, w * d, d * d};
      },
      sum);
  unsigned holes[kQuad] = {};
  if (!measured) {
    Missing missing[kQuad] = {};
    four_windows(
        radius, first,
        [=](int t, float) {
          const int w = t - radius - 1;
          return q[t * kTileColumns] > 0 ? Missing{} : Missing{1, w, w * w};
        },
        missing);
    for (int k = 0; k < kQuad; ++k) holes[k] = packed(moved(missing[k], k - 1));
  }
  for (int k = 0; k < kQuad; ++k)
    if (k == 0 || !first)
      out[k * kSumPitch] = {sum[k].d, sum[k].wd - static_cast<float>(k - 1) * sum[k].d, sum[k].dd, holes[k]};
}

// A term of a window: a column's sums, weighted by the column.
struct WindowTerm {
  float d, id, jd, dd;
};
FS_DEVICE WindowTerm operator+(WindowTerm a, WindowTerm b) {
  return {a.d + b.d, a.id + b.id, a.jd + b.jd, a.dd + b.dd};
}

// How the plane kernel cuts the images.
struct PlaneTiles {
  Pinhole camera;
  Fit fit;
  int stride, width;   // of a tile without margin: a multiple of kQuad
  unsigned down;       // tiles
  bool first;          // the stride takes but the first of four columns and rows
  int full, squares;   // pixels of a window, and the sum of their squared columns
  PlanePlaces places;  // of a window without holes

  FS_DEVICE int columns() const { return width + 2 * fit.radius; }
};

// The sums over the windows of four pixels; `columns` starts at the first column of the first window. True when the
// windows have no holes.
FS_DEVICE bool sum_windows(const PlaneTiles& tiles, const ColumnSums* columns, WindowTerm (&sum)[kQuad]) {
  unsigned holes = 0;
  four_windows(
      tiles.fit.radius, tiles.first,
      [&](int t, float w) {
        const ColumnSums c = columns[t];
        holes |= c.missing;
        return WindowTerm{c.d, w * c.d, c.jd, c.dd};
      },
      sum);
  for (int k = 0; k < kQuad; ++k) sum[k].id -= static_cast<float>(k - 1) * sum[k].d;
  return holes == 0;
}

// The places of what is measured in four windows with holes.
FS_DEVICE void window_places(const PlaneTiles& tiles, const ColumnSums* columns, PlanePlaces (&places)[kQuad]) {
  const int radius = tiles.fit.radius;
  Missing across[kQuad] = {}, mixed[kQuad] = {};  // n, i, ii and j, ij, jj
  four_windows(
      radius, tiles.first,
      [=](int t, float) {
        const int w = t - radius - 1, n = unpacked(columns[t].missing).n;
        return Missing{n, w * n, w * w * n};
      },
      across);
  four_windows(
      radius, tiles.first,
      [=](int t, float) {
        const Missing m = unpacked(columns[t].missing);
        return Missing{m.j, (t - radius - 1) * m.j, m.jj};
      },
      mixed);
  for (int k = 0; k < kQuad; ++k) {
    const Missing i = moved(across[k], k - 1), j = mixed[k];
    places[k] = plane_places(static_cast<float>(tiles.full - i.n), static_cast<float>(-i.j), static_cast<float>(-j.n),
                             static_cast<float>(tiles.squares - i.jj), static_cast<float>((k - 1) * j.n - j.j),
                             static_cast<float>(tiles.squares - j.jj), tiles.fit.smallest);
  }
}

FS_DEVICE void solve_pixel(const PlaneTiles& tiles, const PlanePlaces& places, const WindowTerm& sum, float base, int k,
                           Quad& q) {
  if (q.mask >> k & 1)
    q.n[k] = plane_normal(places, sum.d, sum.id, sum.jd, sum.dd, base, tiles.camera, tiles.fit,
                          static_cast<float>(q.u + k), static_cast<float>(q.v), q.z[k] > 0);
}

template <class T>
FS_DEVICE void solve_quad(const DepthFrames<T>& depth, const PlaneTiles& tiles, const ColumnSums* columns, float base,
                          Quad& q) {
  WindowTerm sum[kQuad] = {};
  const bool full = sum_windows(tiles, columns, sum);
  depth.quad(q.frame, q.v, q.u, q.z);
  if (full) {
    for (int k = 0; k < kQuad; ++k) solve_pixel(tiles, tiles.places, sum[k], base, k, q);
    return;
  }
  PlanePlaces places[kQuad];
  window_places(tiles, columns, places);
  for (int k = 0; k < kQuad; ++k) solve_pixel(tiles, places[k], sum[k], base, k, q);
}

// Reads the tile as inverse depth.
template <class T>
FS_DEVICE void read_tile(const DepthFrames<T>& depth, const PlaneTiles& tiles, int frame, int top, int left,
                         float* tile) {
  constexpr int kStep = kTileThreads / kTileColumns;
  const int column = static_cast<int>(threadIdx.x) % kTileColumns, first = static_cast<int>(threadIdx.x) / kTileColumns;
  const int u = left + column - tiles.fit.radius, rows = kTileRows + 2 * tiles.fit.radius;
  int v = top + first - tiles.fit.radius;
  const T* from = depth.row(frame, v) + u;
  float* to = tile + first * kTileColumns + column;
  for (int r = first; column < tiles.columns() && r < rows; r += kStep, v += kStep) {
    *to = inverse(depth.inside(v, u) ? metres(*from, depth.scale) : 0.f);
    from += kStep * depth.width, to += kStep * kTileColumns;
  }
  FS_SYNC();
}

// An inverse depth near most of the tile's: the mean of 32 of its pixels, 0 when none of these was measured.
FS_DEVICE float tile_base(const float* tile, const PlaneTiles& tiles) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row = tiles.fit.radius + lane / 4 * (kTileRows / 8) + kTileRows / 16;
  const float q = tile[row * kTileColumns + tiles.fit.radius + tiles.width * (2 * (lane % 4) + 1) / 8];
  const float n = warp_sum(q > 0 ? 1.f : 0.f), sum = warp_sum(q);
  return n > 0 ? sum / n : 0.f;
}

// The row (of kSweepRows) and group of four columns that this thread solves; row is kSweepRows when there is none left.
struct Spot {
  int row, group;
};
FS_DEVICE Spot spot_of(int stride, int top, int groups) {
  const unsigned i = threadIdx.x;
  Spot spot{static_cast<int>(i % kSweepRows), static_cast<int>(i / kSweepRows)};
  if (stride > 1) {
    const int first = (stride - top % stride) % stride, rows = (kSweepRows - first + stride - 1) / stride;
    const unsigned wanted = rows > 0 ? static_cast<unsigned>(rows) : 1u;
    spot = {first + static_cast<int>(i % wanted) * stride, static_cast<int>(i / wanted)};
  }
  return spot.group < groups && spot.row < kSweepRows ? spot : Spot{kSweepRows, 0};
}

// Rows [top, top + kSweepRows): at most kSweepRows * kTileColumns / kQuad quads, one a thread.
template <class T, class Sink, class State>
FS_DEVICE void solve_rows(const DepthFrames<T>& depth, const PlaneTiles& tiles, int frame, int top, int left,
                          const ColumnSums* columns, float base, const Sink& sink, int* counts, const State& state) {
  const Spot spot = spot_of(tiles.stride, top, tiles.width / kQuad);
  Quad q{frame, top + spot.row, left + spot.group * kQuad, 0, {}, {}};
  q.mask = spot.row < kSweepRows && q.v < depth.height ? wanted(q.u, depth.width, tiles.stride) : 0u;
  if (q.mask == 0) return;
  solve_quad(depth, tiles, columns + spot.row * kSumPitch + spot.group * kQuad, base, q);
  sink.put(counts, state, q);
}

template <class T, class Sink>
FS_KERNEL void __launch_bounds__(kTileThreads, 4) plane_kernel(DepthFrames<T> depth, PlaneTiles tiles, Sink sink) {
  FS_DYNAMIC_SHARED(ColumnSums, columns);
  FS_SHARED(int, counts, Sink::kCounts);
  float* const tile = reinterpret_cast<float*>(columns + kSweepRows * kSumPitch);
  const int frame = static_cast<int>(blockIdx.x / tiles.down),
            top = static_cast<int>(blockIdx.x % tiles.down) * kTileRows;
  const int left = static_cast<int>(blockIdx.y) * tiles.width;
  const auto state = sink.begin(counts, frame);
  read_tile(depth, tiles, frame, top, left, tile);
  const float base = tile_base(tile, tiles);
  const int column = static_cast<int>(threadIdx.x) % kTileColumns;
  const int row = static_cast<int>(threadIdx.x) / kTileColumns * kQuad;
  for (int sweep = 0; sweep < kTileRows && top + sweep < depth.height; sweep += kSweepRows) {
    if (column < tiles.columns())
      sum_column(tile + (sweep + row) * kTileColumns + column, tiles.fit.radius, tiles.first, base,
                 columns + row * kSumPitch + column);
    FS_SYNC();
    solve_rows(depth, tiles, frame, top + sweep, left, columns, base, sink, counts, state);
    FS_SYNC();
  }
  sink.end(counts, frame, state);
}

template <class T, class Sink>
void launch_plane(const Normals& a, Stream stream, const Sink& sink) {
  const std::int64_t width = a.depth.shape[2], most = (kTileColumns - 2 * a.fit.radius) / kQuad * kQuad;
  const std::int64_t across = (width + most - 1) / most, each = ((width + across - 1) / across + kQuad - 1) / kQuad;
  const Blocks blocks{a.depth.shape[0], (a.depth.shape[1] + kTileRows - 1) / kTileRows, across};
  const int radius = a.fit.radius, full = (2 * radius + 1) * (2 * radius + 1),
            squares = full * radius * (radius + 1) / 3;
  const float n = static_cast<float>(full), nn = static_cast<float>(squares);
  const PlaneTiles tiles{a.camera,
                         a.fit,
                         a.stride,
                         static_cast<int>(each * kQuad),
                         static_cast<unsigned>(blocks.down),
                         a.stride % kQuad == 0,
                         full,
                         squares,
                         plane_places(n, 0.f, 0.f, nn, 0.f, nn, a.fit.smallest)};
  const std::size_t shared = sizeof(ColumnSums) * kSweepRows * kSumPitch +
                             sizeof(float) * kTileColumns * (kTileRows + 2 * static_cast<std::size_t>(radius));
  launch(plane_kernel<T, Sink>, blocks.grid(), {kTileThreads}, shared, stream, depth_frames<T>(a.depth, a.scale), tiles,
         sink);
}

}  // namespace fs
