// The two gravity estimators on the CPU, over a frame's sampled normals.
#pragma once

#include "hn_labels.h"

namespace fs {

// n finite unit normals.
struct Sample {
  const float *x, *y, *z;
  std::int64_t n;
};

// Robust Manhattan frame from the prior on: true when the objective settled, and up the axis nearest the prior.
bool manhattan(const Rules& rules, const Sample& s, Vec3d prior, Vec3d& up);

// Up by floors and walls, from a first up on.
Vec3d floor_wall(const Sample& s, Vec3d up);

FS_HD Vec3f single(Vec3d a) {
  return {static_cast<float>(a.x), static_cast<float>(a.y), static_cast<float>(a.z)};
}

}  // namespace fs
