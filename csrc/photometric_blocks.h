// Reading the pixels around sixteen places of an image at once: places side by side mostly fall into one short stretch
// of it, from which vectors pick. On x86-64-v4; elsewhere photometric_rows.h reads them one by one.
#pragma once

#include <algorithm>

#include "lanes.h"

namespace fs {

#ifdef FS_V4

// How sixteen places in a row are read: from stretches of 2 kLanes pixels that start at `start` and below it. A place
// is its column's distance from the first and whether it is one row further down.
struct Blocks {
  std::int32_t* start;           // one a block: -1 where its places are too far apart or too near the plane's end
  std::int32_t *column, *below;  // one a place
};

inline constexpr std::int32_t kSlack = 3;  // columns that a block's places may lie left of its first and last

// The blocks of places, given as offsets and rows in a plane; those after the last are set.
FS_V4 inline void find_blocks(std::int32_t* offset, std::int32_t* row, std::int64_t height, std::int64_t width,
                              const Blocks& out) {
  const std::int32_t pitch = static_cast<std::int32_t>(width);
  std::fill(offset + width, offset + whole_lanes(width), offset[width - 1]);
  std::fill(row + width, row + whole_lanes(width), row[width - 1]);
  for (std::int64_t u = 0; u < width; u += kLanes) {
    std::int32_t* const column = out.column + u;
    const std::int32_t first = offset[u] - row[u] * pitch, last = offset[u + kLanes - 1] - row[u + kLanes - 1] * pitch;
    const std::int32_t left = std::max(std::min(first, last) - kSlack, 0), top = std::min(row[u], row[u + kLanes - 1]);
    std::int32_t far = 0;
    for (int l = 0; l < kLanes; ++l) {
      const std::int32_t across = offset[u + l] - row[u + l] * pitch - left, down = row[u + l] - top;
      column[l] = across, out.below[u + l] = down;
      far |= (across < 0) | (across > 2 * kLanes - 2) | (down < 0) | (down > 1);
    }
    const std::int64_t start = std::int64_t{top} * width + left;
    out.start[u / kLanes] =
        far == 0 && start + 2 * width + 2 * kLanes <= height * width ? static_cast<std::int32_t>(start) : -1;
  }
}

struct LanePair {
  Lanes left, right;
};
FS_V4 inline LanePair pick_pair(const float* stretch, LaneIndex column) {
  Lanes first, second;
  __builtin_memcpy(&first, stretch, sizeof first);
  __builtin_memcpy(&second, stretch + kLanes, sizeof second);
  return {pick(first, second, column), pick(first, second, column + 1)};
}

// The four pixels around each place of a plane, and a request for those that the next rows will want.
FS_V4 inline void fetch_blocks(const float* plane, const std::int32_t* offset, const Blocks& blocks, std::int64_t width,
                               float* top_left, float* top_right, float* bottom_left, float* bottom_right) {
  for (std::int64_t u = 0; u < width; u += kLanes) {
    const std::int32_t start = blocks.start[u / kLanes];
    __builtin_prefetch(plane + offset[u] + 3 * width);
    if (start >= 0) {
      LaneIndex column, below;
      __builtin_memcpy(&column, blocks.column + u, sizeof column);
      __builtin_memcpy(&below, blocks.below + u, sizeof below);
      const LanePair a = pick_pair(plane + start, column), b = pick_pair(plane + start + width, column);
      const LanePair c = pick_pair(plane + start + 2 * width, column);
      const Lanes out[4] = {below != 0 ? b.left : a.left, below != 0 ? b.right : a.right, below != 0 ? c.left : b.left,
                            below != 0 ? c.right : b.right};
      __builtin_memcpy(top_left + u, &out[0], sizeof out[0]), __builtin_memcpy(top_right + u, &out[1], sizeof out[0]);
      __builtin_memcpy(bottom_left + u, &out[2], sizeof out[0]);
      __builtin_memcpy(bottom_right + u, &out[3], sizeof out[0]);
      continue;
    }
    for (std::int64_t i = u; i < std::min(width, u + kLanes); ++i) {
      const float *const top = plane + offset[i], *const bottom = top + width;
      top_left[i] = top[0], top_right[i] = top[1], bottom_left[i] = bottom[0], bottom_right[i] = bottom[1];
    }
  }
}

#else

struct Blocks {
  std::int32_t *start, *column, *below;
};
inline void find_blocks(std::int32_t*, std::int32_t*, std::int64_t, std::int64_t, const Blocks&) {}
inline void fetch_blocks(const float*, const std::int32_t*, const Blocks&, std::int64_t, float*, float*, float*,
                         float*) {}

#endif

}  // namespace fs
