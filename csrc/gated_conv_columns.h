// What surrounds a library's GEMM on the GPU: the columns of tiles of pixels, and what is done with their products.
// A column row is the nine taps of one pixel, each with its channels side by side: (pixels, 9, channels).
#pragma once

#include "gated_conv.h"
#include "half.h"

namespace fs {

// A tile of pixels that meet the same weights.
struct Pixels {
  View1<const std::int64_t> order;    // pixels by branch; null: 0, 1, 2, ...
  std::int64_t first = 0, count = 0;  // the tile's part of it
  View3<const std::uint8_t> chosen;   // (N, H, W) when each pixel has its own dilation (hard and tied); else null
  int branch = 0;                     // else of all
  Branches branches;
  Image image{};
};
FS_HD std::int64_t pixel_of(const Pixels& t, std::int64_t i) {
  return t.order.data ? t.order(t.first + i) : t.first + i;
}
FS_HD int branch_of(const Pixels& t, std::int64_t p) {
  return t.chosen.data ? static_cast<int>(t.chosen.data[p]) : t.branch;
}

// Pixels by branch, each branch's in their order. chunks: of kChunk pixels.
inline constexpr std::int64_t kChunk = 256;
struct Sort {
  View3<const std::uint8_t> chosen;  // (N, H, W)
  View1<std::int64_t> order;         // the pixels that have a branch, by branch
  View1<std::int64_t> where;         // of each pixel: its place in `order`, -1 without a branch
  View1<std::int64_t> starts;        // (branches + 1): where each branch starts in `order`
  View2<std::int64_t> counts;        // (branches, chunks) scratch
};
void gated_conv_sort(const Sort& args, Stream stream);

// columns = x at the taps of the tile's pixels, 0 outside the image and for a pixel without a branch.
struct Gather {
  Pixels pixels;
  Array x;        // (N, H, W, C)
  Array columns;  // (count, 9, C) of x's type
};
void gated_conv_gather(const Gather& args, Stream stream);

// total = (begin ? 0 : total) + gate r(scale product + shift); at the end it goes to y.
template <class T>
struct Combine {
  Pixels pixels;
  View2<const T> product;     // (count, Cout)
  View4<const Wide<T>> gate;  // (N, branches, H, W); null for 1
  Epilogue<Wide<T>> epilogue;
  bool begin = true, end = true;
  View2<Wide<T>> total;  // (count, Cout); null when begin and end
  View4<T> y;            // (N, H, W, Cout)
};
template <class T>
void gated_conv_combine(const Combine<T>& args, Stream stream);

// u = live scale dy, gated = gate u, shifted = sum of live shift dy; live as the ReLU of the product says.
template <class T>
struct BranchGradient {
  Pixels pixels;
  View4<const T> dy;          // (N, H, W, Cout)
  View2<const T> product;     // (count, Cout); null without a ReLU
  View4<const Wide<T>> gate;  // as above
  Epilogue<Wide<T>> epilogue;
  View2<T> u, gated;       // (count, Cout)
  View1<Wide<T>> shifted;  // (count)
};
template <class T>
void gated_conv_gradient(const BranchGradient<T>& args, Stream stream);

// Adds to dx, for each pixel from..to, the gradients of the columns that read it.
template <class T>
struct Scatter {
  Pixels pixels;
  View1<const std::int64_t> where;  // as Sort's; null: a pixel's place is its number
  View2<const T> dcolumns;          // (count, 9 C)
  View4<const Wide<T>> gate;
  View4<Wide<T>> dx;  // (N, H, W, C)
  std::int64_t from = 0, to = 0;
};
template <class T>
void gated_conv_scatter(const Scatter<T>& args, Stream stream);

// dgate of the tile's pixels and branch = shifted + dcolumns . columns
template <class T>
struct GateGradient {
  Pixels pixels;
  View2<const T> dcolumns, columns;  // (count, 9 C)
  View1<const Wide<T>> shifted;      // (count)
  View4<Wide<T>> dgate;              // (N, branches, H, W)
};
template <class T>
void gated_conv_gate_gradient(const GateGradient<T>& args, Stream stream);

}  // namespace fs
