// The CPU's change of layout: rows of pixels to planes of channels and back, four by four in registers.
#pragma once

#include "gated_conv_rows.h"

namespace fs::rows {

typedef float Four __attribute__((vector_size(16), aligned(4)));

// to[j] (+)= the j-th of four vectors.
template <bool Add>
FS_HD void store_four(float* to, Four value) {
  Four old{};
  if constexpr (Add) __builtin_memcpy(&old, to, sizeof old);
  value += old;
  __builtin_memcpy(to, &value, sizeof value);
}

template <bool Add>
FS_HD void transpose_four(const float* in, std::int64_t in_step, float* out, std::int64_t out_step) {
  Four a, b, c, d;
  __builtin_memcpy(&a, in, sizeof a), __builtin_memcpy(&b, in + in_step, sizeof b);
  __builtin_memcpy(&c, in + 2 * in_step, sizeof c), __builtin_memcpy(&d, in + 3 * in_step, sizeof d);
  const Four ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const Four ef = __builtin_shufflevector(a, b, 2, 6, 3, 7), gh = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  store_four<Add>(out, __builtin_shufflevector(ab, cd, 0, 1, 4, 5));
  store_four<Add>(out + out_step, __builtin_shufflevector(ab, cd, 2, 3, 6, 7));
  store_four<Add>(out + 2 * out_step, __builtin_shufflevector(ef, gh, 0, 1, 4, 5));
  store_four<Add>(out + 3 * out_step, __builtin_shufflevector(ef, gh, 2, 3, 6, 7));
}

template <bool Add, class T>
FS_HD void transpose_block(const T* in, std::int64_t in_step, T* out, std::int64_t out_step, std::int64_t rows,
                           std::int64_t columns) {
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < columns; ++j)
      out[i * out_step + j] = in[j * in_step + i] + (Add ? out[i * out_step + j] : T(0));
}

// out[i * out_step + j] = in[j * in_step + i], or +=, for i < rows, j < columns, in blocks that stay in the first
// cache.
template <bool Add = false, class T>
void transpose(const T* in, std::int64_t in_step, T* out, std::int64_t out_step, std::int64_t rows,
               std::int64_t columns) {
  constexpr std::int64_t block = 16;
  for (std::int64_t i0 = 0; i0 < rows; i0 += block)
    for (std::int64_t j0 = 0; j0 < columns; j0 += block) {
      const T* const from = in + j0 * in_step + i0;
      T* const to = out + i0 * out_step + j0;
      const std::int64_t down = rows - i0 < block ? rows - i0 : block;
      const std::int64_t across = columns - j0 < block ? columns - j0 : block;
      std::int64_t whole = 0;
      if constexpr (sizeof(T) == sizeof(float))
        if (down == block)
          for (; whole + 4 <= across; whole += 4)
            for (std::int64_t i = 0; i < block; i += 4)
              transpose_four<Add>(from + whole * in_step + i, in_step, to + i * out_step + whole, out_step);
      transpose_block<Add>(from + whole * in_step, in_step, to + whole, out_step, down, across - whole);
    }
}

}  // namespace fs::rows
