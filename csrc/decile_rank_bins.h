// How decile_rank.cpp finds a map's nine border values: equal bins, then exact selection inside a few of them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "decile_rank.h"
#include "lanes.h"

namespace fs {
namespace {

// A map's pixels are dropped into equal bins; the nine border values are then selected exactly inside the at most nine
// bins that hold them. Counting runs in several tables, so that neighbours of one score do not wait for each other.
constexpr int kBins = 4096, kTables = 2, kSample = 512, kGroup = 32;

typedef std::uint16_t BinLanes __attribute__((vector_size(kGroup * sizeof(std::uint16_t)), aligned(2)));

struct Scratch {
  std::uint32_t* counts;  // (kTables, kBins)
  float* kept;            // (pixels and one behind each border bin) those of the border bins, bin after bin
  std::uint16_t* bins;    // (pixels rounded up to kGroup)
};

std::int64_t rounded(std::int64_t pixels) {
  return (pixels + kGroup - 1) / kGroup * kGroup;
}

Scratch cut(double* scratch, std::int64_t pixels) {
  std::uint32_t* const counts = reinterpret_cast<std::uint32_t*>(scratch);
  float* const kept = reinterpret_cast<float*>(counts + kTables * kBins);
  return {counts, kept, reinterpret_cast<std::uint16_t*>(kept + rounded(pixels) + kGroup)};
}

// Where the bins lie: any growing function of the score would be right. This one gives half of the bins to the scores
// below the middle of a sample and half to those above, without its outermost 5 %, so that a few huge scores or a long
// tail leave the bins fine. Bin 0 and the last take what lies outside, infinities too.
struct Binning {
  float low, middle, below, above;  // two scores; bins for one unit of score below and above the middle
  FS_HD int operator()(float x) const {
    const float lower = (x - low) * below, upper = (x - middle) * above;
    const float at = (lower < kBins / 2 ? lower : kBins / 2.f) + (upper > 0 ? upper : 0.f) + 1;
    const float inside = at > 0 ? at : 0.f;
    return static_cast<int>(inside < kBins - 1 ? inside : kBins - 1.f);
  }
};

float bins_per_unit(float from, float to) {
  const double range = static_cast<double>(to) - from;
  return range > 0 ? static_cast<float>(std::min<double>((kBins / 2 - 2) / range, FLT_MAX))
                   : FLT_MAX;  // -0 is no range
}

Binning choose_bins(const float* x, std::int64_t n) {
  float sample[kSample];
  int size = 0;
  for (std::int64_t i = 0; i < kSample && i < n; ++i) {
    const float v = x[n <= kSample ? i : i * n / kSample];
    if (std::fabs(v) <= FLT_MAX) sample[size++] = v;
  }
  if (size == 0) return {0, 0, 1, 1};
  std::sort(sample, sample + size);
  const float low = sample[size / 20], middle = sample[size / 2], high = sample[size - 1 - size / 20];
  return {low, middle, bins_per_unit(low, middle), bins_per_unit(middle, high)};
}

// The bin of every pixel; false when one is NaN.
FS_CLONES bool fill_bins(const float* x, std::int64_t n, Binning binning, std::uint16_t* bins) {
  int nan = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    nan |= x[i] != x[i];
    bins[i] = static_cast<std::uint16_t>(binning(x[i]));
  }
  return nan == 0;
}

FS_CLONES void count(const std::uint16_t* bins, std::int64_t n, std::uint32_t* counts) {
  std::fill(counts, counts + kTables * kBins, 0u);
  std::int64_t i = 0;
  for (; i + kTables <= n; i += kTables)
    for (int t = 0; t < kTables; ++t) ++counts[t * kBins + bins[i + t]];
  for (; i < n; ++i) ++counts[bins[i]];
  for (int bin = 0; bin < kBins; ++bin)
    for (int t = 1; t < kTables; ++t) counts[bin] += counts[t * kBins + bin];
}

// The bins that hold border values, each once: its pixels lie at kept[first], first + 1, ...
struct BorderBins {
  std::uint16_t bin[kBorders];  // ascending; what is unused repeats the first
  std::int64_t first[kBorders + 1];
  int of[kBorders];              // the entry that holds border k
  std::int64_t place[kBorders];  // and border k's place in that bin's ascending order
  int used = 0;
};

BorderBins find_border_bins(const std::uint32_t* counts, std::int64_t n) {
  BorderBins found{};
  std::int64_t before = 0, stop = counts[0];  // pixels before this bin, and before the next
  for (int k = 0, bin = 0; k < kBorders; ++k) {
    const std::int64_t place = border_place(k + 1, n);
    while (stop <= place) before = stop, stop += counts[++bin];
    if (found.used == 0 || found.bin[found.used - 1] != bin) {
      found.bin[found.used] = static_cast<std::uint16_t>(bin);
      found.first[found.used + 1] = found.first[found.used] + counts[bin];
      ++found.used;
    }
    found.of[k] = found.used - 1, found.place[k] = place - before;
  }
  for (int e = found.used; e < kBorders; ++e) found.bin[e] = found.bin[0];
  return found;
}

FS_HD bool any(const BinLanes& mask) {
  std::uint64_t words[sizeof mask / 8], all = 0;
  __builtin_memcpy(words, &mask, sizeof mask);
  for (const std::uint64_t word : words) all |= word;
  return all != 0;
}

// One border bin's pixels: most are often one score (a zero, a step of a quantised map) and need only be counted.
struct Members {
  float *begin = nullptr, *last = nullptr;  // the others
  float same = NAN;                         // that score; NaN until a pixel of the bin is seen
  float* higher = nullptr;                  // where the others that are higher begin, once they are parted
  float* first = nullptr;                   // of the others that are not yet in order
};

FS_HD bool holds_others(const float* x, const std::uint16_t* bins, int size, std::uint16_t bin, float same) {
  int others = 0;
  for (int j = 0; j < size; ++j) others |= (bins[j] == bin) & (x[j] != same);
  return others != 0;
}

FS_HD void keep_others(const float* x, const std::uint16_t* bins, int size, std::uint16_t bin, Members& m) {
  for (int j = 0; j < size && m.same != m.same; ++j)
    if (bins[j] == bin) m.same = x[j];
  float* last = m.last;
  for (int j = 0; j < size; ++j) *last = x[j], last += (bins[j] == bin) & (x[j] != m.same);
  m.last = last;
}

FS_HD void keep_group(const float* x, const std::uint16_t* bins, int size, const BorderBins& found, Members* all) {
  for (int e = 0; e < found.used; ++e)
    if (holds_others(x, bins, size, found.bin[e], all[e].same)) keep_others(x, bins, size, found.bin[e], all[e]);
}

// Copies the pixels of the border bins together, bin after bin. `bins` is read up to rounded(n).
FS_CLONES void keep(const float* x, const std::uint16_t* bins, std::int64_t n, const BorderBins& found, Members* all) {
  for (std::int64_t i = 0; i < n; i += kGroup) {
    BinLanes group;
    __builtin_memcpy(&group, bins + i, sizeof group);
    BinLanes hit{};
    for (int e = 0; e < kBorders; ++e) hit |= reinterpret_cast<BinLanes>(group == found.bin[e]);
    if (!any(hit)) continue;
    if (i + kGroup <= n)
      keep_group(x + i, bins + i, kGroup, found, all);  // a length that is known is twice as fast
    else
      keep_group(x + i, bins + i, static_cast<int>(n - i), found, all);
  }
}

// The value at `place`, no lower than the places asked for before, of a bin of `pixels` pixels in ascending order.
float value_at(Members& m, std::int64_t pixels, std::int64_t place) {
  const std::int64_t equal = pixels - (m.last - m.begin);
  if (m.higher == nullptr)
    m.first = m.begin, m.higher = std::partition(m.begin, m.last, [&](float v) { return v < m.same; });
  if (place >= m.higher - m.begin && place < m.higher - m.begin + equal) return m.same;
  const bool below = place < m.higher - m.begin;
  float* const at = m.begin + (below ? place : place - equal);
  if (at >= m.first) std::nth_element(below ? m.first : std::max(m.first, m.higher), at, below ? m.higher : m.last);
  m.first = at + 1;
  return *at;
}

void find_borders(const BorderBins& found, Members* all, float* borders) {
  for (int k = 0; k < kBorders; ++k) {
    const int e = found.of[k];
    borders[k] = value_at(all[e], found.first[e + 1] - found.first[e], found.place[k]);
  }
}

}  // namespace
}  // namespace fs
