#include "decile_rank.h"

#include <algorithm>

#include "decile_rank_bins.h"
#include "for_each.h"
#include "lanes.h"

namespace fs {
namespace {

typedef std::int32_t IntLanes __attribute__((vector_size(kLanes * sizeof(std::int32_t))));
typedef std::uint8_t ByteLanes __attribute__((vector_size(kLanes)));

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
  Members members[kBorders];
  for (int e = 0; e < found.used; ++e) members[e].begin = members[e].last = s.kept + found.first[e] + e;
  keep(x, s.bins, n, found, members);
  float borders[kBorders];
  find_borders(found, members, borders);
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
  return (4 * kTables * kBins + 4 * (rounded(pixels) + kGroup) + 2 * rounded(pixels)) / 8 + 1;
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
