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

// FS_V4: a function for x86-64-v4 alone, to be called where has_v4(); GCC keeps its shuffles whole. No clone of another
// function may inline it.
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12 && defined(__x86_64__)
#define FS_V4 __attribute__((target("arch=x86-64-v4")))
typedef std::int32_t LaneIndex __attribute__((vector_size(kLanes * sizeof(std::int32_t)), aligned(4)));

inline bool has_v4() {
  return __builtin_cpu_supports("x86-64-v4") != 0;
}
// Lane l is entry index[l] of a and b in a row; 2 kLanes entries.
FS_V4 inline Lanes pick(Lanes a, Lanes b, LaneIndex index) {
  return __builtin_shuffle(a, b, index);
}
#else
inline bool has_v4() {
  return false;
}
#endif

// n rounded up to whole lanes.
FS_HD std::int64_t whole_lanes(std::int64_t n) {
  return (n + kLanes - 1) / kLanes * kLanes;
}

}  // namespace fs
