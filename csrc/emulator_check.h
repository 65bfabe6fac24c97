// Kernels that prove the emulator: two that are right, and one for each mistake it must catch. Only in _emu.
#pragma once

#include "core.h"

namespace fs {

struct EmulatorCheck {
  View1<const float> x;  // (n,) the values to add
  View1<float> sum;      // (blocks,) one sum for each block of 64 values
};

// vec3.h on each matrix of m: the eigenpairs and smallest eigenvector of m^T m, and the rotation nearest to m.
struct LinearAlgebraCheck {
  View3<const float> m;   // (n, 3, 3)
  View2<float> value;     // (n, 3) ascending
  View3<float> vector;    // (n, 3, 3) row i belongs to value i
  View2<float> smallest;  // (n, 3)
  View3<float> rotation;  // (n, 3, 3)
};

// Adds i + 1 to the element at the i-th index.
struct FarIndexCheck {
  View3<std::uint8_t> x;         // more than 2^31 elements
  View2<const std::int64_t> at;  // (n, 3) indices into x
};

void check_far_index(const FarIndexCheck& c, Stream stream);
void check_linear_algebra(const LinearAlgebraCheck& c, Stream stream);
void check_block_sum(const EmulatorCheck& c, Stream stream);
void check_warp_sum(const EmulatorCheck& c, Stream stream);
void check_missing_barrier(const EmulatorCheck& c, Stream stream);
void check_tile_overrun(const EmulatorCheck& c, Stream stream);
void check_divergent_barrier(const EmulatorCheck& c, Stream stream);
void check_divergent_warp(const EmulatorCheck& c, Stream stream);
void check_array_overrun(const EmulatorCheck& c, Stream stream);
void check_index(const EmulatorCheck& c, Stream stream);

}  // namespace fs
