// The CPU's products: rows of pixels, wherever they lie, times a panel of packed weights, added to rows of sums.
//
// A row is the channels of one pixel, side by side. A panel is kPanel<T> output channels of all input channels. Eight
// rows times two registers of a panel are summed in registers, which is the machine's FMA rate (a quarter more than a
// packed library product that must first be given its columns); machines with 16 registers take six rows times one.
#pragma once

#include "for_each.h"
#include "gated_conv.h"

#pragma GCC diagnostic ignored "-Wpsabi"

namespace fs::rows {

inline constexpr int kBytes = 64;  // of a vector
template <class T>
inline constexpr int kVector = kBytes / static_cast<int>(sizeof(T));
template <class T>
inline constexpr int kPanel = 2 * kVector<T>;  // output channels of a panel
typedef float Float16 __attribute__((vector_size(kBytes), aligned(4)));
typedef double Double8 __attribute__((vector_size(kBytes), aligned(8)));
FS_HD Float16 load(const float* p) {
  Float16 out;
  __builtin_memcpy(&out, p, kBytes);
  return out;
}
FS_HD Double8 load(const double* p) {
  Double8 out;
  __builtin_memcpy(&out, p, kBytes);
  return out;
}

// True when the processor has 32 vector registers.
inline bool many_registers() {
#ifdef __x86_64__
  static const bool found = __builtin_cpu_supports("avx512f") != 0;
  return found;
#else
  return true;
#endif
}

// c[r][0 .. V * vector) += sum_i a[r][i] b[i][0 .. V * vector) for R rows; b's rows are kPanel long.
template <int R, int V, class T>
FS_HD void multiply_tile(const T* const* a, const T* b, T* const* c, std::int64_t column, std::int64_t k) {
  constexpr int width = kVector<T>;
  decltype(load(b)) sum[R][V];
  const T* row[R];
  for (int r = 0; r < R; ++r) {
    row[r] = a[r];
    for (int v = 0; v < V; ++v) sum[r][v] = load(c[r] + column + v * width);
  }
  for (std::int64_t i = 0; i < k; ++i) {
    decltype(load(b)) weights[V];
    for (int v = 0; v < V; ++v) weights[v] = load(b + i * kPanel<T> + v * width);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) sum[r][v] += row[r][i] * weights[v];
  }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) __builtin_memcpy(c[r] + column + v * width, &sum[r][v], kBytes);
}

template <int V, class T>
FS_HD void multiply_rest(const T* const* a, const T* b, T* const* c, std::int64_t column, std::int64_t n,
                         std::int64_t k) {
  std::int64_t r = 0;
  for (; r + 4 <= n; r += 4) multiply_tile<4, V>(a + r, b, c + r, column, k);
  for (; r < n; ++r) multiply_tile<1, V>(a + r, b, c + r, column, k);
}

template <class T>
FS_HD void multiply_rows(const T* const* a, const T* b, T* const* c, std::int64_t column, std::int64_t n,
                         std::int64_t k, bool many) {
  std::int64_t r = 0;
  if (many) {
    for (; r + 8 <= n; r += 8) multiply_tile<8, 2>(a + r, b, c + r, column, k);
    return multiply_rest<2>(a + r, b, c + r, column, n - r, k);
  }
  constexpr int half = kVector<T>;
  for (; r + 6 <= n; r += 6)
    for (int v = 0; v < 2; ++v) multiply_tile<6, 1>(a + r, b + v * half, c + r, column + v * half, k);
  for (int v = 0; v < 2; ++v) multiply_rest<1>(a + r, b + v * half, c + r, column + v * half, n - r, k);
}

// c[r][column + j] += sum_i a[r][i] b[i][j] for n rows of k numbers and the kPanel columns of a panel b.
FS_CLONES inline void multiply(const float* const* a, const float* b, float* const* c, std::int64_t column,
                               std::int64_t n, std::int64_t k, bool many) {
  multiply_rows(a, b, c, column, n, k, many);
}
FS_CLONES inline void multiply(const double* const* a, const double* b, double* const* c, std::int64_t column,
                               std::int64_t n, std::int64_t k, bool many) {
  multiply_rows(a, b, c, column, n, k, many);
}

// c[i][v] += sum_r a[r][at + i] b[r][v] for R columns `at`.. of n rows; b's rows are kPanel long, c's `step` apart.
template <int R, int V, class T>
FS_HD void outer_tile(const T* const* a, std::int64_t at, const T* b, T* c, std::int64_t step, std::int64_t n) {
  constexpr int width = kVector<T>;
  decltype(load(b)) sum[R][V];
  for (int i = 0; i < R; ++i)
    for (int v = 0; v < V; ++v) sum[i][v] = load(c + i * step + v * width);
  for (std::int64_t r = 0; r < n; ++r) {
    decltype(load(b)) weights[V];
    const T* const row = a[r] + at;
    for (int v = 0; v < V; ++v) weights[v] = load(b + r * kPanel<T> + v * width);
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) sum[i][v] += row[i] * weights[v];
  }
  for (int i = 0; i < R; ++i)
    for (int v = 0; v < V; ++v) __builtin_memcpy(c + i * step + v * width, &sum[i][v], kBytes);
}

template <class T>
FS_HD void outer_panel(const T* const* a, std::int64_t columns, const T* b, T* c, std::int64_t step, std::int64_t n,
                       bool many) {
  std::int64_t i = 0;
  if (many)
    for (; i + 8 <= columns; i += 8) outer_tile<8, 2>(a, i, b, c + i * step, step, n);
  constexpr int half = kVector<T>;
  for (; i + 4 <= columns; i += 4)
    for (int v = 0; v < 2; ++v) outer_tile<4, 1>(a, i, b + v * half, c + i * step + v * half, step, n);
  for (; i < columns; ++i) outer_tile<1, 2>(a, i, b, c + i * step, step, n);
}

// c[i * step + j] += sum_r a[r][i] b[r][j] for n rows, `columns` of a's columns and the kPanel of a panel b.
FS_CLONES inline void multiply_outer(const float* const* a, std::int64_t columns, const float* b, float* c,
                                     std::int64_t step, std::int64_t n, bool many) {
  outer_panel(a, columns, b, c, step, n, many);
}
FS_CLONES inline void multiply_outer(const double* const* a, std::int64_t columns, const double* b, double* c,
                                     std::int64_t step, std::int64_t n, bool many) {
  outer_panel(a, columns, b, c, step, n, many);
}

// out = factor * in for n numbers, zeros after them to a whole panel; panel by panel, `panel_step` apart.
template <class T>
FS_HD void scaled_row(const T* __restrict in, std::int64_t n, T factor, T* __restrict out, std::int64_t panel_step) {
  for (std::int64_t from = 0; from < n; from += kPanel<T>, out += panel_step) {
    const std::int64_t some = n - from < kPanel<T> ? n - from : kPanel<T>;
    if (some == kPanel<T>)
      for (int j = 0; j < kPanel<T>; ++j) out[j] = factor * in[from + j];
    else
      for (int j = 0; j < kPanel<T>; ++j) out[j] = j < some ? factor * in[from + j] : T(0);
  }
}
FS_CLONES inline void scale_row(const float* in, std::int64_t n, float factor, float* out, std::int64_t panel_step) {
  scaled_row(in, n, factor, out, panel_step);
}
FS_CLONES inline void scale_row(const double* in, std::int64_t n, double factor, double* out, std::int64_t panel_step) {
  scaled_row(in, n, factor, out, panel_step);
}

// dx += factor * d for a panel; returns d . x when x is given.
template <class T>
FS_HD T added_panel(const T* d, T factor, T* dx, const T* x) {
  T sum = 0;
  for (int v = 0; v < 2; ++v) {
    const auto some = load(d + v * kVector<T>), grown = load(dx + v * kVector<T>) + factor * some;
    __builtin_memcpy(dx + v * kVector<T>, &grown, kBytes);
    if (x == nullptr) continue;
    const auto product = some * load(x + v * kVector<T>);
    for (int j = 0; j < kVector<T>; ++j) sum += product[j];
  }
  return sum;
}
FS_CLONES inline float add_panel(const float* d, float factor, float* dx, const float* x) {
  return added_panel(d, factor, dx, x);
}
FS_CLONES inline double add_panel(const double* d, double factor, double* dx, const double* x) {
  return added_panel(d, factor, dx, x);
}

// Panels are filled this many columns at a time: more would share one cache line's set at common channel counts.
inline constexpr int kTogether = 8;

// Panels of a convolution's weights (Cout, Cin, 9): out[tap][panel][i][j] = weight(panel * kPanel + j, i, tap), 0
// beyond the last output channel; when `backward`, input and output channels change places.
template <class T>
void pack(const T* weight, std::int64_t outputs, std::int64_t inputs, bool backward, T* out, std::int64_t workers) {
  const std::int64_t across = backward ? inputs : outputs, along = backward ? outputs : inputs;
  const std::int64_t across_step = (backward ? 1 : inputs) * kTaps, along_step = (backward ? inputs : 1) * kTaps;
  const std::int64_t panels = (across + kPanel<T> - 1) / kPanel<T>;
  for_each_worker(panels, workers, [=](std::int64_t panel, std::int64_t) {
    const std::int64_t some = across - panel * kPanel<T> < kPanel<T> ? across - panel * kPanel<T> : kPanel<T>;
    const T* const from = weight + panel * kPanel<T> * across_step;
    for (std::int64_t group = 0; group < kPanel<T>; group += kTogether)
      for (std::int64_t i = 0; i < along; ++i)
        for (int tap = 0; tap < kTaps; ++tap) {
          T* const to = out + ((tap * panels + panel) * along + i) * kPanel<T> + group;
          const T* const read = from + group * across_step + i * along_step + tap;
          for (int j = 0; j < kTogether; ++j) to[j] = group + j < some ? read[j * across_step] : T(0);
        }
  });
}

}  // namespace fs::rows
