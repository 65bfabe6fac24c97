// The plane fit on the CPU: each row's window sums along the row are made once, then summed down the windows.
#pragma once

#include "normals_rows.h"

namespace fs {

std::int64_t plane_rows_scratch(int radius);  // floats, enough for every stride
void plane_rows(const RowPlan& plan, std::int64_t v, float* scratch, float* const (&out)[3], std::int64_t pitch);

}  // namespace fs
