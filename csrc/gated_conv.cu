#include "for_each.h"
#include "gated_conv_columns.h"
#include "gated_conv_pool_cuda.h"

namespace fs {
namespace {

// Most kernels give each pixel a warp, whose lanes walk its channels; a block has kWarps of them.
constexpr int kLanesOfWarp = 32, kWarps = 8;

FS_DEVICE std::int64_t row_of_warp() {
  return static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.y;
}
FS_DEVICE int lane() {
  return static_cast<int>(threadIdx.x);
}

template <class... P, class... A>
void launch_rows(void (*kernel)(P...), std::int64_t rows, Stream stream, const A&... args) {
  if (rows <= 0) return;
  const std::int64_t blocks = (rows + kWarps - 1) / kWarps;
  require(blocks < (std::int64_t{1} << 31), "too many pixels for one launch");
  launch(kernel, {static_cast<unsigned>(blocks)}, {kLanesOfWarp, kWarps}, 0, stream, args...);
}

template <class G>
struct ChooseAt {
  Choose a;
  FS_HD void operator()(std::int64_t p) const {
    const G* const gate = static_cast<const G*>(a.gate.data);
    if constexpr (std::is_integral_v<G>) {
      const auto k = static_cast<std::int64_t>(gate[p]);
      a.chosen.data[p] = k >= 0 && k < a.branches ? static_cast<std::uint8_t>(k) : kNoBranch;
    } else {
      a.chosen.data[p] = largest(gate, p, a.branches, Image{a.chosen.shape[1], a.chosen.shape[2]});
    }
  }
};

// Counts the branches of each chunk; a warp takes a chunk.
FS_KERNEL void count_kernel(Sort a, std::int64_t chunks) {
  const std::int64_t chunk = row_of_warp(), n = a.chosen.size();
  if (chunk >= chunks) return;
  const int branches = static_cast<int>(a.counts.shape[0]);
  for (int k = 0; k < branches; ++k) {
    int count = 0;
    for (std::int64_t at = chunk * kChunk; at < (chunk + 1) * kChunk; at += kLanesOfWarp)
      count += popcount(ballot(at + lane() < n && a.chosen.data[at + lane()] == k));
    if (lane() == 0) a.counts(k, chunk) = count;
  }
}

// Turns the counts into where each branch of each chunk starts; one block.
constexpr int kScanThreads = 256;
FS_KERNEL void scan_kernel(Sort a) {
  FS_SHARED(std::int64_t, sums, kScanThreads + 1);
  const std::int64_t n = a.counts.size(), each = (n + kScanThreads - 1) / kScanThreads;
  const std::int64_t first = std::min<std::int64_t>(n, threadIdx.x * each), last = std::min(n, first + each);
  std::int64_t sum = 0;
  for (std::int64_t i = first; i < last; ++i) sum += a.counts.data[i];
  sums[threadIdx.x + 1] = sum;
  if (threadIdx.x == 0) sums[0] = 0;
  FS_SYNC();
  if (threadIdx.x == 0)
    for (int t = 0; t < kScanThreads; ++t) sums[t + 1] += sums[t];
  FS_SYNC();
  sum = sums[threadIdx.x];
  for (std::int64_t i = first; i < last; ++i) {
    const std::int64_t count = a.counts.data[i], chunks = a.counts.shape[1];
    if (i % chunks == 0) a.starts(i / chunks) = sum;
    a.counts.data[i] = sum;
    sum += count;
  }
  if (threadIdx.x == kScanThreads - 1) a.starts(a.counts.shape[0]) = sums[kScanThreads];
}

FS_KERNEL void place_kernel(Sort a, std::int64_t chunks) {
  const std::int64_t chunk = row_of_warp(), n = a.chosen.size();
  if (chunk >= chunks) return;
  const int branches = static_cast<int>(a.counts.shape[0]);
  for (std::int64_t at = chunk * kChunk + lane(); at < (chunk + 1) * kChunk; at += kLanesOfWarp)
    if (at < n && a.chosen.data[at] >= branches) a.where(at) = -1;
  for (int k = 0; k < branches; ++k) {
    std::int64_t base = a.counts(k, chunk);
    for (std::int64_t at = chunk * kChunk; at < (chunk + 1) * kChunk; at += kLanesOfWarp) {
      const bool mine = at + lane() < n && a.chosen.data[at + lane()] == k;
      const unsigned mask = ballot(mine);
      const std::int64_t to = base + popcount(mask & ((1u << lane()) - 1u));
      if (mine) a.order(to) = at + lane(), a.where(at + lane()) = to;
      base += popcount(mask);
    }
  }
}

// U: what is copied at a time; `units` of it are a pixel's channels.
template <class U>
FS_KERNEL void gather_kernel(Gather a, std::int64_t units) {
  const std::int64_t row = row_of_warp();
  if (row >= a.pixels.count * kTaps) return;
  const std::int64_t p = pixel_of(a.pixels, row / kTaps);
  const int k = branch_of(a.pixels, p);
  const std::int64_t from = k < a.pixels.branches.count ? tap_source(p, static_cast<int>(row % kTaps),
                                                                     a.pixels.branches.dilation[k], a.pixels.image)
                                                        : -1;
  const U* const x = static_cast<const U*>(a.x.data) + from * units;
  U* const out = static_cast<U*>(a.columns.data) + row * units;
  for (std::int64_t c = lane(); c < units; c += kLanesOfWarp) out[c] = from >= 0 ? x[c] : U{};
}

struct alignas(16) Sixteen {
  std::uint32_t words[4];
};

template <class T>
FS_KERNEL void combine_kernel(Combine<T> a) {
  using W = Wide<T>;
  const std::int64_t i = row_of_warp(), channels = a.product.shape[1];
  if (i >= a.pixels.count) return;
  const std::int64_t p = pixel_of(a.pixels, i);
  const int k = branch_of(a.pixels, p);
  const bool any = k < a.pixels.branches.count;
  const W gate = any && a.gate.data ? a.gate.data[gate_at(p, k, a.pixels.branches.count, a.pixels.image)] : W(any);
  for (std::int64_t c = lane(); c < channels; c += kLanesOfWarp) {
    W value = 0;
    if (any)
      value = gate *
              finished(widen(a.product(i, c)), scale_of(a.epilogue, k, c), shift_of(a.epilogue, k, c), a.epilogue.relu);
    if (!a.begin) value += a.total(i, c);
    if (a.end)
      a.y.data[p * channels + c] = narrow<T>(value);
    else
      a.total(i, c) = value;
  }
}

template <class T>
FS_KERNEL void gradient_kernel(BranchGradient<T> a) {
  using W = Wide<T>;
  const std::int64_t i = row_of_warp(), channels = a.u.shape[1];
  if (i >= a.pixels.count) return;
  const std::int64_t p = pixel_of(a.pixels, i);
  const int k = branch_of(a.pixels, p);
  const bool any = k < a.pixels.branches.count;
  const W gate = any && a.gate.data ? a.gate.data[gate_at(p, k, a.pixels.branches.count, a.pixels.image)] : W(any);
  W shifted = 0;
  for (std::int64_t c = lane(); c < channels; c += kLanesOfWarp) {
    W scale = 0, shift = 0;
    if (any) scale = scale_of(a.epilogue, k, c), shift = shift_of(a.epilogue, k, c);
    const W dy = widen(a.dy.data[p * channels + c]);
    const bool live = !a.epilogue.relu || scale * widen(a.product(i, c)) + shift > 0;
    a.u(i, c) = narrow<T>(live ? scale * dy : W(0));
    a.gated(i, c) = narrow<T>(live ? gate * scale * dy : W(0));
    shifted += live ? shift * dy : W(0);
  }
  shifted = warp_sum(shifted);
  if (lane() == 0) a.shifted(i) = shifted;
}

// Where in the tile the pixel lies whose tap of branch k reads q; -1 when it is not there.
template <class T>
FS_DEVICE std::int64_t reader(const Scatter<T>& a, std::int64_t q, int tap, int k) {
  const std::int64_t p = tap_source(q, kTaps - 1 - tap, a.pixels.branches.dilation[k], a.pixels.image);
  if (p < 0 || branch_of(a.pixels, p) != k) return -1;
  const std::int64_t at = (a.where.data ? a.where(p) : p) - a.pixels.first;
  return at >= 0 && at < a.pixels.count ? at : -1;
}

// A warp takes a pixel q of dx; its first nine lanes look for the readers of one branch.
template <class T>
FS_KERNEL void scatter_kernel(Scatter<T> a) {
  using W = Wide<T>;
  const std::int64_t q = a.from + row_of_warp(), channels = a.dx.shape[3];
  if (q >= a.to) return;
  const int first = a.pixels.chosen.data ? 0 : a.pixels.branch;
  const int last = a.pixels.chosen.data ? a.pixels.branches.count : first + 1;
  for (int k = first; k < last; ++k) {
    const std::int64_t mine = lane() < kTaps ? reader(a, q, lane(), k) : -1;
    if (!any(mine >= 0)) continue;
    W gate = 1;
    if (mine >= 0 && a.gate.data)
      gate = a.gate.data[gate_at(pixel_of(a.pixels, mine), k, a.pixels.branches.count, a.pixels.image)];
    for (std::int64_t from = 0; from < channels; from += kLanesOfWarp) {
      const std::int64_t c = from + lane();
      W sum = 0;
      for (int tap = 0; tap < kTaps; ++tap) {
        const std::int64_t at = shfl(mine, tap);
        const W g = shfl(gate, tap);
        if (at >= 0 && c < channels) sum += g * widen(a.dcolumns(at, tap * channels + c));
      }
      if (c < channels) a.dx.data[q * channels + c] += sum;
    }
  }
}

template <class T>
FS_KERNEL void gate_gradient_kernel(GateGradient<T> a) {
  const std::int64_t i = row_of_warp();
  if (i >= a.pixels.count) return;
  Wide<T> sum = 0;
  for (std::int64_t c = lane(); c < a.columns.shape[1]; c += kLanesOfWarp)
    sum += widen(a.dcolumns(i, c)) * widen(a.columns(i, c));
  sum = warp_sum(sum);
  const std::int64_t p = pixel_of(a.pixels, i);
  if (lane() == 0)
    a.dgate.data[gate_at(p, a.pixels.branch, a.pixels.branches.count, a.pixels.image)] = sum + a.shifted(i);
}

}  // namespace

void gated_conv_choose(const Choose& a, Stream stream) {
  const std::int64_t n = a.chosen.size();
  switch (a.gate.dtype) {
    case DType::kFloat32:
      return for_each(n, stream, ChooseAt<float>{a});
    case DType::kFloat64:
      return for_each(n, stream, ChooseAt<double>{a});
    case DType::kUint8:
      return for_each(n, stream, ChooseAt<std::uint8_t>{a});
    default:
      return for_each(n, stream, ChooseAt<std::int64_t>{a});
  }
}

void gated_conv_sort(const Sort& a, Stream stream) {
  const std::int64_t chunks = a.counts.shape[1];
  launch_rows(count_kernel, chunks, stream, a, chunks);
  launch(scan_kernel, {1}, {kScanThreads}, 0, stream, a);
  launch_rows(place_kernel, chunks, stream, a, chunks);
}

void gated_conv_gather(const Gather& a, Stream stream) {
  const std::int64_t size = a.x.dtype == DType::kFloat64 ? 8 : a.x.dtype == DType::kFloat32 ? 4 : 2;
  const std::int64_t bytes = a.x.shape[3] * size, rows = a.pixels.count * kTaps;
  const auto places = reinterpret_cast<std::uintptr_t>(a.x.data) | reinterpret_cast<std::uintptr_t>(a.columns.data);
  if (bytes % 16 == 0 && places % 16 == 0) return launch_rows(gather_kernel<Sixteen>, rows, stream, a, bytes / 16);
  if (size == 8) return launch_rows(gather_kernel<std::uint64_t>, rows, stream, a, bytes / 8);
  if (size == 4) return launch_rows(gather_kernel<std::uint32_t>, rows, stream, a, bytes / 4);
  launch_rows(gather_kernel<std::uint16_t>, rows, stream, a, bytes / 2);
}

template <class T>
void gated_conv_combine(const Combine<T>& a, Stream stream) {
  launch_rows(combine_kernel<T>, a.pixels.count, stream, a);
}
template <class T>
void gated_conv_gradient(const BranchGradient<T>& a, Stream stream) {
  launch_rows(gradient_kernel<T>, a.pixels.count, stream, a);
}
template <class T>
void gated_conv_scatter(const Scatter<T>& a, Stream stream) {
  launch_rows(scatter_kernel<T>, a.to - a.from, stream, a);
}
template <class T>
void gated_conv_gate_gradient(const GateGradient<T>& a, Stream stream) {
  launch_rows(gate_gradient_kernel<T>, a.pixels.count, stream, a);
}

#define FS_FOR_TYPE(T)                                                    \
  template void gated_conv_combine<T>(const Combine<T>&, Stream);         \
  template void gated_conv_gradient<T>(const BranchGradient<T>&, Stream); \
  template void gated_conv_scatter<T>(const Scatter<T>&, Stream);         \
  template void gated_conv_gate_gradient<T>(const GateGradient<T>&, Stream);
FS_FOR_TYPE(float)
FS_FOR_TYPE(double)
FS_FOR_TYPE(Half)
FS_FOR_TYPE(BFloat)
#undef FS_FOR_TYPE

}  // namespace fs
