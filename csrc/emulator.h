// Runs the text of a CUDA kernel on the CPU, so that ASan and UBSan see every access of every thread.
//
// A block's threads are fibers on their own stacks; a barrier or warp primitive is a yield to the scheduler, which goes
// on when every thread it concerns has arrived at the same line, and throws when that can no longer happen. Shared
// memory is an exact heap block, filled with 0xFF (NaN for floats, -1 for integers) before each block starts. Threads
// between two barriers, and blocks, run in the order of the chosen schedule: a kernel whose result depends on it races.
#pragma once

#include <algorithm>
#include <numeric>
#include <random>
#include <source_location>
#include <utility>
#include <vector>

#include "core.h"
#include "emulator_block.h"

#define FS_KERNEL
#define FS_DEVICE inline
#define __launch_bounds__(...)
#define FS_SYNC() ::fs::emu::self->block->barrier(std::source_location::current())
#define FS_SYNC_WARP() ::fs::emu::self->block->warp_barrier(std::source_location::current())
#define FS_SHARED(T, name, count) T* const name = ::fs::emu::self->block->shared<T>(__FILE__, __LINE__, count)
#define FS_DYNAMIC_SHARED(T, name) T* const name = ::fs::emu::self->block->dynamic_shared<T>()

namespace fs {

template <class... P, class... A>
void launch(void (*kernel)(P...), Grid grid, Grid block, std::size_t shared, Stream, A... args) {
  const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
  const std::uint64_t blocks = std::uint64_t{grid.x} * grid.y * grid.z;
  require(threads >= 1 && threads <= 1024 && block.z <= 64, "a block must have 1 to 1024 threads");
  require(blocks >= 1 && grid.x < (1u << 31) && grid.y < (1u << 16) && grid.z < (1u << 16), "no such grid on a GPU");
  require(shared <= 227 * 1024, "a block has at most 227 KiB of shared memory");
  auto call = [&] { kernel(P(args)...); };
  emu::Block emulated(block, shared, [](void* c) { (*static_cast<decltype(call)*>(c))(); }, &call);
  const emu::Schedule schedule = emu::schedule;
  std::mt19937_64 random(schedule.seed);
  std::vector<std::uint64_t> turn(blocks);
  std::iota(turn.begin(), turn.end(), 0);
  if (schedule.order == emu::Order::kReverse) std::reverse(turn.begin(), turn.end());
  if (schedule.order == emu::Order::kRandom) std::shuffle(turn.begin(), turn.end(), random);
  gridDim = grid, blockDim = block;
  for (const std::uint64_t b : turn) {
    blockIdx = {static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                static_cast<unsigned>(b / grid.x / grid.y)};
    emulated.run(schedule.order, random);
  }
}

// The emulated twins of for_each_cuda.h's warp and atomic primitives.
using Place = std::source_location;
template <class T>
T shfl(T value, int lane, Place at = Place::current()) {
  return emu::self->block->exchange(value, [=](int) { return lane; }, at);
}
template <class T>
T shfl_down(T value, int delta, Place at = Place::current()) {
  return emu::self->block->exchange(value, [=](int lane) { return lane + delta; }, at);
}
template <class T>
T shfl_up(T value, int delta, Place at = Place::current()) {
  return emu::self->block->exchange(value, [=](int lane) { return lane - delta; }, at);
}
template <class T>
T shfl_xor(T value, int mask, Place at = Place::current()) {
  return emu::self->block->exchange(value, [=](int lane) { return lane ^ mask; }, at);
}
template <class T>
T warp_sum(T value, Place at = Place::current()) {
  for (int mask = 16; mask > 0; mask /= 2) value += shfl_xor(value, mask, at);
  return value;
}
inline unsigned ballot(bool value, Place at = Place::current()) {
  unsigned bits = value ? 1u << emu::self->lane : 0u;
  for (int mask = 16; mask > 0; mask /= 2) bits |= shfl_xor(bits, mask, at);
  return bits;
}
inline bool any(bool value, Place at = Place::current()) {
  return ballot(value, at) != 0;
}
inline bool all(bool value, Place at = Place::current()) {
  return ballot(value, at) == 0xffffffffu;
}
inline int popcount(unsigned bits) {
  return __builtin_popcount(bits);
}

template <class T>
T atomic_add(T* at, std::type_identity_t<T> value) {
  return std::exchange(*at, *at + value);
}
template <class T>
T atomic_min(T* at, std::type_identity_t<T> value) {
  return std::exchange(*at, std::min(*at, value));
}
template <class T>
T atomic_max(T* at, std::type_identity_t<T> value) {
  return std::exchange(*at, std::max(*at, value));
}

}  // namespace fs
