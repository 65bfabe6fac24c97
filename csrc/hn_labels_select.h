// Exact order statistics on the GPU: the floor is the percentile of a frame's heights. Only for .cu files.
//
// A guess from a sample bounds the floor from above, one pass over the image lists the heights up to that bound (some
// three in a hundred), and one block finds the floor among these by a radix select whose digits divide the range that
// is left. Where the guess was too low, that block reads the whole image instead: the result is exact either way.
#pragma once

#include <bit>

#include "hn_labels_frame.h"

namespace fs {

inline constexpr int kSelectThreads = 1024, kSelectWarps = kSelectThreads / 32;
inline constexpr int kBuckets = 2 * kSelectThreads;  // two a thread

// Floats as unsigned integers in the same order.
FS_DEVICE unsigned ordered(float h) {
  const unsigned bits = std::bit_cast<unsigned>(h);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
FS_DEVICE float unordered(unsigned bits) {
  return std::bit_cast<float>(bits & 0x80000000u ? bits & 0x7fffffffu : ~bits);
}

// What a block knows of the value it looks for: its bounds, and its rank among the values within them.
struct Search {
  unsigned low, high;
  int rank;
};

struct SelectShared {
  Search* search;  // one
  int* bucket;     // kBuckets
  int* total;      // kSelectWarps
};

// Narrows the search to the bucket that holds the rank; buckets are 2^shift wide.
FS_DEVICE void narrow(const SelectShared& s, const Search& now, int shift) {
  const int t = static_cast<int>(threadIdx.x), lane = t % 32, warp = t / 32;
  const int first = s.bucket[2 * t], both = first + s.bucket[2 * t + 1];
  int sum = both;
  for (int by = 1; by < 32; by *= 2) {
    const int other = shfl_up(sum, by);
    sum += lane >= by ? other : 0;
  }
  if (lane == 31) s.total[warp] = sum;
  FS_SYNC();
  int before = sum - both;
  for (int w = 0; w < warp; ++w) before += s.total[w];
  if (now.rank < before || now.rank >= before + both) return;
  const bool second = now.rank >= before + first;
  const unsigned low = now.low + (static_cast<unsigned>(2 * t + (second ? 1 : 0)) << shift);
  const unsigned high = low + ((1u << shift) - 1);
  *s.search = {low, high < now.high ? high : now.high, now.rank - before - (second ? first : 0)};
}

// The value of the given rank among of(0 .. n - 1), ordered bits each, by the whole block; of(i, bits) is false for a
// value that does not count. Some `rank + 1` must.
template <class Of>
FS_DEVICE unsigned select(int n, int rank, Of of, const SelectShared& s) {
  if (threadIdx.x == 0) *s.search = {~0u, 0u, rank};
  FS_SYNC();
  unsigned low = ~0u, high = 0, bits = 0;
  for (int i = static_cast<int>(threadIdx.x); i < n; i += kSelectThreads)
    if (of(i, bits)) low = bits < low ? bits : low, high = bits > high ? bits : high;
  for (int mask = 16; mask > 0; mask /= 2) {
    const unsigned l = shfl_xor(low, mask), h = shfl_xor(high, mask);
    low = l < low ? l : low, high = h > high ? h : high;
  }
  if (threadIdx.x % 32 == 0) atomic_min(&s.search->low, low), atomic_max(&s.search->high, high);
  FS_SYNC();
  for (Search now = *s.search; now.low < now.high; now = *s.search) {
    int shift = 0;
    while ((now.high - now.low) >> shift >= kBuckets) ++shift;
    for (int b = static_cast<int>(threadIdx.x); b < kBuckets; b += kSelectThreads) s.bucket[b] = 0;
    FS_SYNC();
    for (int i = static_cast<int>(threadIdx.x); i < n; i += kSelectThreads)
      if (of(i, bits) && bits >= now.low && bits <= now.high) atomic_add(&s.bucket[(bits - now.low) >> shift], 1);
    FS_SYNC();
    narrow(s, now, shift);
    FS_SYNC();
  }
  return s.search->low;
}

// Lists the heights up to the frame's bound, in no order, and counts the pixels with depth.
inline constexpr int kListRows = 4 * kBlockRows;  // of a block, kWarpPixels wide

template <class T>
FS_KERNEL void __launch_bounds__(kTileThreads)
    list_kernel(DepthFrames<T> depth, Rays rays, HnLabels a, Layout l, unsigned down) {
  FS_SHARED(float, low, kListRows* kWarpPixels);
  FS_SHARED(int, count, 3);  // listed, valid, and where the list goes
  if (threadIdx.x < 2) count[threadIdx.x] = 0;
  FS_SYNC();
  const int frame = static_cast<int>(blockIdx.x / down), top = static_cast<int>(blockIdx.x % down) * kListRows;
  const int u = static_cast<int>(blockIdx.y * kWarpPixels + threadIdx.x % 32 * kQuad);
  const Vec3f up = up_of(a, frame);
  const float bound = l.counters[frame].bound;
  int valid = 0;
  for (int r = static_cast<int>(threadIdx.x) / 32; r < kListRows; r += kBlockRows) {
    float z[kQuad];
    depth.quad(frame, top + r, u, z);
    for (int k = 0; k < kQuad; ++k) {
      const float height = height_at(rays, up, z[k], u + k, top + r);
      valid += z[k] > 0;
      if (z[k] > 0 && height <= bound) low[atomic_add(&count[0], 1)] = height;
    }
  }
  valid = warp_sum(valid);
  if (threadIdx.x % 32 == 0) atomic_add(&count[1], valid);
  FS_SYNC();
  if (threadIdx.x == 0) {
    count[2] = atomic_add(&l.counters[frame].listed, count[0]);
    atomic_add(&l.counters[frame].valid, count[1]);
  }
  FS_SYNC();
  float* const list = l.list + std::int64_t{frame} * l.size + count[2];
  for (int i = static_cast<int>(threadIdx.x); i < count[0]; i += kTileThreads) list[i] = low[i];
}

// The floor of a frame, a block each.
template <class T>
FS_KERNEL void __launch_bounds__(kSelectThreads, 1)
    floor_kernel(DepthFrames<T> depth, Rays rays, HnLabels a, Layout l) {
  FS_SHARED(Search, search, 1);
  FS_SHARED(int, bucket, kBuckets);
  FS_SHARED(int, total, kSelectWarps);
  const int frame = static_cast<int>(blockIdx.x);
  const Counters& c = l.counters[frame];
  float* const floor = &a.figures(frame, kFloor);
  if (c.valid == 0) {
    if (threadIdx.x == 0) *floor = std::numeric_limits<float>::quiet_NaN();
    return;
  }
  const int rank = static_cast<int>(floor_rank(a.rules.percentile, c.valid));
  const float* const list = l.list + std::int64_t{frame} * l.size;
  const Vec3f up = up_of(a, frame);
  const auto listed = [=](int i, unsigned& bits) {
    bits = ordered(list[i]);
    return true;
  };
  const auto anywhere = [=](int i, unsigned& bits) {
    const int v = i / depth.width, u = i % depth.width;
    const float z = depth.at(frame, v, u);
    bits = ordered(height_at(rays, up, z, u, v));
    return z > 0;
  };
  const bool found = rank < c.listed;
  const unsigned bits = found ? select(c.listed, rank, listed, {search, bucket, total})
                              : select(l.size, rank, anywhere, {search, bucket, total});
  if (threadIdx.x == 0) *floor = unordered(bits);
}

}  // namespace fs
