#include "decile_rank.h"
#include "for_each.h"

namespace fs {
namespace {

// One block ranks one map. The nine border values are found by their digits, 11, 11 and 10 bits from the top: a pass
// counts, for each prefix that borders still share, the next digit of the pixels with that prefix.
constexpr int kThreads = 1024, kWarp = 32, kDigit = 11, kCells = 1 << kDigit, kPasses = 3;

// Bits that grow as the score does; both zeros are one. NaN is sorted out by the caller.
FS_HD unsigned key_of(float score) {
  const float one_zero = score + 0.f;
  unsigned bits;
  __builtin_memcpy(&bits, &one_zero, sizeof bits);
  return bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u);
}

FS_HD float score_of(unsigned key) {
  const unsigned bits = key ^ (key >> 31 ? 0x80000000u : 0xffffffffu);
  float score;
  __builtin_memcpy(&score, &bits, sizeof score);
  return score;
}

// What a block finds out. Borders that share their digits so far share the row of the first of them.
struct Search {
  unsigned prefix[kBorders];  // the digits found so far, as the low bits
  unsigned left[kBorders];    // the place among the pixels of that prefix
  int row[kBorders];
  unsigned low, high;  // smallest and largest key
  int nan;
};

FS_HD int shift_of(int pass) {
  return pass == 0 ? 21 : pass == 1 ? 10 : 0;
}
FS_HD int bits_of(int pass) {
  return pass == 2 ? 10 : kDigit;
}

FS_DEVICE void start(Search& s, std::int64_t n) {
  const int k = static_cast<int>(threadIdx.x);
  if (k < kBorders) s.prefix[k] = 0, s.row[k] = 0, s.left[k] = static_cast<unsigned>(border_place(k + 1, n));
  if (k == 0) s.low = 0xffffffffu, s.high = 0, s.nan = 0;
}

// The extremes of the map and whether it holds NaN.
FS_DEVICE void survey(Search& s, const float* x, std::int64_t n) {
  unsigned low = 0xffffffffu, high = 0;
  bool nan = false;
  for (std::int64_t i = threadIdx.x; i < n; i += kThreads) {
    const unsigned key = key_of(x[i]);
    low = key < low ? key : low, high = key > high ? key : high, nan |= x[i] != x[i];
  }
  atomic_min(&s.low, low), atomic_max(&s.high, high);
  if (nan) atomic_max(&s.nan, 1);
}

FS_DEVICE void count(const Search& s, const float* x, std::int64_t n, int pass, unsigned* cells) {
  const int shift = shift_of(pass), bits = bits_of(pass);
  unsigned prefix[kBorders];  // in registers: shared memory is for the counters
  bool counts[kBorders];
  for (int k = 0; k < kBorders; ++k) prefix[k] = s.prefix[k], counts[k] = s.row[k] == k;
  for (std::int64_t i = threadIdx.x; i < n; i += kThreads) {
    const unsigned key = key_of(x[i]), digits = key >> shift, own = pass == 0 ? 0 : digits >> bits;
    for (int k = 0; k < kBorders; ++k)
      if (counts[k] & (prefix[k] == own)) atomic_add(&cells[k * kCells + (digits & ((1u << bits) - 1))], 1u);
  }
}

FS_DEVICE void write_deciles(const Search& s, const float* x, std::int64_t n, std::uint8_t* out) {
  unsigned borders[kBorders];
  for (int k = 0; k < kBorders; ++k) borders[k] = s.prefix[k];
  const bool refused = s.nan != 0;
  for (std::int64_t i = threadIdx.x; i < n; i += kThreads) out[i] = refused ? kNoDecile : decile(key_of(x[i]), borders);
}

// Warp k finds the next digit of border k: each lane adds up a stretch of its row, the one that holds the place walks.
FS_DEVICE void next_digit(Search& s, int pass, const unsigned* cells) {
  const int k = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const int stretch = (1 << bits_of(pass)) / kWarp;
  const unsigned* const own = cells + s.row[k] * kCells + lane * stretch;
  unsigned sum = 0;
  for (int i = 0; i < stretch; ++i) sum += own[(i + lane) % stretch];  // starts apart: no two lanes share a bank
  unsigned before = sum;
  for (int delta = 1; delta < kWarp; delta *= 2) {
    const unsigned lower = shfl_up(before, delta);
    if (lane >= delta) before += lower;
  }
  before -= sum;
  const unsigned left = s.left[k];
  FS_SYNC_WARP();
  if (left < before || left - before >= sum) return;
  int i = 0;
  for (; left - before >= own[i]; ++i) before += own[i];
  s.prefix[k] = (s.prefix[k] << bits_of(pass)) + static_cast<unsigned>(lane * stretch + i);
  s.left[k] = left - before;
}

FS_DEVICE void share_rows(Search& s) {
  for (int k = 1; k < kBorders; ++k) s.row[k] = s.prefix[k] == s.prefix[k - 1] ? s.row[k - 1] : k;
}

FS_KERNEL void __launch_bounds__(kThreads) rank_kernel(DecileRank a) {
  FS_DYNAMIC_SHARED(unsigned, cells);
  FS_SHARED(Search, search, 1);
  Search& s = *search;
  const std::int64_t b = blockIdx.x, n = a.scores.shape[1];
  const float* const x = a.scores.data + b * n;
  std::uint8_t* const out = a.deciles.data + b * n;
  start(s, n);
  FS_SYNC();
  survey(s, x, n);
  for (int pass = 0; pass < kPasses; ++pass) {
    for (int i = static_cast<int>(threadIdx.x); i < kBorders * kCells; i += kThreads) cells[i] = 0;
    FS_SYNC();
    count(s, x, n, pass, cells);
    FS_SYNC();
    if (threadIdx.x < kBorders * kWarp) next_digit(s, pass, cells);
    FS_SYNC();
    if (threadIdx.x == 0) share_rows(s);
    FS_SYNC();
  }
  write_deciles(s, x, n, out);
  if (threadIdx.x == 0) a.verdict(b) = s.nan ? kRefused : s.low >= s.high ? kConstant : kVaried;
}

// One block finds the minimum and maximum of one model's map.
FS_KERNEL void __launch_bounds__(kThreads) bounds_kernel(EnsembleDeciles a) {
  FS_SHARED(Search, search, 1);
  const std::int64_t batch = a.maps.shape[1], n = a.maps.shape[2];
  const std::int64_t m = blockIdx.x / batch, b = blockIdx.x % batch;
  const float* const x = a.maps.data + blockIdx.x * n;
  start(*search, n);
  FS_SYNC();
  survey(*search, x, n);
  FS_SYNC();
  if (threadIdx.x != 0) return;
  const unsigned finite = key_of(FLT_MAX);
  const bool fine = !search->nan && search->high <= finite && search->low >= ~finite;
  a.bounds(m, b, 0) = fine ? score_of(search->low) : NAN, a.bounds(m, b, 1) = fine ? score_of(search->high) : NAN;
}

struct MeanAt {
  EnsembleDeciles a;
  FS_HD void operator()(std::int64_t i) const {
    const std::int64_t models = a.maps.shape[0], n = a.maps.shape[2], b = i / n;
    float sum = 0;
    for (std::int64_t m = 0; m < models; ++m) sum += to_unit(a.bounds(m, b, 0), a.bounds(m, b, 1))(a.maps(m, b, i % n));
    a.mean(b, i % n) = sum / static_cast<float>(models);
  }
};

// A mean of NaN was refused by the ranking; here the first model at fault is named.
struct NameModel {
  EnsembleDeciles a;
  FS_HD void operator()(std::int64_t b) const {
    for (std::int64_t m = a.maps.shape[0] - 1; m >= 0; --m)
      if (a.bounds(m, b, 0) != a.bounds(m, b, 0)) a.rank.verdict(b) = kRefused + static_cast<std::int32_t>(m);
  }
};

}  // namespace

std::int64_t decile_rank_scratch(std::int64_t) {
  return 0;
}

void decile_rank(const DecileRank& a, Stream stream) {
  const std::int64_t maps = a.scores.shape[0];
  require(maps < (std::int64_t{1} << 31), "too many maps for one launch");
  if (maps == 0) return;
  launch(rank_kernel, {static_cast<unsigned>(maps)}, {kThreads}, sizeof(unsigned) * kBorders * kCells, stream, a);
}

void ensemble_deciles(const EnsembleDeciles& a, Stream stream) {
  const std::int64_t models = a.maps.shape[0], maps = a.maps.shape[1], pixels = a.maps.shape[2];
  require(models * maps < (std::int64_t{1} << 31), "too many maps for one launch");
  if (models * maps * pixels == 0) return;
  launch(bounds_kernel, {static_cast<unsigned>(models * maps)}, {kThreads}, 0, stream, a);
  for_each(maps * pixels, stream, MeanAt{a});
  decile_rank(a.rank, stream);
  for_each(maps, stream, NameModel{a});
}

}  // namespace fs
