// gated_conv: per pixel, a sum (or choice) over dilations of 3x3 convolutions or poolings. The formulas are here;
// gated_conv.cpp multiplies rows of pixels by panels of weights, gated_conv.cu makes the columns of a library's GEMM.
#pragma once

#include <limits>

#include "core.h"
#include "half.h"

namespace fs {

inline constexpr int kMaxBranches = 16, kTaps = 9;
inline constexpr std::uint8_t kNoBranch = 255;  // of a pixel that no branch was chosen for: its output is 0

struct Branches {
  int count = 0;                 // 1..kMaxBranches
  int dilation[kMaxBranches]{};  // of each branch, at least 1
};

// What happens to a branch between its convolution and the gate, in folded batch-norm's form.
template <class T>
struct Epilogue {
  View2<const T> scale, shift;  // (branches, Cout); null for 1 and 0
  bool relu = false;
};

struct Image {
  std::int64_t height, width;
};

// The pixel that tap 0..8 (row by row) of pixel p reads, -1 outside the image; pixels are counted through the batch.
FS_HD std::int64_t tap_source(std::int64_t p, int tap, int dilation, const Image& image) {
  const std::int64_t dv = (tap / 3 - 1) * static_cast<std::int64_t>(dilation);
  const std::int64_t du = (tap % 3 - 1) * static_cast<std::int64_t>(dilation);
  const std::int64_t u = p % image.width + du, v = p / image.width % image.height + dv;
  return u >= 0 && v >= 0 && u < image.width && v < image.height ? p + dv * image.width + du : -1;
}

// Where pixel p of branch k lies in an array (N, branches, H, W).
FS_HD std::int64_t gate_at(std::int64_t p, int k, int branches, const Image& image) {
  const std::int64_t size = image.height * image.width;
  return (p / size * branches + k) * size + p % size;
}

template <class T>
FS_HD T scale_of(const Epilogue<T>& e, int k, std::int64_t channel) {
  return e.scale.data ? e.scale.data[k * e.scale.shape[1] + channel] : T(1);
}

template <class T>
FS_HD T shift_of(const Epilogue<T>& e, int k, std::int64_t channel) {
  return e.shift.data ? e.shift.data[k * e.shift.shape[1] + channel] : T(0);
}

// A branch's value from its convolution's; NaN stays NaN.
template <class T>
FS_HD T finished(T value, T scale, T shift, bool relu) {
  const T affine = scale * value + shift;
  return relu && affine < 0 ? T(0) : affine;
}

// The branch of a pixel: the first of the largest gates (a NaN is never chosen unless all before it are).
template <class T>
FS_HD std::uint8_t largest(const T* gate, std::int64_t p, int branches, const Image& image) {
  int best = 0;
  T most = gate[gate_at(p, 0, branches, image)];
  for (int k = 1; k < branches; ++k) {
    const T g = gate[gate_at(p, k, branches, image)];
    if (g > most || (most != most && g == g)) best = k, most = g;
  }
  return static_cast<std::uint8_t>(best);
}

// Hard gates: gate (N, B, H, W) float32 or float64, or the branch numbers (N, 1, H, W) uint8 or int64 themselves.
struct Choose {
  Array gate;
  int branches = 0;
  View3<std::uint8_t> chosen;  // (N, H, W): 0..branches - 1, kNoBranch for a number that is no branch
};
void gated_conv_choose(const Choose& args, Stream stream);

// The CPU's convolution, all in one call; T is float or double.
template <class T>
struct GatedConv {
  View4<const T> x;                  // (N, Cin, H, W), or (N, H, W, Cin) when channels_last
  View5<const T> weight;             // (S, Cout, Cin, 3, 3), S = branches, or 1 when tied
  View4<const T> gate;               // (N, branches, H, W); null when hard
  View3<const std::uint8_t> chosen;  // (N, H, W); null when soft
  Branches branches;                 // their dilations
  Epilogue<T> epilogue;              // before the gate
  bool channels_last = false;        // layout of x, y, dy and dx
  View4<T> y;                        // (N, Cout, H, W) or (N, H, W, Cout); null in the backward
  View4<const T> dy;                 // as y; null in the forward
  View4<T> dx;                       // as x; null when not wanted
  View5<T> dweight;                  // as weight; null when not wanted
  View4<T> dgate;                    // as gate; null when not wanted or hard
  View2<double> scratch;             // (1, gated_conv_scratch(...))
  std::int64_t workers = 1;          // threads
};
template <class T>
void gated_conv(const GatedConv<T>& args, Stream stream);
template <class T>
void gated_conv_backward(const GatedConv<T>& args, Stream stream);

// Doubles of scratch for `workers` threads; shape is (N, H, W, Cin, Cout).
template <class T>
std::int64_t gated_conv_scratch(const std::int64_t (&shape)[5], bool channels_last, bool backward,
                                std::int64_t workers);

// Gated pooling: y = sum_k gate_k pool_k(x). The average is a ninth of nine taps, zeros outside; the maximum leaves
// the outside out. The CPU takes float and double.
template <class T>
struct GatedPool {
  View4<const T> x;                  // (N, C, H, W)
  View4<const Wide<T>> gate;         // (N, branches, H, W); null when hard
  View3<const std::uint8_t> chosen;  // (N, H, W); null when soft
  Branches branches;                 // their dilations
  bool maximum = false;              // else the average
  View4<T> y;                        // (N, C, H, W); null in the backward
  View4<const T> dy;                 // (N, C, H, W); null in the forward
  View4<T> dx;                       // as x
  View4<Wide<T>> dgate;              // as gate; null when not wanted or hard
  View2<double> scratch;             // (1, gated_pool_scratch(...))
  std::int64_t workers = 1;          // threads
};
template <class T>
void gated_pool(const GatedPool<T>& args, Stream stream);
template <class T>
void gated_pool_backward(const GatedPool<T>& args, Stream stream);

// Doubles of scratch for maps of T; shape is (N, C, H, W).
template <class T>
std::int64_t gated_pool_scratch(const std::int64_t (&shape)[4], const Branches& branches, bool backward,
                                std::int64_t workers);

}  // namespace fs
