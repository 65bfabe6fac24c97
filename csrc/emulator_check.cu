#include "emulator_check.h"
#include "for_each.h"
#include "vec3.h"

namespace fs {
namespace {

constexpr int kThreads = 64;

FS_DEVICE float load(const EmulatorCheck& c) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  return i < c.x.size() ? c.x(i) : 0.f;
}

FS_DEVICE void add_tile(const EmulatorCheck& c, float* tile, bool with_barrier) {
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (static_cast<int>(threadIdx.x) < half) tile[threadIdx.x] += tile[threadIdx.x + half];
    if (with_barrier) FS_SYNC();
  }
  if (threadIdx.x == 0) c.sum(blockIdx.x) = tile[0];
}

FS_KERNEL void block_sum(EmulatorCheck c) {
  FS_SHARED(float, tile, kThreads);
  tile[threadIdx.x] = load(c);
  FS_SYNC();
  add_tile(c, tile, true);
}

FS_KERNEL void warp_sums(EmulatorCheck c) {
  FS_DYNAMIC_SHARED(float, tile);
  const float sum = warp_sum(load(c));
  if (threadIdx.x % 32 == 0) tile[threadIdx.x / 32] = sum;
  FS_SYNC();
  if (threadIdx.x == 0) atomic_add(&c.sum(blockIdx.x), tile[0] + tile[1]);
}

FS_KERNEL void missing_barrier(EmulatorCheck c) {
  FS_SHARED(float, tile, kThreads);
  tile[threadIdx.x] = load(c);
  add_tile(c, tile, false);
}

FS_KERNEL void tile_overrun(EmulatorCheck c) {
  FS_SHARED(float, tile, kThreads);
  tile[threadIdx.x + 1] = load(c);
  FS_SYNC();
  if (threadIdx.x == 0) c.sum(blockIdx.x) = tile[1];
}

FS_KERNEL void divergent_barrier(EmulatorCheck c) {
  if (threadIdx.x < 24) return;
  FS_SYNC();
  c.sum(blockIdx.x) = load(c);
}

FS_KERNEL void divergent_warp(EmulatorCheck c) {
  const float value = load(c);
  if (threadIdx.x % 2 == 0) c.sum(blockIdx.x) = warp_sum(value);
}

FS_KERNEL void array_overrun(EmulatorCheck c) {
  if (threadIdx.x == 0) c.sum.data[blockIdx.x] = c.x.data[c.x.size()];
}

FS_KERNEL void index_outside(EmulatorCheck c) {
  if (threadIdx.x == 0) c.sum(blockIdx.x) = c.x(c.x.size());
}

FS_HD void store(const View3<float>& out, std::int64_t i, int row, Vec3f v) {
  out(i, row, 0) = v.x, out(i, row, 1) = v.y, out(i, row, 2) = v.z;
}

FS_HD void solve(const LinearAlgebraCheck& c, std::int64_t i) {
  auto row = [&](int r) { return Vec3f{c.m(i, r, 0), c.m(i, r, 1), c.m(i, r, 2)}; };
  const Mat3f m{row(0), row(1), row(2)}, s = transpose(m) * m, rotation = nearest_rotation(m);
  const Sym3f symmetric{s.r0.x, s.r0.y, s.r0.z, s.r1.y, s.r1.z, s.r2.z};
  const Eigen3<float> pairs = eigen(symmetric);
  const Vec3f smallest = smallest_eigenvector(symmetric);
  for (int k = 0; k < 3; ++k) c.value(i, k) = pairs.value[k], store(c.vector, i, k, pairs.vector[k]);
  c.smallest(i, 0) = smallest.x, c.smallest(i, 1) = smallest.y, c.smallest(i, 2) = smallest.z;
  store(c.rotation, i, 0, rotation.r0), store(c.rotation, i, 1, rotation.r1), store(c.rotation, i, 2, rotation.r2);
}

void run(void (*kernel)(EmulatorCheck), const EmulatorCheck& c, Stream stream) {
  const unsigned blocks = static_cast<unsigned>(c.sum.size());
  launch(kernel, {blocks}, {kThreads}, 2 * sizeof(float), stream, c);
}

}  // namespace

void check_far_index(const FarIndexCheck& c, Stream stream) {
  for_each(c.at.shape[0], stream, [=] FS_LAMBDA(std::int64_t i) {
    c.x(c.at(i, 0), c.at(i, 1), c.at(i, 2)) += static_cast<std::uint8_t>(i + 1);
  });
}
void check_linear_algebra(const LinearAlgebraCheck& c, Stream stream) {
  for_each(c.m.shape[0], stream, [=] FS_LAMBDA(std::int64_t i) { solve(c, i); });
}
void check_block_sum(const EmulatorCheck& c, Stream stream) {
  run(block_sum, c, stream);
}
void check_warp_sum(const EmulatorCheck& c, Stream stream) {
  run(warp_sums, c, stream);
}
void check_missing_barrier(const EmulatorCheck& c, Stream stream) {
  run(missing_barrier, c, stream);
}
void check_tile_overrun(const EmulatorCheck& c, Stream stream) {
  run(tile_overrun, c, stream);
}
void check_divergent_barrier(const EmulatorCheck& c, Stream stream) {
  run(divergent_barrier, c, stream);
}
void check_divergent_warp(const EmulatorCheck& c, Stream stream) {
  run(divergent_warp, c, stream);
}
void check_array_overrun(const EmulatorCheck& c, Stream stream) {
  run(array_overrun, c, stream);
}
void check_index(const EmulatorCheck& c, Stream stream) {
  run(index_outside, c, stream);
}

}  // namespace fs
