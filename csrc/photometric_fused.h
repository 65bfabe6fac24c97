// The fused kernels: warp, SSIM, L1 and the choice among sources in one pass, and the way back in another that computes
// every value again. Used by photometric.cu alone.
#pragma once

#include "photometric_lookup.h"
#include "photometric_slopes.h"

namespace fs {

// Channels whose tiles lie in shared memory together; their samples share the work of finding the place.
template <class T>
inline constexpr int kTogether = sizeof(T) == 4 ? 3 : 1;

// Blocks that a multiprocessor should hold at once, which bounds their registers: 80 for three, 128 for two.
template <class T>
inline constexpr int kBlocks = sizeof(T) == 4 ? 2 : 1;

template <class T, Ssim K>
struct LossShared {
  Pair<T> tile[kTogether<T>][kPairs<K>];
  Optics<T> optics[kMaxSources];
  unsigned char valid[kPairs<K>];  // of the tile's cells
};

template <class T, Ssim K>
struct GradientShared {
  Pair<T> tile[kTogether<T>][kPairs<K>];
  Optics<T> optics[kMaxSources];
  SlopeMaps<T, K> maps;
};

// How many channels from `first` on are made together.
template <class T>
FS_DEVICE int together(int first, int channels) {
  return channels - first >= kTogether<T> ? kTogether<T> : 1;
}

// What a tile of N channels from `first` on shows: the target, and the source as the target's pixels see it.
// seen(cell, valid) is called for each cell of the tile.
template <Ssim K, int N, class T, class Seen>
FS_DEVICE void load_seen(const Region& r, const Lens<T>& lens, const T* target, int first, Pair<T> (*tile)[kPairs<K>],
                         Seen seen) {
  using Raw = typename Lens<T>::Raw;
  for_cells<K, Raw>(
      r, [&](const Cell& p) { return lens.read(p.at); },
      [&](const Cell& p, const Raw& raw) {
        const Corner<T> c = corner(lens.spot(raw, p.v, p.u), lens.raster);
        const int from = c.y * r.width + c.x;
#pragma unroll
        for (int k = 0; k < N; ++k) {
          const T y = sample(lens.source, (first + k) * lens.plane + from, 1, r.width, c).value;
          tile[k][p.i] = {target[(first + k) * lens.plane + p.at], c.valid ? y : T(0)};
        }
        seen(p, c.valid);
      });
}

// The same with the source as it is.
template <Ssim K, int N, class T>
FS_DEVICE void load_still(const Region& r, const Lens<T>& lens, const T* target, int first,
                          Pair<T> (*tile)[kPairs<K>]) {
  for_cells<K, int>(
      r, [&](const Cell& p) { return p.at; },
      [&](const Cell& p, int at) {
#pragma unroll
        for (int k = 0; k < N; ++k) {
          const int pixel = (first + k) * lens.plane + at;
          tile[k][p.i] = {target[pixel], lens.source[pixel]};
        }
      });
}

// Adds the errors of the loaded channels to this thread's windows.
template <Ssim K, class T>
FS_DEVICE void add_errors(const Pair<T> (*tile)[kPairs<K>], int channels, const Weights<T>& w, T alpha,
                          T (&error)[2][kRows]) {
#pragma unroll 1
  for (int k = 0; k < channels; ++k) {
    Moments<T> means[2][kRows];
    window_moments<T, K>(tile[k], w, means);
    for_windows([&](int j, int c, int row, int column) {
      const Pair<T> p = tile[k][cell_under<K>(row, column)];
      error[c][j] += photometric_error(ssim(means[c][j]), p.x, p.y, alpha);
    });
  }
}

template <class T, Ssim K>
FS_DEVICE void source_errors(const Photometric<T>& a, const Region& r, int s, const Weights<T>& w, bool still,
                             LossShared<T, K>& shared, T (&error)[2][kRows]) {
  const int channels = static_cast<int>(a.target.shape[1]);
  const Lens<T> lens = lens_of(a.sources, a.lookup, shared.optics[s]);
  const T* const target = a.target.data + shared.optics[s].target;
  const auto seen = [&](const Cell& p, bool valid) { shared.valid[p.i] = valid; };
  for_windows([&](int k, int c, int, int) { error[c][k] = 0; });
#pragma unroll 1
  for (int first = 0, some; first < channels; first += some) {
    some = together<T>(first, channels);
    if (still)
      some > 1 ? load_still<K, kTogether<T>>(r, lens, target, first, shared.tile)
               : load_still<K, 1>(r, lens, target, first, shared.tile);
    else
      some > 1 ? load_seen<K, kTogether<T>>(r, lens, target, first, shared.tile, seen)
               : load_seen<K, 1>(r, lens, target, first, shared.tile, seen);
    FS_SYNC();
    if (r.holds(first_row(), first_column())) add_errors<K>(shared.tile, some, w, a.alpha, error);
    FS_SYNC();
  }
}

// How a pixel's loss comes from its sources' errors.
enum class Combine { kOnly, kMin, kMean };  // one source and no auto-mask; Reduce's two

template <class T, Ssim K, Combine C>
FS_KERNEL void __launch_bounds__(kTileThreads, kBlocks<T> + (K == Ssim::kBox3 && C == Combine::kOnly && sizeof(T) == 4))
    loss_kernel(Photometric<T> a, Weights<T> w) {
  using Shared = LossShared<T, K>;
  FS_DYNAMIC_SHARED(Shared, shared);
  const Region r = region_of(a.target.shape[2], a.target.shape[3], 0);
  const int sources = C == Combine::kOnly ? 1 : static_cast<int>(a.sources.shape[1]);
  const bool automask = C != Combine::kOnly && a.automask;
  make_optics(a.sources, a.lookup, r.image, shared->optics);
  FS_SYNC();
  Best<T> best[2][kRows];
  for (int s = 0; s < sources; ++s) {
    std::uint8_t* const valid = a.valid.data + (r.image * sources + s) * r.plane;
    T error[2][kRows], still[2][kRows];
    for_windows([&](int k, int c, int, int) { still[c][k] = 0; });
    for (int turn = automask ? 0 : 1; turn < 2; ++turn) {
      source_errors(a, r, s, w, turn == 0, *shared, error);
      if (turn == 0) for_windows([&](int k, int c, int, int) { still[c][k] = error[c][k]; });
    }
    for_windows([&](int k, int c, int row, int column) {
      const bool is_valid = shared->valid[cell_under<K>(row, column)] != 0;
      best[c][k].add(s, error[c][k], still[c][k], is_valid);
      if (r.holds(row, column)) valid[r.pixel(row, column)] = is_valid;
    });
    FS_SYNC();
  }
  const T per_channel = T(1) / static_cast<T>(a.target.shape[1]);
  T* const loss = a.loss.data + r.image * r.plane;
  std::int8_t* const choice = a.choice.data + r.image * r.plane;
  for_windows([&](int k, int c, int row, int column) {
    if (!r.holds(row, column)) return;
    const int at = r.pixel(row, column);
    loss[at] = best[c][k].loss(C == Combine::kMean ? Reduce::kMean : Reduce::kMin, automask) * per_channel;
    choice[at] = static_cast<std::int8_t>(best[c][k].choice);
  });
}

// The gradient of the error of source s at each of this thread's windows.
template <class T>
FS_DEVICE void upstream_of(const PhotometricGradient<T>& g, const Region& r, int s, T (&upstream)[2][kRows]) {
  const Photometric<T>& a = g.forward;
  const int sources = static_cast<int>(a.sources.shape[1]);
  const std::int64_t first = r.image * r.plane;
  const std::uint8_t* const valid = a.valid.data + first * sources;
  for_windows([&](int k, int c, int row, int column) {
    upstream[c][k] = 0;
    if (!r.holds(row, column)) return;
    const int at = r.pixel(row, column);
    int count = 0;
#pragma unroll 1
    for (int i = 0; a.reduce == Reduce::kMean && i < sources; ++i) count += valid[i * r.plane + at];
    const T part = share<T>(a.reduce, a.choice.data[first + at], s, valid[s * r.plane + at] != 0, count);
    if (part > 0) upstream[c][k] = part * g.dloss.data[first + at];
  });
}

// Leaves in the tiles of `some` channels from `first` on the gradient of what the source showed.
template <class T, Ssim K>
FS_DEVICE void seen_gradients(const PhotometricGradient<T>& g, const Region& r, int s, int first, int some,
                              const Weights<T>& w, GradientShared<T, K>& shared) {
  const Photometric<T>& a = g.forward;
  const T per_channel = T(1) / static_cast<T>(a.target.shape[1]);
  const Lens<T> lens = lens_of(a.sources, a.lookup, shared.optics[s]);
  const T* const target = a.target.data + shared.optics[s].target;
  const auto seen = [](const Cell&, bool) {};
  some > 1 ? load_seen<K, kTogether<T>>(r, lens, target, first, shared.tile, seen)
           : load_seen<K, 1>(r, lens, target, first, shared.tile, seen);
  T upstream[2][kRows];
  upstream_of(g, r, s, upstream);
  FS_SYNC();
#pragma unroll 1
  for (int k = 0; k < some; ++k) {
    spread(shared.tile[k], w, r, upstream, -a.alpha / 2 * per_channel, shared.maps);
    FS_SYNC();
    if (gathers<K>()) gather(shared.tile[k], shared.maps, w, r, upstream, (1 - a.alpha) * per_channel);
    FS_SYNC();
  }
}

// Follows the gradients in the tiles of N channels to where they belong.
template <int N, class T, Ssim K>
FS_DEVICE void follow_tile(const Photometric<T>& a, const Region& r, int s, int first,
                           const GradientShared<T, K>& shared, Sink<T>& sink) {
  constexpr int kAhead = 2;
  const Lens<T> lens = lens_of(a.sources, a.lookup, shared.optics[s]);
#pragma unroll 1
  for (int begin = static_cast<int>(threadIdx.x); begin < kTall * kWide; begin += kAhead * kTileThreads) {
    typename Lens<T>::Raw raw[kAhead];
    bool mine[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int i = begin + k * kTileThreads, row = i / kWide, column = i % kWide;
      mine[k] = owns<K>(row, column) && r.holds(row, column);
      if (mine[k]) raw[k] = lens.read(r.pixel(row, column));
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int i = begin + k * kTileThreads, row = i / kWide, column = i % kWide, cell = cell_under<K>(row, column);
      if (!mine[k]) continue;
      sink.template follow<N>(lens, raw[k], r.top + row, r.left + column, first, N,
                              [&](int c) { return shared.tile[c][cell].y; });
    }
  }
}

template <class T, Ssim K>
FS_KERNEL void __launch_bounds__(kTileThreads, kBlocks<T>)
    gradient_kernel(PhotometricGradient<T> g, Weights<T> w, std::int64_t parts, FixedPoint fixed, bool scatters) {
  using Shared = GradientShared<T, K>;
  FS_DYNAMIC_SHARED(Shared, shared);
  const Photometric<T>& a = g.forward;
  const Region r = region_of(a.target.shape[2], a.target.shape[3], kRadius<K>);
  const int sources = static_cast<int>(a.sources.shape[1]), channels = static_cast<int>(a.target.shape[1]);
  make_optics(a.sources, a.lookup, r.image, shared->optics);
  if (r.edge) shared->maps.weigh_edges(r);
  FS_SYNC();
#pragma unroll 1
  for (int s = 0; s < sources; ++s)
#pragma unroll 1
    for (int first = 0, some; first < channels; first += some) {
      some = together<T>(first, channels);
      seen_gradients(g, r, s, first, some, w, *shared);
      Sink<T> sink = sink_of(g.out, fixed, scatters, a.sources, r.image, s);
      sink.fresh_depth = s == 0 && first == 0, sink.fresh_flow = first == 0;
      some > 1 ? follow_tile<kTogether<T>>(a, r, s, first, *shared, sink)
               : follow_tile<1>(a, r, s, first, *shared, sink);
      if (sink.wants_pose)
        write_sums<kTileThreads>(sink.sum, shared->maps.slope, &g.out.sums((r.image * sources + s) * parts + r.part, 0),
                                 first == 0);
      if (fixed.peak && !scatters) record_peak(fixed, r.image, sink.peak);
      FS_SYNC();
    }
}

}  // namespace fs
