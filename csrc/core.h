// The nouns of csrc: arrays, views that own nothing, a stream, and the macros that let one body serve two compilers.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <type_traits>

// FS_HD: a function for the host and the device (FS_LAMBDA: the same for a lambda). FS_CLONES: a host function compiled
// once for each x86-64 level and chosen when the library loads; `flatten` pulls every FS_HD function it calls into each
// clone.
#ifdef __CUDACC__
#define FS_HD __host__ __device__ inline
#define FS_LAMBDA __host__ __device__
#else
#define FS_HD inline
#define FS_LAMBDA
#endif
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12 && defined(__x86_64__) && !defined(__CUDACC__) && \
    !defined(FS_EMULATOR) && !defined(FS_SANITIZED)
#define FS_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4"), flatten))
#else
#define FS_CLONES
#endif

namespace fs {

// FS_CUDA is set for every file of _cuda, FS_EMULATOR of _emu, FS_SANITIZED of _san, none of them of _cpu.
#ifdef FS_CUDA
inline constexpr bool kOnDevice = true;
#else
inline constexpr bool kOnDevice = false;
#endif

struct Stream {
  void* handle = nullptr;  // a cudaStream_t; unused on the CPU
};

// How many blocks in a grid, or threads in a block.
struct Grid {
  unsigned x = 1, y = 1, z = 1;
};

enum class DType { kInt8, kUint8, kUint16, kInt32, kInt64, kFloat32, kFloat64, kFloat16, kBFloat16 };

inline constexpr int kMaxRank = 5;

// An array as Python hands it over: contiguous, last index fastest, owned by the caller.
struct Array {
  void* data = nullptr;            // first element; null when size is 0 or the argument was None
  DType dtype = DType::kUint8;     // type of an element
  bool on_device = false;          // true: CUDA global memory
  int rank = 0;                    // number of axes, 0..kMaxRank
  std::int64_t shape[kMaxRank]{};  // length of each axis
};

inline void require(bool condition, const std::string& message) {
  if (!condition) throw std::invalid_argument(message);
}

template <class T>
constexpr DType dtype_of() {
  using U = std::remove_const_t<T>;
  if constexpr (std::is_same_v<U, std::int8_t>) return DType::kInt8;
  if constexpr (std::is_same_v<U, std::uint8_t>) return DType::kUint8;
  if constexpr (std::is_same_v<U, std::uint16_t>) return DType::kUint16;
  if constexpr (std::is_same_v<U, std::int32_t>) return DType::kInt32;
  if constexpr (std::is_same_v<U, std::int64_t>) return DType::kInt64;
  if constexpr (std::is_same_v<U, float>) return DType::kFloat32;
  if constexpr (std::is_same_v<U, double>) return DType::kFloat64;
}

// A contiguous array of known rank; owns nothing; index it as v(i, j, k). _emu and _san check every index.
template <class T, int R>
struct View {
  T* data = nullptr;
  std::int64_t shape[R]{};

  template <class... I>
  FS_HD T& operator()(I... index) const {
    static_assert(sizeof...(I) == R, "one index for each axis");
    return data[offset({static_cast<std::int64_t>(index)...})];
  }

  FS_HD std::int64_t size() const {
    std::int64_t n = 1;
    for (int axis = 0; axis < R; ++axis) n *= shape[axis];
    return n;
  }

 private:
  FS_HD std::int64_t offset(const std::int64_t (&index)[R]) const {
    std::int64_t at = 0;
    for (int axis = 0; axis < R; ++axis) {
#if defined(FS_EMULATOR) || defined(FS_SANITIZED)
      if (index[axis] < 0 || index[axis] >= shape[axis])
        throw std::out_of_range("index " + std::to_string(index[axis]) + " of axis " + std::to_string(axis) +
                                " leaves its length " + std::to_string(shape[axis]));
#endif
      at = at * shape[axis] + index[axis];
    }
    return at;
  }
};

template <class T>
using View1 = View<T, 1>;
template <class T>
using View2 = View<T, 2>;
template <class T>
using View3 = View<T, 3>;
template <class T>
using View4 = View<T, 4>;
template <class T>
using View5 = View<T, 5>;

// The typed view of an array; std::invalid_argument when its type, rank or place is not the one asked for.
template <class T, int R>
View<T, R> view(const Array& array, const char* name) {
  require(array.dtype == dtype_of<T>(), std::string(name) + " has another dtype than this kernel takes");
  require(array.rank == R,
          std::string(name) + " must have " + std::to_string(R) + " axes; got " + std::to_string(array.rank));
  require(array.on_device == kOnDevice, std::string(name) + (kOnDevice ? " must lie on the GPU"
                                                                       : " must lie in host "
                                                                         "memory"));
  View<T, R> out;
  out.data = static_cast<T*>(array.data);
  for (int axis = 0; axis < R; ++axis) out.shape[axis] = array.shape[axis];
  return out;
}

}  // namespace fs
