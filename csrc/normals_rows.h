// The CPU's way to normals: whole rows at a time, every window sum slid down the image. Shared by two ops.
#pragma once

#include "normals.h"

namespace fs {

// Doubles of scratch one worker needs to make the normals of frames this wide with windows up to this radius.
std::int64_t normal_rows_scratch(std::int64_t width, int radius);

// Makes the rows of normals of one frame, top to bottom.
class NormalRows {
 public:
  // q: (height, width) inverse depth, 0 where there is none. Normals are made at every stride-th column.
  NormalRows(const float* q, std::int64_t height, std::int64_t width, const Pinhole& camera, const Fit& fit, int stride,
             double* scratch);
  // Writes the normals of row v into out[0..2], ceil(width / stride) floats each. Rows must be asked for in ascending
  // order.
  void row(std::int64_t v, float* const (&out)[3]);

 private:
  void slide(std::int64_t v);

  const float* q_;
  std::int64_t height_, width_;
  Pinhole camera_;
  Fit fit_;
  int stride_;
  double* scratch_;
  std::int64_t next_;  // first row that has not entered the column sums
};

// Inverse depth of n raw depths, 0 where there is none; depth is uint16 or float32, `at` elements from its start.
void inverse_depth(const Array& depth, std::int64_t at, std::int64_t n, float scale, float* q);

}  // namespace fs
