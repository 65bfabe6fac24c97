// What the CPU's forward and backward share: the sizes, the scratch, the passes over the pixels and their blocks.
#pragma once

#include <algorithm>

#include "gated_conv_layout.h"
#include "gated_conv_rows.h"

namespace fs::rows {

inline constexpr std::int64_t kOutputs = 128;    // output channels of the forward whose weights are packed at a time
inline constexpr std::int64_t kBlockRows = 144;  // pixels whose sums one worker holds at a time

struct Sizes {
  std::int64_t images, height, width, inputs, outputs;  // inputs, outputs: channels
  std::int64_t pixels() const { return images * height * width; }
  Image image() const { return {height, width}; }
};

template <class T>
Sizes sizes_of(const GatedConv<T>& a) {
  const std::int64_t* s = a.x.shape;
  if (a.channels_last) return {s[0], s[1], s[2], s[3], a.weight.shape[1]};
  return {s[0], s[2], s[3], s[1], a.weight.shape[1]};
}

// Cuts pieces off one block of memory; from null it only counts.
struct Cutter {
  char* at = nullptr;
  std::int64_t used = 0;

  template <class U>
  U* take(std::int64_t count) {
    U* const piece = at ? reinterpret_cast<U*>(at + used) : nullptr;
    used += (count * static_cast<std::int64_t>(sizeof(U)) + kBytes - 1) / kBytes * kBytes;
    return piece;
  }
};

// The first whole cache line of an op's scratch, which must have a line more than is cut off it.
inline char* aligned(double* scratch) {
  const auto at = reinterpret_cast<std::uintptr_t>(scratch);
  return reinterpret_cast<char*>((at + kBytes - 1) / kBytes * kBytes);
}

template <class T>
std::int64_t padded(std::int64_t channels) {
  return (channels + kPanel<T> - 1) / kPanel<T> * kPanel<T>;
}

// From the sums of one pixel to those of the next: beside a multiple of the page, or all would share a cache line's
// set.
template <class T>
std::int64_t sum_step(std::int64_t channels) {
  return padded<T>(channels) + kVector<T>;
}

// One worker's sums of a block's pixels.
template <class T>
std::int64_t worker_sums(const Sizes& s) {
  return kBlockRows * std::max(sum_step<T>(s.outputs), sum_step<T>(s.inputs));
}

template <class T>
struct Memory {
  T *x, *packed, *sums;          // rows of the input; one branch's panels; (workers, worker_sums)
  T *dy, *dx, *u, *part;         // the backward's: rows of dy and dx, of the branch's gradient, dgate's parts
  std::int64_t *order, *starts;  // hard: pixels by branch, and where each branch starts
  std::int64_t bytes;
};

// `rows_given`: x, dy and dx are rows already.
template <class T>
Memory<T> memory(char* from, const Sizes& s, bool rows_given, bool backward, std::int64_t workers) {
  Cutter cut{from};
  Memory<T> m{};
  const std::int64_t copies = rows_given ? 0 : s.pixels();
  const std::int64_t together = backward ? s.outputs : std::min(s.outputs, kOutputs);
  const std::int64_t widest = std::max(padded<T>(together) * s.inputs, backward ? padded<T>(s.inputs) * s.outputs : 0);
  m.x = cut.take<T>(copies * s.inputs);
  m.packed = cut.take<T>(kTaps * widest);
  m.sums = cut.take<T>(workers * worker_sums<T>(s));
  m.order = cut.take<std::int64_t>(s.pixels());
  m.starts = cut.take<std::int64_t>(kMaxBranches + 1);
  if (backward) {
    m.dy = cut.take<T>(copies * s.outputs);
    m.dx = cut.take<T>(copies * s.inputs);
    m.u = cut.take<T>(s.pixels() * s.outputs);
    m.part = cut.take<T>(s.pixels() * (padded<T>(s.inputs) / kPanel<T> + 1));
  }
  m.bytes = cut.used;
  return m;
}

// Some pixels that meet the same weights: those of one branch, or, hard and tied, all.
struct Pass {
  const std::int64_t* pixels;  // null: 0, 1, 2, ...
  std::int64_t count;
  int branch;   // of soft gates; hard gates look their pixel up
  int weights;  // which of the weight arrays
  std::int64_t pixel(std::int64_t i) const { return pixels ? pixels[i] : i; }
};

// Pixels by branch, in their order, for hard gates; by "some branch" when tied.
template <class T>
void sort_by_branch(const GatedConv<T>& a, const Memory<T>& m) {
  const bool tied = a.weight.shape[0] == 1;
  const std::int64_t n = a.chosen.size();
  std::int64_t count[kMaxBranches + 1]{};
  const auto bucket = [&](std::int64_t p) { return tied ? 0 : static_cast<int>(a.chosen.data[p]); };
  const auto has = [&](std::int64_t p) { return a.chosen.data[p] < a.branches.count; };
  for (std::int64_t p = 0; p < n; ++p)
    if (has(p)) ++count[bucket(p) + 1];
  for (int k = 0; k < kMaxBranches; ++k) count[k + 1] += count[k];
  std::copy(count, count + kMaxBranches + 1, m.starts);
  for (std::int64_t p = 0; p < n; ++p)
    if (has(p)) m.order[count[bucket(p)]++] = p;
}

// Calls f(pass) for every branch, or once when hard and tied; hard gates have been sorted by branch before.
template <class T, class F>
void for_each_pass(const GatedConv<T>& a, const Memory<T>& m, const F& f) {
  const bool tied = a.weight.shape[0] == 1;
  if (a.gate.data) {
    for (int k = 0; k < a.branches.count; ++k) f(Pass{nullptr, sizes_of(a).pixels(), k, tied ? 0 : k});
    return;
  }
  for (int k = 0; k < (tied ? 1 : a.branches.count); ++k)
    if (m.starts[k + 1] > m.starts[k]) f(Pass{m.order + m.starts[k], m.starts[k + 1] - m.starts[k], k, k});
}

// Calls f(first, last, worker) for blocks of a pass, of one size but for the last, the same for every worker count.
template <class F>
void for_each_block(const Pass& pass, std::int64_t workers, const F& f) {
  const std::int64_t blocks = (pass.count + kBlockRows - 1) / kBlockRows;
  const std::int64_t step = blocks ? (pass.count + blocks - 1) / blocks : 0;
  for_each_worker(blocks, workers, [&](std::int64_t block, std::int64_t worker) {
    const std::int64_t first = std::min(block * step, pass.count), last = std::min(first + step, pass.count);
    if (first < last) f(first, last, worker);
  });
}

template <class T>
int branch_of(const GatedConv<T>& a, const Pass& pass, std::int64_t p) {
  return a.gate.data ? pass.branch : static_cast<int>(a.chosen.data[p]);
}

template <class T>
T gate_of(const GatedConv<T>& a, const Pass& pass, const Image& image, std::int64_t p) {
  return a.gate.data ? a.gate.data[gate_at(p, pass.branch, a.branches.count, image)] : T(1);
}

// (N, channels, H, W) -> rows (N, H, W, channels), or back.
template <class T>
void to_rows(const T* planes, T* rows, const Sizes& s, std::int64_t channels, std::int64_t workers) {
  const std::int64_t size = s.height * s.width;
  for_each_worker(s.images * s.height, workers, [=](std::int64_t i, std::int64_t) {
    const std::int64_t n = i / s.height, at = i % s.height * s.width;
    transpose(planes + n * channels * size + at, size, rows + (n * size + at) * channels, channels, s.width, channels);
  });
}

template <class T>
void to_planes(const T* rows, T* planes, const Sizes& s, std::int64_t channels, std::int64_t workers) {
  const std::int64_t size = s.height * s.width;
  for_each_worker(s.images * s.height, workers, [=](std::int64_t i, std::int64_t) {
    const std::int64_t n = i / s.height, at = i % s.height * s.width;
    transpose(rows + (n * size + at) * channels, channels, planes + n * channels * size + at, size, channels, s.width);
  });
}

// The rows that each tap of some pixels reads, and the sums that they belong to; pixels whose tap is outside are left
// out, so that nothing is multiplied with the zeros around the image.
template <class T>
struct TapRows {
  const T* from[kBlockRows];
  T* to[kBlockRows];
  std::int64_t pixel[kBlockRows];  // that the tap reads
  std::int64_t entry[kBlockRows];  // of the block
  std::int64_t count = 0;
};

template <class T>
void find_rows(TapRows<T>& out, const GatedConv<T>& a, const Pass& pass, std::int64_t first, std::int64_t last, int tap,
               const Image& image) {
  out.count = 0;
  for (std::int64_t i = first; i < last; ++i) {
    const std::int64_t p = pass.pixel(i), s = tap_source(p, tap, a.branches.dilation[branch_of(a, pass, p)], image);
    if (s >= 0) out.pixel[out.count] = s, out.entry[out.count++] = i - first;
  }
}

// The convolutions of a block's pixels: sums[i * sum_step + c], from x's rows and a branch's panels.
template <class T>
void convolve(const GatedConv<T>& a, const Sizes& s, const Pass& pass, std::int64_t first, std::int64_t last,
              const T* x, const T* panels, T* sums) {
  const std::int64_t step = sum_step<T>(s.outputs), across = padded<T>(s.outputs) / kPanel<T>;
  const bool many = many_registers();
  std::fill(sums, sums + (last - first) * step, T(0));
  TapRows<T> tap_rows;
  for (int tap = 0; tap < kTaps; ++tap) {
    find_rows(tap_rows, a, pass, first, last, tap, s.image());
    for (std::int64_t i = 0; i < tap_rows.count; ++i)
      tap_rows.from[i] = x + tap_rows.pixel[i] * s.inputs, tap_rows.to[i] = sums + tap_rows.entry[i] * step;
    for (std::int64_t panel = 0; panel < across; ++panel)
      multiply(tap_rows.from, panels + (tap * across + panel) * s.inputs * kPanel<T>, tap_rows.to, panel * kPanel<T>,
               tap_rows.count, s.inputs, many);
  }
}

}  // namespace fs::rows
