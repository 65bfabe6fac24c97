// Looking up one row of the target in a source on the CPU: places, the pixels around them, the warped row.
#pragma once

#include <algorithm>
#include <cstring>

#include "photometric.h"
#include "photometric_blocks.h"

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

  // From the scratch memory's first multiple of 64 bytes on.
  RowStack(double* scratch, std::int64_t width)
      : next(reinterpret_cast<T*>((reinterpret_cast<std::uintptr_t>(scratch) + 63) / 64 * 64)),
        pitch(row_pitch(width)) {}
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
  std::int32_t* row;     // of the top left pixel
  Blocks blocks;
  T *top_left, *top_right, *bottom_left, *bottom_right;
  bool by_blocks;

  static std::int32_t* integers(RowStack<T>& rows) { return reinterpret_cast<std::int32_t*>(rows.take()); }

  explicit Places(RowStack<T>& rows)
      : offset(integers(rows)),
        fx(rows.take()),
        fy(rows.take()),
        gx(rows.take()),
        gy(rows.take()),
        on(rows.take()),
        q(rows.take()),
        row(integers(rows)),
        blocks{integers(rows), integers(rows), integers(rows)},
        top_left(rows.take()),
        top_right(rows.take()),
        bottom_left(rows.take()),
        bottom_right(rows.take()),
        by_blocks(std::is_same_v<T, float> && has_v4()) {}
};
inline constexpr int kPlaceRows = 15;

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
      p.offset[u] = c.y * width + c.x, p.row[u] = c.y;
      p.fx[u] = c.fx, p.fy[u] = c.fy, p.gx[u] = c.gx, p.gy[u] = c.gy, p.on[u] = c.valid ? T(1) : T(0);
    }
  });
}

template <class T>
FS_HD void find_row(const Looker<T>& k, std::int64_t row, const Places<T>& p) {
  k.depth ? find_places<T, true>(k, row, p) : find_places<T, false>(k, row, p);
  if (p.by_blocks) find_blocks(p.offset, p.row, k.height, k.width, p.blocks);
}

// The four pixels around each place of a plane, by single reads.
template <class T>
FS_HD void fetch_each(const T* plane, const Looker<T>& k, const Places<T>& p) {
  const std::int64_t right = k.width > 1 ? 1 : 0, down = k.height > 1 ? k.width : 0, width = k.width;
  row_loop<T>([=] {
    for (std::int64_t u = 0; u < width; ++u) {
      const T* const at = plane + p.offset[u];
      p.top_left[u] = at[0], p.top_right[u] = at[right], p.bottom_left[u] = at[down],
      p.bottom_right[u] = at[down + right];
    }
  });
}

template <class T>
FS_HD void fetch(const Looker<T>& k, std::int64_t channel, const Places<T>& p) {
  const T* const plane = k.source + channel * k.height * k.width;
  if constexpr (std::is_same_v<T, float>)
    if (p.by_blocks && k.width > 1 && k.height > 1)
      return fetch_blocks(plane, p.offset, p.blocks, k.width, p.top_left, p.top_right, p.bottom_left, p.bottom_right);
  fetch_each(plane, k, p);
}

// The warped row of one channel, and with Slopes how it changes with the position.
template <class T, bool Slopes>
FS_HD void blend(const Places<T>& p, std::int64_t width, T* value, T* dx, T* dy) {
  row_loop<T>([=] {
#pragma GCC ivdep
    for (std::int64_t u = 0; u < width; ++u) {
      const Bilinear<T> b =
          bilinear(p.top_left[u], p.top_right[u], p.bottom_left[u], p.bottom_right[u], p.fx[u], p.fy[u]);
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

}  // namespace fs
