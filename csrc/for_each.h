// How a loop runs: OpenMP in _cpu, a CUDA grid in _cuda, the block emulator in _emu. The one place that launches and
// the one CUDA error check. A .cu file includes this header and never writes <<<>>> or a CUDA intrinsic itself.
#pragma once

#ifdef _OPENMP
#include <omp.h>
#endif

#include <algorithm>

#include "core.h"

#if defined(__CUDACC__)
#include "for_each_cuda.h"
#elif defined(FS_EMULATOR)
#include "emulator.h"
#endif

namespace fs {

#if defined(__CUDACC__) || defined(FS_EMULATOR)

inline constexpr int kBlock = 256;

template <class F>
FS_KERNEL void for_each_kernel(std::int64_t n, F f) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) f(i);
}

// Calls f(i) for every i in [0, n) in no order; f is a functor with an FS_HD operator(), or [=] FS_LAMBDA(int64 i).
template <class F>
void for_each(std::int64_t n, Stream stream, F f) {
  if (n <= 0) return;
  const std::int64_t blocks = (n + kBlock - 1) / kBlock;
  const unsigned grid = static_cast<unsigned>(blocks < (1 << 20) ? blocks : (1 << 20));
  launch(for_each_kernel<F>, {grid}, {kBlock}, 0, stream, n, f);
}

#else

// Calls f(i) for every i in [0, n), over OpenMP's threads when there are several; f must not throw.
template <class F>
void for_each(std::int64_t n, Stream, F f) {
#ifdef _OPENMP
#pragma omp parallel for schedule(static) if (n > 1)
#endif
  for (std::int64_t i = 0; i < n; ++i) f(i);
}

// Calls f(i, worker) for every i in [0, n), at most one call at a time for each worker in [0, workers).
template <class F>
void for_each_worker(std::int64_t n, [[maybe_unused]] std::int64_t workers, F f) {
#ifdef _OPENMP
  if (workers > 1 && n > 1) {
#pragma omp parallel for schedule(static) num_threads(static_cast<int>(workers))
    for (std::int64_t i = 0; i < n; ++i) f(i, static_cast<std::int64_t>(omp_get_thread_num()));
    return;
  }
#endif
  for (std::int64_t i = 0; i < n; ++i) f(i, std::int64_t{0});
}

#endif

}  // namespace fs
