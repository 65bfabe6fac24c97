// Sixteen pixels side by side on the CPU; the compiler cuts them into whatever registers the machine has.
#pragma once

#include "core.h"

// Lanes never cross a call that is not inlined, so their calling convention does not matter.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace fs {

inline constexpr int kLanes = 16;
typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float)), aligned(4)));

FS_HD Lanes at(const float* p) {
  Lanes out;
  __builtin_memcpy(&out, p, sizeof out);
  return out;
}

}  // namespace fs
