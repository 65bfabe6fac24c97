#include "normals_across.h"

namespace fs {
namespace {

constexpr int kFar = 8;  // from this radius on, windows are summed by groups

std::int64_t reach(int radius, int stride) {
  return whole_lanes(radius) * 2 + kStrip * stride + 4 * kLanes;
}

std::int64_t phase_length(int radius, int stride) {
  return stride == 1 ? 0 : kStrip + 2 * ((radius + stride - 1) / stride) + 2 * kLanes;
}

// Which sums: of q, i q, q q; of q and i q alone; or of the ones, i and i i.
enum class Of { kSquares, kDepths, kPlaces };

struct Across {
  Lanes sum, moment, third;
};

template <Of what>
FS_HD void add_pair(Across& s, Lanes a, Lanes b, float w) {
  const Lanes both = a + b;
  s.sum += both, s.moment += w * (a - b);
  if constexpr (what == Of::kSquares) s.third += a * a, s.third += b * b;
  if constexpr (what == Of::kPlaces) s.third += w * w * both;
}

// The sums of `Blocks` blocks of kLanes pixels from `u` on.
template <Of what, int Blocks>
FS_HD void sum_near(const PaddedRow& row, const Taps& t, int u, Across (&s)[Blocks]) {
  const std::int64_t from = u + (what == Of::kPlaces ? row.twin : 0);
  for (int k = 0; k < Blocks; ++k) {
    const Lanes centre = at(t.right[0] + from + k * kLanes);
    s[k] = {centre, Lanes{}, what == Of::kSquares ? centre * centre : Lanes{}};
  }
  float w = 1;
  for (int i = 1; i <= row.radius; ++i, w += 1) {
    const float *const right = t.right[i] + from, *const left = t.left[i] + from;
    for (int k = 0; k < Blocks; ++k) add_pair<what>(s[k], at(right + k * kLanes), at(left + k * kLanes), w);
  }
}

// Windows of large radius, or between skipped columns, are summed by groups of columns that are summed once.
struct Groups {
  int columns, count, rest;  // of a group; groups of a window; columns left at its right end
  int hop;                   // entries from a window's group to its next
};

FS_HD Groups groups_of(const PaddedRow& row) {
  const int window = 2 * row.radius + 1, columns = row.stride == 1 ? 4 : row.stride;
  return {columns, window / columns, window % columns, row.stride == 1 ? 4 : 1};
}

FS_HD const float* tap(const Taps& t, int i) {
  return i < 0 ? t.left[-i] : t.right[i];
}

// The groups: entry k starts `radius` columns left of pixel k. Sums of x, j x and x x, or j j x, with j from its start.
template <Of what>
FS_HD void sum_groups(const PaddedRow& row, const Taps& t, const Groups& g, int pixels) {
  const std::int64_t twin = what == Of::kPlaces ? row.twin : 0;
  for (int k = 0; k < pixels + (g.count - 1) * g.hop; k += kLanes) {
    Across s{};
    float w = 0;
    for (int j = 0; j < g.columns; ++j, w += 1) {
      const Lanes x = at(tap(t, j - row.radius) + twin + k);
      s.sum += x, s.moment += w * x;
      if constexpr (what == Of::kSquares) s.third += x * x;
      if constexpr (what == Of::kPlaces) s.third += w * w * x;
    }
    put(row.groups[0] + k, s.sum), put(row.groups[1] + k, s.moment), put(row.groups[2] + k, s.third);
  }
}

// The same sums as sum_near of kLanes pixels, from the groups.
template <Of what>
FS_HD Across sum_far(const PaddedRow& row, const Taps& t, const Groups& g, int u) {
  const std::int64_t twin = what == Of::kPlaces ? row.twin : 0;
  Across s{};
  float w = static_cast<float>(-row.radius);
  for (int m = 0; m < g.count; ++m, w += static_cast<float>(g.columns)) {
    const int k = u + m * g.hop;
    const Lanes sum = at(row.groups[0] + k), moment = at(row.groups[1] + k);
    s.sum += sum, s.moment += w * sum + moment;
    if constexpr (what == Of::kSquares) s.third += at(row.groups[2] + k);
    if constexpr (what == Of::kPlaces) s.third += w * w * sum + 2 * w * moment + at(row.groups[2] + k);
  }
  for (int j = 0; j < g.rest; ++j, w += 1) {
    const Lanes x = at(tap(t, g.count * g.columns + j - row.radius) + twin + u);
    s.sum += x, s.moment += w * x;
    if constexpr (what == Of::kSquares) s.third += x * x;
    if constexpr (what == Of::kPlaces) s.third += w * w * x;
  }
  return s;
}

template <Of what>
FS_HD void keep(const Across& s, int u, float* kept) {
  constexpr int first = what == Of::kPlaces ? kCount : kSum;
  put(kept + first * kStrip + u, s.sum), put(kept + (first + 1) * kStrip + u, s.moment);
  if constexpr (what != Of::kDepths) put(kept + (first + 2) * kStrip + u, s.third);
}

template <Of what>
FS_HD void keep_depths(const PaddedRow& row, const Taps& t, bool far, int pixels, float* kept) {
  if (far) {
    const Groups g = groups_of(row);
    sum_groups<what>(row, t, g, pixels);
    for (int u = 0; u < pixels; u += kLanes) keep<what>(sum_far<what>(row, t, g, u), u, kept);
  } else {
    constexpr int blocks = 4;
    Across s[blocks];
    for (int u = 0; u < pixels; u += blocks * kLanes) {
      sum_near<what>(row, t, u, s);
      for (int k = 0; k < blocks; ++k) keep<what>(s[k], u + k * kLanes, kept);
    }
  }
  __builtin_memcpy(kept + kCentre * kStrip, t.right[0], static_cast<std::size_t>(pixels) * sizeof(float));
}

FS_HD void keep_whole_places(int radius, int u, float* kept) {
  const float n = static_cast<float>(2 * radius + 1), second = n * static_cast<float>(radius * (radius + 1)) / 3;
  put(kept + kCount * kStrip + u, Lanes{} + n), put(kept + kCountI * kStrip + u, Lanes{});
  put(kept + kCountII * kStrip + u, Lanes{} + second);
}

// Whether all of n (8 or more) flags are set.
FS_HD bool all_set(const std::uint8_t* flags, std::int64_t n) {
  std::uint64_t all = ~std::uint64_t{0}, some;
  for (std::int64_t k = 0; k + 8 < n; k += 8) {
    __builtin_memcpy(&some, flags + k, 8);
    all &= some;
  }
  __builtin_memcpy(&some, flags + n - 8, 8);
  return (all & some) == 0x0101010101010101u;
}

// `before`: the blocks of this slot that hold the places of a row without holes from the last time.
FS_HD unsigned keep_places(const PaddedRow& row, const Taps& t, bool far, int pixels, unsigned before, float* kept) {
  unsigned whole = 0;
  const std::int64_t span = (kLanes - 1) * row.stride + 1 + 2 * row.radius;
  for (int u = 0; u < pixels; u += kLanes)
    if (all_set(row.there + u * row.stride - row.radius, span)) whole |= 1u << (u / kLanes);
  const Groups g = groups_of(row);
  if (far && whole != (1u << (pixels / kLanes)) - 1) sum_groups<Of::kPlaces>(row, t, g, pixels);
  for (int u = 0; u < pixels; u += kLanes) {
    Across s[1];
    if (whole >> (u / kLanes) & 1u) {
      if (!(before >> (u / kLanes) & 1u)) keep_whole_places(row.radius, u, kept);
      continue;
    }
    if (far)
      s[0] = sum_far<Of::kPlaces>(row, t, g, u);
    else
      sum_near<Of::kPlaces>(row, t, u, s);
    keep<Of::kPlaces>(s[0], u, kept);
  }
  return whole;
}

// Deals columns [from, to) out to the phases; a constant stride becomes shuffles of vectors.
template <int Stride>
FS_HD void deal(const PaddedRow& row, std::int64_t from, std::int64_t to) {
  const std::int64_t stride = Stride > 0 ? Stride : row.stride;
  const std::int64_t first = (from + row.side * stride) / stride - row.side, last = (to - 1) / stride + 1;
  const float* const q = row.q;  // zero outside [from, to)
  float* const phases = row.phases + row.side;
  const std::int64_t phase = row.phase;
#pragma GCC ivdep
  for (std::int64_t k = first; k < last; ++k)
    for (std::int64_t p = 0; p < stride; ++p) phases[p * phase + k] = q[k * stride + p];
}

FS_HD void mark(const float* q, std::int64_t n, float* ones) {
#pragma GCC ivdep
  for (std::int64_t x = 0; x < n; ++x) ones[x] = q[x] > 0 ? 1.f : 0.f;
}

FS_HD void invert(const PaddedRow& row, std::int64_t from, std::int64_t to) {
  float *const q = row.q, *const ones = row.q + row.twin;
  std::uint8_t* const there = row.there;
#pragma GCC ivdep
  for (std::int64_t x = from; x < to; ++x) q[x] = inverse(q[x]);
  mark(q + from, to - from, ones + from);
#pragma GCC ivdep
  for (std::int64_t x = from; x < to; ++x) there[x] = static_cast<std::uint8_t>(ones[x]);
  if (row.stride == 1) return;
  if (row.stride == 2) deal<2>(row, from, to);
  if (row.stride == 4) deal<4>(row, from, to);
  if (row.stride != 2 && row.stride != 4) deal<0>(row, from, to);
  mark(row.phases, row.stride * row.phase, row.phases + row.twin);
}

void place_taps(PaddedRow& row) {
  Taps& t = row.taps;
  for (int i = 0; i <= row.radius; ++i) {
    t.right[i] = row.q + i, t.left[i] = row.q - i;
    if (row.stride == 1) continue;
    const int ahead = i / row.stride, back = (i + row.stride - 1) / row.stride;
    t.right[i] = row.phases + (i - ahead * row.stride) * row.phase + row.side + ahead;
    t.left[i] = row.phases + (back * row.stride - i) * row.phase + row.side - back;
  }
}

}  // namespace

std::int64_t padded_row_floats(int radius, int stride) {
  const std::int64_t length = reach(radius, stride), twin = length + stride * phase_length(radius, stride);
  return 2 * twin + 3 * length + length / 4 + 1;
}

PaddedRow padded_row(float* memory, int radius, int stride) {
  const std::int64_t length = reach(radius, stride), margin = whole_lanes(radius);
  PaddedRow row;
  row.radius = radius, row.stride = stride;
  row.phase = phase_length(radius, stride), row.side = (radius + stride - 1) / stride;
  row.twin = length + stride * row.phase;
  row.q = memory + margin, row.phases = memory + length;
  for (int k = 0; k < 3; ++k) row.groups[k] = memory + 2 * row.twin + k * length + margin;
  row.there = reinterpret_cast<std::uint8_t*>(memory + 2 * row.twin + 3 * length) + margin;
  place_taps(row);
  return row;
}

FS_CLONES unsigned keep_row(const PaddedRow& row, std::int64_t from, std::int64_t to, int pixels, bool squares,
                            unsigned before, float* kept) {
  invert(row, from, to);
  const Taps& t = row.taps;
  const bool far = row.radius >= kFar || row.stride > 1;
  if (squares)
    keep_depths<Of::kSquares>(row, t, far, pixels, kept);
  else
    keep_depths<Of::kDepths>(row, t, far, pixels, kept);
  return keep_places(row, t, far, pixels, before, kept);
}

}  // namespace fs
