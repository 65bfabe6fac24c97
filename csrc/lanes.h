// Sixteen pixels side by side on the CPU; the compiler cuts them into whatever registers the machine has. Only for
// sums and products: GCC takes comparisons and selections of such vectors apart before FS_CLONES has chosen a machine,
// so these belong into loops over arrays, which become vectors afterwards.
#pragma once

#include "core.h"

namespace fs {

inline constexpr int kLanes = 16;
typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float)), aligned(4)));

FS_HD Lanes at(const float* p) {
  Lanes out;
  __builtin_memcpy(&out, p, sizeof out);
  return out;
}

FS_HD void put(float* p, Lanes value) {
  __builtin_memcpy(p, &value, sizeof value);
}

// n rounded up to whole lanes.
FS_HD std::int64_t whole_lanes(std::int64_t n) {
  return (n + kLanes - 1) / kLanes * kLanes;
}

}  // namespace fs
