// Labels made where the normals are made: what the GPU's normals kernels give their quads to. Only for .cu files.
#pragma once

#include "hn_labels_frame.h"

namespace fs {

inline constexpr int kHistograms = 8, kMostBins = 255;  // so many histograms a block, against lanes that meet in a bin
inline constexpr int kMostEdges = 255;

// Labels four pixels at a time and counts them; writes label, points and normals, as far as these are wanted.
struct LabelQuads {
  static constexpr int kCounts = kMostBins * kHistograms + 3 + kMostEdges;  // histograms, Counters::low, edges
  struct State {
    Vec3f up;
    float floor;
  };

  HnLabels a;
  Layout l;
  Rays rays;
  StoreQuads images;
  bool fours;  // labels can be written in Fours

  FS_DEVICE int bins() const { return static_cast<int>(a.histogram.shape[1]); }
  FS_DEVICE static int* low(int* counts) { return counts + kMostBins * kHistograms; }
  FS_DEVICE static float* edges(int* counts) { return reinterpret_cast<float*>(low(counts) + 3); }

  FS_DEVICE State begin(int* counts, int frame) const {
    const int heights = static_cast<int>(a.height_edges.size()), cosines = static_cast<int>(a.normal_cosines.size());
    for (int i = static_cast<int>(threadIdx.x); i < bins() * kHistograms; i += kTileThreads) counts[i] = 0;
    for (int i = static_cast<int>(threadIdx.x); i < heights + cosines; i += kTileThreads)
      edges(counts)[i] = i < heights ? a.height_edges(i) : a.normal_cosines(i - heights);
    if (threadIdx.x < 3) low(counts)[threadIdx.x] = 0;
    FS_SYNC();
    return {up_of(a, frame), a.figures(frame, kFloor)};
  }

  FS_DEVICE void put(int* counts, const State& s, const Quad& q) const {
    images.put(nullptr, {}, q);
    float height[kQuad], cosine[kQuad];
    for (int k = 0; k < kQuad; ++k) {
      const bool measured = (q.mask >> k & 1) && q.z[k] > 0;
      height[k] = height_at(rays, s.up, q.z[k], q.u + k, q.v);
      cosine[k] = measured ? dot(s.up, q.n[k]) : std::numeric_limits<float>::quiet_NaN();
      if (measured && height[k] <= s.floor) count_low(low(counts), cosine[k]);
    }
    for (int k = 0; k < kQuad; ++k) height[k] -= s.floor;
    std::uint8_t label[kQuad];
    label_quad(edges(counts), height, cosine, label);
    if (a.label.data) store(&a.label(q.frame, q.v, q.u), label, q.mask, fours);
    for (int k = 0, run = 1; k < kQuad; ++k, ++run) {
      if (k < kQuad - 1 && label[k + 1] == label[k]) continue;
      if (label[k] != kIgnore) atomic_add(&counts[label[k] * kHistograms + threadIdx.x % kHistograms], run);
      run = 0;
    }
  }

  FS_DEVICE void end(int* counts, int frame, const State&) const {
    FS_SYNC();
    for (int b = static_cast<int>(threadIdx.x); b < bins(); b += kTileThreads) {
      int sum = 0;
      for (int h = 0; h < kHistograms; ++h) sum += counts[b * kHistograms + h];
      if (sum > 0) atomic_add(&a.histogram(frame, b), sum);
    }
    if (threadIdx.x < 3 && low(counts)[threadIdx.x] > 0)
      atomic_add(&l.counters[frame].low[threadIdx.x], low(counts)[threadIdx.x]);
  }

 private:
  FS_DEVICE void count_low(int* low, float cosine) const {
    atomic_add(&low[0], 1);
    if (cosine == cosine) atomic_add(&low[1], 1);
    if (cosine > a.rules.aligned_cosine) atomic_add(&low[2], 1);
  }

  // label_of for four pixels, whose edges are read once.
  FS_DEVICE void label_quad(const float* edge, const float (&height)[kQuad], const float (&cosine)[kQuad],
                            std::uint8_t (&label)[kQuad]) const {
    const int heights = static_cast<int>(a.height_edges.size()), cosines = static_cast<int>(a.normal_cosines.size());
    int bin[kQuad] = {};
    for (int e = 0; e < cosines; ++e)
      for (int k = 0; k < kQuad; ++k) bin[k] += std::fabs(cosine[k]) <= edge[heights + e] ? heights + 1 : 0;
    for (int e = 0; e < heights; ++e)
      for (int k = 0; k < kQuad; ++k) bin[k] += height[k] >= edge[e];
    for (int k = 0; k < kQuad; ++k) label[k] = cosine[k] == cosine[k] ? static_cast<std::uint8_t>(bin[k]) : kIgnore;
  }
};

}  // namespace fs
