// Kernels that prove the emulator: two that are right, and one for each mistake it must catch. Only in _emu.
#pragma once

#include "core.h"

namespace fs {

struct EmulatorCheck {
  View1<const float> x;  // (n,) the values to add
  View1<float> sum;      // (blocks,) one sum for each block of 64 values
};

void check_block_sum(const EmulatorCheck& c, Stream stream);
void check_warp_sum(const EmulatorCheck& c, Stream stream);
void check_missing_barrier(const EmulatorCheck& c, Stream stream);
void check_tile_overrun(const EmulatorCheck& c, Stream stream);
void check_divergent_barrier(const EmulatorCheck& c, Stream stream);
void check_divergent_warp(const EmulatorCheck& c, Stream stream);
void check_array_overrun(const EmulatorCheck& c, Stream stream);
void check_index(const EmulatorCheck& c, Stream stream);

}  // namespace fs
