// The CPU's way to normals: rows of depth go in from the top, rows of normals come out. Shared by two ops.
#pragma once

#include "normals.h"

namespace fs {

// One depth image: uint16 or float32, in units of `scale` metres.
struct DepthImage {
  const void* data;
  DType dtype;
  float scale;
  std::int64_t height, width;
};

// One frame of (N, H, W) depth.
DepthImage image_of(const Array& depth, std::int64_t frame, float scale);

// Metres of row v's columns [from, to), 0 where there is no measurement.
void metres_row(const DepthImage& depth, std::int64_t v, std::int64_t from, std::int64_t to, float* z);

// Asks for row v's columns [from, to) before they are needed, if the image has that row: what reads strips of rows
// jumps from row to row, which the processor does not foresee.
void fetch_row(const DepthImage& depth, std::int64_t v, std::int64_t from, std::int64_t to);

// The points of row v from its metres, NaN where there are none.
void points_row(const float* z, const Pinhole& camera, std::int64_t v, std::int64_t width, float* x, float* y,
                float* out);

// What the rows of normals of one frame are made from.
struct RowPlan {
  DepthImage depth;
  Pinhole camera;
  Fit fit;
  int stride;
  std::int64_t first;        // row where the sweep begins, a multiple of the stride
  std::int64_t left, right;  // columns of the sweep, at most strip_columns(...); left is a multiple of the stride
};

// How many columns one sweep may take; a wider image is cut into strips.
std::int64_t strip_columns(Estimator estimator, int stride, std::int64_t width);

// Floats of scratch one worker needs to make the normals of frames this wide.
std::int64_t normal_rows_scratch(std::int64_t width, int radius);

inline constexpr int kRowsAtOnce = 4;

// How many rows of normals are made together: the windows of neighbouring rows share most of their sums.
inline int rows_at_once(int stride) {
  return stride == 1 ? kRowsAtOnce : 1;
}

// Makes the normals of rows v, v + stride, ... of one frame, rows_at_once(stride) of them or as many as the image has
// left: the r-th goes to out[axis] + r * pitch. To be called from v = plan.first on, each time
// below what is made.
void normal_rows(const RowPlan& plan, std::int64_t v, float* scratch, float* const (&out)[3], std::int64_t pitch);

}  // namespace fs
