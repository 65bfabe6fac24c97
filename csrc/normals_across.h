// The plane fit's sums along one row of a strip of the image, on the CPU.
#pragma once

#include "lanes.h"
#include "normals_rows.h"

namespace fs {

inline constexpr int kStrip = 128;  // pixels of a strip of normals: what is kept of its rows stays in the first cache

// What is kept of a row for each pixel of a strip: sums over the 2 radius + 1 pixels around it, i counting from the
// pixel, of q, i q, q q, 1, i and i i; and q itself. q is inverse depth, 0 where there is none.
enum Kept { kSum, kMoment, kSquare, kCount, kCountI, kCountII, kCentre, kKept };

// Where the pixels' neighbours i to the right or left lie side by side.
struct Taps {
  const float* right[kMaxRadius + 1];
  const float* left[kMaxRadius + 1];
};

// A strip's row with zeros where the image has ended.
struct PaddedRow {
  int radius, stride;
  std::int64_t phase, side;  // length of a phase; its entries left of the first pixel
  std::int64_t twin;         // from any entry of q to the same place of the row of ones
  float* q;                  // inverse depth of the strip's first column; `radius` more lie to its left
  float* phases;             // when columns are skipped: every stride-th of q, from each of the first `stride` on
  float* groups[3];          // sums over some columns, which make up a large window
  std::uint8_t* there;       // 1 where there is depth
  Taps taps;
};

std::int64_t padded_row_floats(int radius, int stride);
PaddedRow padded_row(float* memory, int radius, int stride);

// Turns the metres in q[from, to) into inverse depth and writes what is kept of the row, each quantity kStrip long.
// Returns the blocks of kLanes pixels whose windows have no hole, one bit each. `squares`: whether q q is wanted.
// pixels: how many to keep, a multiple of kLanes. before: what was returned for the row that `kept` held until now.
unsigned keep_row(const PaddedRow& row, std::int64_t from, std::int64_t to, int pixels, bool squares, unsigned before,
                  float* kept);

}  // namespace fs
