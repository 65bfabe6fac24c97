#include <bit>

#include "for_each.h"
#include "hn_labels.h"

namespace fs {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kDigits = 3, kDigitBits = 11, kBuckets = 1 << kDigitBits;  // 3 x 11 bits cover a float's 32

// A frame's part of the scratch: what the kernels of one call hand to each other.
struct Counters {
  unsigned long long rank;  // of the floor among the values that share the digits found so far
  unsigned prefix;          // those digits, of the floor's ordered bits
  int valid;                // pixels with depth
  int low[3];               // points at or below the floor; of those, with a normal; of those, looking up
  int found;                // gravity was found
  int buckets[kDigits][kBuckets];
};

std::int64_t counter_doubles() {
  return (static_cast<std::int64_t>(sizeof(Counters)) + 7) / 8;
}

FS_HD std::int64_t sampled(std::int64_t height, std::int64_t width, int stride) {
  return (height + stride - 1) / stride * ((width + stride - 1) / stride);
}

// Where the frames' parts lie: the counters, then all sampled normals, then all normals, as the op `normals` writes
// them.
struct Layout {
  Counters* counters;          // (N)
  float *sample, *normals;     // (N, 3, samples) for gravity and (N, 3, size) for the label, NaN where undefined
  std::int64_t samples, size;  // of a frame
};

Layout layout(const HnLabels& a) {
  const std::int64_t frames = a.depth.shape[0], height = a.depth.shape[1], width = a.depth.shape[2];
  const std::int64_t size = height * width, samples = sampled(height, width, a.stride);
  Layout out{};
  out.counters = reinterpret_cast<Counters*>(a.scratch.data);
  out.sample = reinterpret_cast<float*>(a.scratch.data + frames * counter_doubles());
  out.normals = out.sample + frames * 3 * samples;
  out.samples = samples, out.size = size;
  return out;
}

// Floats as unsigned integers in the same order.
FS_DEVICE unsigned ordered(float h) {
  const unsigned bits = std::bit_cast<unsigned>(h);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
FS_DEVICE float unordered(unsigned bits) {
  return std::bit_cast<float>(bits & 0x80000000u ? bits & 0x7fffffffu : ~bits);
}

// The sum of `count` values over the block, in a fixed order, in every thread; `shared` has room for kWarps * count.
template <int Count>
FS_DEVICE void block_sum(double (&value)[Count], double* shared) {
  for (int c = 0; c < Count; ++c) {
    const double sum = warp_sum(value[c]);
    if (threadIdx.x % 32 == 0) shared[static_cast<int>(threadIdx.x) / 32 * Count + c] = sum;
  }
  FS_SYNC();
  for (int c = 0; c < Count; ++c) {
    value[c] = 0;
    for (int w = 0; w < kWarps; ++w) value[c] += shared[w * Count + c];
  }
  FS_SYNC();
}

FS_DEVICE float depth_at(const HnLabels& a, std::int64_t i) {
  if (a.depth.dtype == DType::kUint16) return metres(static_cast<const std::uint16_t*>(a.depth.data)[i], a.scale);
  return metres(static_cast<const float*>(a.depth.data)[i], a.scale);
}

FS_DEVICE Mat3f single(const Mat3d& m) {
  return {{static_cast<float>(m.r0.x), static_cast<float>(m.r0.y), static_cast<float>(m.r0.z)},
          {static_cast<float>(m.r1.x), static_cast<float>(m.r1.y), static_cast<float>(m.r1.z)},
          {static_cast<float>(m.r2.x), static_cast<float>(m.r2.y), static_cast<float>(m.r2.z)}};
}
FS_DEVICE Vec3f single(Vec3d a) {
  return {static_cast<float>(a.x), static_cast<float>(a.y), static_cast<float>(a.z)};
}

// Normal i of a frame's sample, zero with weight 0 where undefined.
FS_DEVICE Vec3f sample_at(const Layout& l, std::int64_t i, float& weight) {
  const float* x = l.sample + static_cast<std::int64_t>(blockIdx.x) * 3 * l.samples + i;
  const Vec3f n{x[0], x[l.samples], x[2 * l.samples]};
  weight = n.x == n.x ? 1.f : 0.f;
  return weight > 0 ? n : Vec3f{};
}

// Robust Manhattan frame by the whole block; every thread holds the same rotation. True when the objective settled.
FS_DEVICE bool manhattan(const Rules& rules, const Layout& l, Vec3d prior, double* shared, Vec3d& up) {
  Mat3d r = frame_of(prior);
  double before = std::numeric_limits<double>::infinity();
  bool settled = false;
  for (int k = 0; k < rules.iterations && !settled; ++k) {
    const Mat3f rf = single(r);
    FrameSums part;
    float counted = 0;
    for (std::int64_t i = threadIdx.x; i < l.samples; i += kThreads) {
      float weight;
      const Vec3f n = sample_at(l, i, weight);
      add_to_frame(part, rf, n, rules.lambda, weight);
      counted += weight;
    }
    double sums[11] = {part.objective, part.m[0], part.m[1], part.m[2], part.m[3], part.m[4],
                       part.m[5],      part.m[6], part.m[7], part.m[8], counted};
    block_sum(sums, shared);
    if (sums[10] < rules.fewest_normals) return false;
    settled = before - sums[0] < rules.tolerance * before;
    before = sums[0];
    if (!settled)
      r = nearest_rotation(
          Mat3d{{sums[1], sums[2], sums[3]}, {sums[4], sums[5], sums[6]}, {sums[7], sums[8], sums[9]}});
  }
  up = nearest_axis(r, prior);
  return settled;
}

FS_DEVICE Vec3d floor_wall(const Layout& l, Vec3d up, double* shared) {
  for (int k = 0; k < kFloorWallSteps; ++k) {
    const Vec3f at = single(up);
    float part[6] = {};
    for (std::int64_t i = threadIdx.x; i < l.samples; i += kThreads) {
      float weight;
      const Vec3f n = sample_at(l, i, weight);
      add_to_floor_wall(part, at, n, cone_of(k), weight);
    }
    double m[6] = {part[0], part[1], part[2], part[3], part[4], part[5]};
    block_sum(m, shared);
    up = floor_wall_up(Sym3d{m[0], m[1], m[2], m[3], m[4], m[5]}, up);
  }
  return up;
}

// One block a frame: both estimators, all iterations on the device.
FS_KERNEL void gravity_kernel(HnLabels a, Layout l) {
  FS_SHARED(double, shared, kWarps * 11);
  const std::int64_t frame = blockIdx.x;
  const Vec3d prior{a.prior(frame, 0), a.prior(frame, 1), a.prior(frame, 2)};
  Vec3d axis = prior;
  const bool found = manhattan(a.rules, l, prior, shared, axis);
  const Vec3d walls = found ? floor_wall(l, axis, shared) : prior;
  if (threadIdx.x != 0) return;
  const Vec3f up = single(a.rules.gravity == Gravity::kManhattan ? axis : walls);
  a.up(frame, 0) = up.x, a.up(frame, 1) = up.y, a.up(frame, 2) = up.z;
  a.figures(frame, kDisagreement) = found ? angle_deg(axis, walls) : std::numeric_limits<float>::quiet_NaN();
  l.counters[frame].found = found;
}

struct Clear {
  HnLabels a;
  Layout l;
  FS_HD void operator()(std::int64_t i) const {
    const std::int64_t words = static_cast<std::int64_t>(sizeof(Counters) / sizeof(int)), bins = a.histogram.shape[1];
    const std::int64_t frame = i / (words + bins), word = i % (words + bins);
    if (word < words)
      reinterpret_cast<int*>(l.counters + frame)[word] = 0;
    else
      a.histogram(frame, word - words) = 0;
  }
};

FS_DEVICE Vec3f up_of(const HnLabels& a, std::int64_t frame) {
  return {a.up(frame, 0), a.up(frame, 1), a.up(frame, 2)};
}

// The height along up of pixel i of a frame; false without depth.
FS_DEVICE bool height_at(const HnLabels& a, std::int64_t frame, std::int64_t i, std::int64_t size, float& height) {
  const std::int64_t width = a.depth.shape[2];
  const float q = inverse(depth_at(a, frame * size + i));
  if (!(q > 0)) return false;
  height = height_along(up_of(a, frame), a.camera, q, static_cast<float>(i % width), static_cast<float>(i / width));
  return true;
}

constexpr int kPixels = 8192;  // of one block, in the kernels that count

// Counts one digit of the heights that share the digits already known.
FS_KERNEL void count_kernel(HnLabels a, Layout l, int digit) {
  FS_SHARED(int, bucket, kBuckets);
  const std::int64_t frame = blockIdx.y, begin = static_cast<std::int64_t>(blockIdx.x) * kPixels;
  const std::int64_t end = begin + kPixels < l.size ? begin + kPixels : l.size;
  Counters& counters = l.counters[frame];
  for (int b = static_cast<int>(threadIdx.x); b < kBuckets; b += kThreads) bucket[b] = 0;
  FS_SYNC();
  const int shift = 32 - kDigitBits * (digit + 1) > 0 ? 32 - kDigitBits * (digit + 1) : 0;
  const unsigned known = digit == 0 ? 0u : ~0u << (32 - kDigitBits * digit);
  const unsigned mask = digit == kDigits - 1 ? (1u << (32 - kDigitBits * digit)) - 1 : kBuckets - 1u;
  for (std::int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    float height;
    if (!height_at(a, frame, i, l.size, height)) continue;
    const unsigned bits = ordered(height);
    if ((bits & known) == (counters.prefix & known)) atomic_add(&bucket[bits >> shift & mask], 1);
  }
  FS_SYNC();
  for (int b = static_cast<int>(threadIdx.x); b < kBuckets; b += kThreads)
    if (bucket[b] > 0) atomic_add(&counters.buckets[digit][b], bucket[b]);
}

// Finds the digit's bucket that holds the floor's rank; after the last digit the floor is known.
FS_KERNEL void select_kernel(HnLabels a, Layout l, int digit) {
  if (threadIdx.x != 0) return;
  const std::int64_t frame = blockIdx.x;
  Counters& c = l.counters[frame];
  if (digit == 0) {
    for (int b = 0; b < kBuckets; ++b) c.valid += c.buckets[0][b];
    c.rank = c.valid > 0 ? static_cast<unsigned long long>(floor_rank(a.rules.percentile, c.valid)) : 0;
  }
  int b = 0;
  while (b < kBuckets - 1 && c.rank >= static_cast<unsigned long long>(c.buckets[digit][b]))
    c.rank -= static_cast<unsigned long long>(c.buckets[digit][b++]);
  const int shift = 32 - kDigitBits * (digit + 1) > 0 ? 32 - kDigitBits * (digit + 1) : 0;
  c.prefix |= static_cast<unsigned>(b) << shift;
  if (digit == kDigits - 1)
    a.figures(frame, kFloor) = c.valid > 0 ? unordered(c.prefix) : std::numeric_limits<float>::quiet_NaN();
}

FS_KERNEL void label_kernel(HnLabels a, Layout l) {
  FS_SHARED(int, count, 256 + 3);  // labels, then Counters::low
  const std::int64_t frame = blockIdx.y, begin = static_cast<std::int64_t>(blockIdx.x) * kPixels;
  const std::int64_t end = begin + kPixels < l.size ? begin + kPixels : l.size;
  const float* const n = l.normals + frame * 3 * l.size;
  const Vec3f up = up_of(a, frame);
  const float floor = a.figures(frame, kFloor);
  const int edges = static_cast<int>(a.height_edges.size()), cosines = static_cast<int>(a.normal_cosines.size());
  for (int b = static_cast<int>(threadIdx.x); b < 259; b += kThreads) count[b] = 0;
  FS_SYNC();
  for (std::int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    float height;
    std::uint8_t label = kIgnore;
    if (height_at(a, frame, i, l.size, height)) {
      const float c = dot(up, Vec3f{n[i], n[l.size + i], n[2 * l.size + i]});
      label = label_of(height - floor, c, a.height_edges.data, edges, a.normal_cosines.data, cosines);
      const bool in[3] = {height <= floor, height <= floor && c == c, height <= floor && c > a.rules.aligned_cosine};
      for (int k = 0; k < 3; ++k)
        if (in[k]) atomic_add(&count[256 + k], 1);
    }
    a.label.data[frame * l.size + i] = label;
    atomic_add(&count[label], 1);
  }
  FS_SYNC();
  for (int b = static_cast<int>(threadIdx.x); b < a.histogram.shape[1]; b += kThreads)
    if (count[b] > 0) atomic_add(&a.histogram(frame, b), count[b]);
  if (threadIdx.x < 3) atomic_add(&l.counters[frame].low[threadIdx.x], count[256 + threadIdx.x]);
}

struct Judge {
  HnLabels a;
  Layout l;
  FS_HD void operator()(std::int64_t frame) const {
    const Counters& c = l.counters[frame];
    const float aligned = aligned_fraction(c.low[0], c.low[1], c.low[2]);
    const float share = l.size > 0 ? static_cast<float>(c.valid) / static_cast<float>(l.size) : 0.f;
    a.figures(frame, kAligned) = aligned, a.figures(frame, kValid) = share;
    a.verdict(frame) =
        static_cast<std::int32_t>(verdict_of(a.rules, share, c.found != 0, a.figures(frame, kDisagreement), aligned));
  }
};

Normals normals_of(const HnLabels& a, const Fit& fit, int stride, float* out) {
  const std::int64_t frames = a.depth.shape[0], height = a.depth.shape[1], width = a.depth.shape[2];
  Normals n;
  n.depth = a.depth, n.scale = a.scale, n.camera = a.camera, n.fit = fit, n.stride = stride;
  n.normals = {out, {frames, 3, (height + stride - 1) / stride, (width + stride - 1) / stride}};
  return n;
}

}  // namespace

std::int64_t hn_labels_scratch(std::int64_t height, std::int64_t width, int, int stride) {
  return counter_doubles() + (3 * (sampled(height, width, stride) + height * width) + 1) / 2;
}

void hn_labels(const HnLabels& args, Stream stream) {
  const std::int64_t frames = args.depth.shape[0];
  const Layout l = layout(args);
  if (frames == 0 || l.size == 0) return;
  require(frames < 65536, "at most 65535 frames in one call");
  const unsigned n = static_cast<unsigned>(frames), parts = static_cast<unsigned>((l.size + kPixels - 1) / kPixels);
  const std::int64_t words = static_cast<std::int64_t>(sizeof(Counters) / sizeof(int)) + args.histogram.shape[1];
  for_each(frames * words, stream, Clear{args, l});
  normals(normals_of(args, args.gravity_fit, args.stride, l.sample), stream);
  launch(gravity_kernel, {n}, {kThreads}, 0, stream, args, l);
  for (int digit = 0; digit < kDigits; ++digit) {
    launch(count_kernel, {parts, n}, {kThreads}, 0, stream, args, l, digit);
    launch(select_kernel, {n}, {32}, 0, stream, args, l, digit);
  }
  normals(normals_of(args, args.fit, 1, l.normals), stream);
  launch(label_kernel, {parts, n}, {kThreads}, 0, stream, args, l);
  for_each(frames, stream, Judge{args, l});
}

}  // namespace fs
