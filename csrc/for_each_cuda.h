// The CUDA half of for_each.h: launch, the error check, shared memory, barriers, warp and atomic primitives.
#pragma once

#include <cuda_runtime.h>

#include <tuple>

#include "core.h"

#define FS_KERNEL __global__
#define FS_DEVICE __device__ inline
#define FS_SYNC() __syncthreads()
#define FS_SYNC_WARP() __syncwarp()
#define FS_SHARED(T, name, count) __shared__ T name[count]
#define FS_DYNAMIC_SHARED(T, name)                                    \
  extern __shared__ __align__(16) unsigned char fs_dynamic_shared_[]; \
  T* const name = reinterpret_cast<T*>(fs_dynamic_shared_)

namespace fs {

inline void check_cuda(cudaError_t code, const void* kernel) {
  if (code == cudaSuccess) return;
  const char* name = nullptr;
  if (kernel == nullptr || cudaFuncGetName(&name, kernel) != cudaSuccess) name = "a kernel";
  throw std::runtime_error(std::string("CUDA refused to launch ") + name + ": " + cudaGetErrorString(code));
}

// Runs kernel(args...) over grid x block threads with `shared` bytes of dynamic shared memory on the caller's stream.
template <class... P, class... A>
void launch(void (*kernel)(P...), Grid grid, Grid block, std::size_t shared, Stream stream, A... args) {
  const void* entry = reinterpret_cast<const void*>(kernel);
  std::tuple<P...> values{P(args)...};
  std::apply(
      [&](auto&... value) {
        void* pointers[] = {&value..., nullptr};
        if (shared > 0)  // what the kernel declares besides counts towards the 48 KiB that need no asking
          check_cuda(cudaFuncSetAttribute(entry, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)),
                     entry);
        check_cuda(cudaLaunchKernel(entry, dim3(grid.x, grid.y, grid.z), dim3(block.x, block.y, block.z), pointers,
                                    shared, static_cast<cudaStream_t>(stream.handle)),
                   entry);
      },
      values);
}

// Warp primitives: all 32 lanes of a warp must call them together.
template <class T>
FS_DEVICE T shfl(T value, int lane) {
  return __shfl_sync(0xffffffffu, value, lane);
}
template <class T>
FS_DEVICE T shfl_down(T value, int delta) {
  return __shfl_down_sync(0xffffffffu, value, delta);
}
template <class T>
FS_DEVICE T shfl_up(T value, int delta) {
  return __shfl_up_sync(0xffffffffu, value, delta);
}
template <class T>
FS_DEVICE T shfl_xor(T value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}
// The sum over a warp, the same bits in every lane (a butterfly: the order of the additions is fixed).
template <class T>
FS_DEVICE T warp_sum(T value) {
  for (int mask = 16; mask > 0; mask /= 2) value += shfl_xor(value, mask);
  return value;
}
FS_DEVICE unsigned ballot(bool value) {
  return __ballot_sync(0xffffffffu, value);
}
FS_DEVICE bool any(bool value) {
  return __any_sync(0xffffffffu, value) != 0;
}
FS_DEVICE bool all(bool value) {
  return __all_sync(0xffffffffu, value) != 0;
}
FS_DEVICE int popcount(unsigned bits) {
  return __popc(bits);
}

// Adds to *at and returns what stood there before.
FS_DEVICE int atomic_add(int* at, int value) {
  return atomicAdd(at, value);
}
FS_DEVICE unsigned atomic_add(unsigned* at, unsigned value) {
  return atomicAdd(at, value);
}
FS_DEVICE float atomic_add(float* at, float value) {
  return atomicAdd(at, value);
}
FS_DEVICE double atomic_add(double* at, double value) {
  return atomicAdd(at, value);
}
FS_DEVICE std::int64_t atomic_add(std::int64_t* at, std::int64_t value) {
  return static_cast<std::int64_t>(
      atomicAdd(reinterpret_cast<unsigned long long*>(at), static_cast<unsigned long long>(value)));
}
FS_DEVICE int atomic_min(int* at, int value) {
  return atomicMin(at, value);
}
FS_DEVICE int atomic_max(int* at, int value) {
  return atomicMax(at, value);
}
FS_DEVICE unsigned atomic_min(unsigned* at, unsigned value) {
  return atomicMin(at, value);
}
FS_DEVICE unsigned atomic_max(unsigned* at, unsigned value) {
  return atomicMax(at, value);
}

}  // namespace fs
