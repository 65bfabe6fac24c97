// The covariance's smallest eigenvector on the CPU, one row of normals at a time.
#pragma once

#include "normals_rows.h"

namespace fs {

std::int64_t pca_row_scratch(std::int64_t width, int radius);  // floats
void pca_row(const RowPlan& plan, std::int64_t v, float* scratch, float* const (&out)[3]);

}  // namespace fs
