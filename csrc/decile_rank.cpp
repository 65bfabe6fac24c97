#include "decile_rank.h"

#include <algorithm>
#include <cstring>

#include "for_each.h"
#include "lanes.h"

namespace fs {
namespace {

// A map's pixels are dropped into equal bins; the nine border values are then selected exactly inside the at most nine
// bins that hold them. Counting runs in several tables, so that neighbours of one score do not wait for each other.
constexpr int kBins = 4096, kTables = 2, kSample = 512, kGroup = 32;

typedef std::int32_t IntLanes __attribute__((vector_size(kLanes * sizeof(std::int32_t))));
typedef std::uint8_t ByteLanes __attribute__((vector_size(kLanes)));
typedef std::uint16_t BinLanes __attribute__((vector_size(kGroup * sizeof(std::uint16_t)), aligned(2)));

struct Scratch {
  std::uint32_t* counts;  // (kTables, kBins)
  float* kept;            // (pixels) those of the border bins, bin after bin
  std::uint16_t* bins;    // (pixels rounded up to kGroup)
};

std::int64_t rounded(std::int64_t pixels) {
  return (pixels + kGroup - 1) / kGroup * kGroup;
}

Scratch cut(double* scratch, std::int64_t pixels) {
  std::uint32_t* const counts = reinterpret_cast<std::uint32_t*>(scratch);
  float* const kept = reinterpret_cast<float*>(counts + kTables * kBins);
  return {counts, kept, reinterpret_cast<std::uint16_t*>(kept + rounded(pixels))};
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
  return static_cast<float>(std::min<double>((kBins / 2 - 2) / (static_cast<double>(to) - from), FLT_MAX));
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

// Copies the pixels of the border bins together, bin after bin, and others of their groups behind them. `bins` is read
// up to rounded(n).
FS_CLONES void keep(const float* x, const std::uint16_t* bins, std::int64_t n, const BorderBins& found, float* kept) {
  std::int64_t next[kBorders + 1];
  std::copy(found.first, found.first + kBorders, next), next[kBorders] = found.first[found.used];
  std::uint8_t entry[kBins];
  std::fill(entry, entry + kBins, static_cast<std::uint8_t>(kBorders));
  for (int e = 0; e < found.used; ++e) entry[found.bin[e]] = static_cast<std::uint8_t>(e);
  for (std::int64_t i = 0; i < n; i += kGroup) {
    BinLanes group;
    __builtin_memcpy(&group, bins + i, sizeof group);
    BinLanes hit{};
    for (int e = 0; e < kBorders; ++e) hit |= reinterpret_cast<BinLanes>(group == found.bin[e]);
    if (!any(hit)) continue;
    for (std::int64_t j = i; j < std::min(i + kGroup, n); ++j) kept[next[entry[bins[j]]]++] = x[j];
  }
}

FS_CLONES float lowest(const float* first, const float* last) {
  Lanes low = *first - Lanes{};
  for (; last - first >= kLanes; first += kLanes) {
    const Lanes v = at(first);
    low = v < low ? v : low;
  }
  float all = low[0];
  for (int lane = 1; lane < kLanes; ++lane) all = std::min(all, low[lane]);
  return first < last ? std::min(all, *std::min_element(first, last)) : all;
}

// Answers, for growing places, which value stands there in the ascending order of [first, last), which it reorders. A
// bin of one score, as zeros and quantised maps make, is one pass.
struct Selection {
  float *equal, *last;  // the values before `equal` are no higher than those behind it, the last ones are `value`
  float value = 0;

  float at(float* place) {
    if (place < equal) return value;
    value = lowest(equal, last);
    equal = std::partition(equal, last, [low = value](float v) { return v == low; });
    if (place < equal) return value;
    std::nth_element(equal, place, last);
    equal = place + 1;
    return value = *place;
  }
};

void find_borders(const BorderBins& found, float* kept, float* borders) {
  Selection selection{};
  for (int k = 0; k < kBorders; ++k) {
    const int e = found.of[k];
    if (k == 0 || found.of[k - 1] != e) selection = {kept + found.first[e], kept + found.first[e + 1]};
    borders[k] = selection.at(kept + found.first[e] + found.place[k]);
  }
}

FS_CLONES void write_deciles(const float* x, std::int64_t n, const float* borders, std::uint8_t* out) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Lanes v = at(x + i);
    IntLanes above{};
    for (int k = 0; k < kBorders; ++k) above -= v > borders[k];  // true is -1
    const ByteLanes bytes = __builtin_convertvector(above, ByteLanes);
    __builtin_memcpy(out + i, &bytes, sizeof bytes);
  }
  for (; i < n; ++i) out[i] = decile(x[i], borders);
}

int rank_map(const float* x, std::int64_t n, std::uint8_t* out, const Scratch& s) {
  if (n == 0) return kConstant;
  if (!fill_bins(x, n, choose_bins(x, n), s.bins)) {
    std::fill(out, out + n, kNoDecile);
    return kRefused;
  }
  count(s.bins, n, s.counts);
  const BorderBins found = find_border_bins(s.counts, n);
  keep(x, s.bins, n, found, s.kept);
  float borders[kBorders];
  find_borders(found, s.kept, borders);
  write_deciles(x, n, borders, out);
  const bool one_score = borders[0] == borders[kBorders - 1] && std::count(x, x + n, *x) == n;
  return one_score ? kConstant : kVaried;
}

struct Range {
  float low, high;
};

// NaN, NaN when a score is NaN or infinite.
FS_CLONES Range range_of(const float* x, std::int64_t n) {
  Lanes low = *x - Lanes{}, high = low, bad{};
  float rest[kLanes];
  for (std::int64_t i = 0; i < n; i += kLanes) {
    if (i + kLanes > n) {
      std::fill(rest, rest + kLanes, *x);
      std::copy(x + i, x + n, rest);
    }
    const Lanes v = at(i + kLanes > n ? rest : x + i);
    low = v < low ? v : low, high = v > high ? v : high, bad += v - v;  // 0, or NaN for good
  }
  Range all{low[0], high[0]};
  float wrong = 0;
  for (int lane = 0; lane < kLanes; ++lane)
    all = {std::min(all.low, low[lane]), std::max(all.high, high[lane])}, wrong += bad[lane];
  return {all.low + wrong, all.high + wrong};
}

FS_CLONES void add(const float* x, std::int64_t n, ToUnit unit, float* sum) {
  for (std::int64_t i = 0; i < n; ++i) sum[i] += unit(x[i]);
}

FS_CLONES void divide(float* sum, std::int64_t n, float models) {
  for (std::int64_t i = 0; i < n; ++i) sum[i] /= models;
}

// The first model whose map is not finite, or -1.
std::int64_t mean_map(const EnsembleDeciles& a, std::int64_t b) {
  const std::int64_t models = a.maps.shape[0], batch = a.maps.shape[1], n = a.maps.shape[2];
  float* const mean = a.mean.data + b * n;
  std::fill(mean, mean + n, 0.f);
  std::int64_t refused = -1;
  for (std::int64_t m = 0; m < models; ++m) {
    const float* const scores = a.maps.data + (m * batch + b) * n;
    const Range range = range_of(scores, n);
    a.bounds(m, b, 0) = range.low, a.bounds(m, b, 1) = range.high;
    if (range.low != range.low && refused < 0) refused = m;
    add(scores, n, to_unit(range.low, range.high), mean);
  }
  divide(mean, n, static_cast<float>(models));
  return refused;
}

}  // namespace

std::int64_t decile_rank_scratch(std::int64_t pixels) {
  return (4 * kTables * kBins + (4 + 2) * rounded(pixels)) / 8 + 1;
}

void decile_rank(const DecileRank& a, Stream) {
  for_each_worker(a.scores.shape[0], a.scratch.shape[0], [&](std::int64_t b, std::int64_t worker) {
    const std::int64_t n = a.scores.shape[1];
    a.verdict(b) = rank_map(a.scores.data + b * n, n, a.deciles.data + b * n, cut(&a.scratch(worker, 0), n));
  });
}

void ensemble_deciles(const EnsembleDeciles& a, Stream) {
  const DecileRank& r = a.rank;
  for_each_worker(a.maps.shape[1], r.scratch.shape[0], [&](std::int64_t b, std::int64_t worker) {
    const std::int64_t n = a.maps.shape[2], refused = mean_map(a, b);
    const int verdict = rank_map(a.mean.data + b * n, n, r.deciles.data + b * n, cut(&r.scratch(worker, 0), n));
    r.verdict(b) = refused < 0 ? verdict : kRefused + static_cast<std::int32_t>(refused);
  });
}

}  // namespace fs
