#include "emulator_check.h"
#include "for_each.h"

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

void run(void (*kernel)(EmulatorCheck), const EmulatorCheck& c, Stream stream) {
  const unsigned blocks = static_cast<unsigned>(c.sum.size());
  launch(kernel, {blocks}, {kThreads}, 2 * sizeof(float), stream, c);
}

}  // namespace

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
