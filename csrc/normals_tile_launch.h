// Starts the kernel of an estimator; each normal, with its depth, goes to `sink` (see StoreQuads). Only for .cu files.
#pragma once

#include "normals_tile_cross.h"
#include "normals_tile_pca.h"
#include "normals_tile_plane.h"

namespace fs {

// Of `a` only the input is read: depth, scale, camera, fit and stride. T is the type of a depth.
template <class T, class Sink>
void launch_normals(const Normals& a, Stream stream, const Sink& sink) {
  if (a.fit.estimator == Estimator::kPlane) return launch_plane<T>(a, stream, sink);
  if (a.fit.estimator == Estimator::kPca) return launch_pca<T>(a, stream, sink);
  launch_cross<T>(a, stream, sink);
}

}  // namespace fs
