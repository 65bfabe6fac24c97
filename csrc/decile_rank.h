// decile_rank: score maps -> exact decile ranks, alone or of the mean of several models' normalised maps. The formulas
// are here; decile_rank.cpp bins and selects, decile_rank.cu selects by radix.
#pragma once

#include <cfloat>
#include <cmath>

#include "core.h"

namespace fs {

inline constexpr int kBorders = 9;                              // between ten deciles
inline constexpr std::uint8_t kNoDecile = 255;                  // of every pixel of a map that is refused
inline constexpr int kVaried = 0, kConstant = 1, kRefused = 2;  // verdicts; kRefused + m: model m's map is at fault

struct DecileRank {
  View2<const float> scores;    // (B, N) one row a map
  View2<std::uint8_t> deciles;  // (B, N) 0..9
  View1<std::int32_t> verdict;  // (B,) kVaried, kConstant, or kRefused for a map that holds NaN
  View2<double> scratch;        // (workers, decile_rank_scratch(N)); the CPU's alone
};
void decile_rank(const DecileRank& args, Stream stream);

struct EnsembleDeciles {
  View3<const float> maps;  // (M, B, N)
  View3<float> bounds;      // (M, B, 2) each map's minimum and maximum; NaN where it holds NaN or an infinity
  View2<float> mean;        // (B, N) over the models, of each map made to span [0, 1]
  DecileRank rank;          // of the mean
};
void ensemble_deciles(const EnsembleDeciles& args, Stream stream);

// Doubles of scratch one worker needs on the CPU for maps of `pixels` pixels.
std::int64_t decile_rank_scratch(std::int64_t pixels);

// A pixel's decile floor(10 Z / N) is at least k when k N / 10 pixels or more are lower, that is, when it is above the
// pixel at this place of the ascending order (from 0): so nine order statistics decide, and its decile is the number of
// them below it.
FS_HD std::int64_t border_place(int k, std::int64_t pixels) {
  return (k * pixels + 9) / 10 - 1;
}

template <class T>
FS_HD std::uint8_t decile(T score, const T* borders) {
  int above = 0;
  for (int k = 0; k < kBorders; ++k) above += score > borders[k];
  return static_cast<std::uint8_t>(above);
}

// x -> (x - low) / (high - low), 0 for a constant map. The power of two keeps high - low from overflowing and its
// inverse finite; it changes no other digit.
struct ToUnit {
  float factor, low, inverse;
  FS_HD float operator()(float x) const { return (x * factor - low) * inverse; }
};
FS_HD ToUnit to_unit(float low, float high) {
  const float range = high - low;
  const float factor = range > FLT_MAX ? 0.5f : range < 0x1p-100f ? 0x1p64f : 1.f;
  const float scaled = high * factor - low * factor;
  return {factor, low * factor, scaled > 0 ? 1 / scaled : 0.f};
}

}  // namespace fs
