#include "normals_plane.h"

#include <algorithm>

#include "lanes.h"
#include "normals_across.h"

namespace fs {
namespace {

constexpr int kRowsAhead = 8;  // depth is asked for so many rows before it is read
constexpr int kMaxRows = 2 * kMaxRadius + kRowsAtOnce;

// A strip of the image: its kept rows form a ring, row r lies in slot r mod `slots`.
struct Strip {
  int radius, stride, outputs, slots;  // outputs: rows of normals made together
  float* ring;
  unsigned* whole;  // a slot's blocks of lanes whose windows along the row have no hole, one bit each
  PaddedRow row;

  int slot(std::int64_t r) const { return static_cast<int>(r + slots) % slots; }  // r is at least -slots
};

Strip cut(float* scratch, int radius, int stride) {
  Strip s;
  s.radius = radius, s.stride = stride, s.outputs = rows_at_once(stride);
  s.slots = 2 * radius + s.outputs;
  s.ring = scratch;
  s.row = padded_row(s.ring + s.slots * kKept * kStrip, radius, stride);
  s.whole = reinterpret_cast<unsigned*>(s.ring + s.slots * kKept * kStrip + padded_row_floats(radius, stride));
  return s;
}

std::int64_t floats_of(int radius, int stride) {
  const int slots = 2 * radius + rows_at_once(stride);
  return slots * kKept * kStrip + padded_row_floats(radius, stride) + slots;
}

// Row r of the image joins the ring.
void enter(const Strip& s, const RowPlan& plan, std::int64_t r, int slot) {
  float* const kept = s.ring + static_cast<std::int64_t>(slot) * (kKept * kStrip);
  if (r < 0 || r >= plan.depth.height) {
    std::fill_n(kept, kKept * kStrip, 0.f);
    s.whole[slot] = 0;
    return;
  }
  const std::int64_t from = std::max<std::int64_t>(0, plan.left - s.radius);
  const std::int64_t to = std::min(plan.depth.width, plan.left + kStrip * s.stride + s.radius);
  metres_row(plan.depth, r, from, to, s.row.q + (from - plan.left));
  fetch_row(plan.depth, r + kRowsAhead, from, to);
  const std::int64_t pixels = (plan.right - plan.left + s.stride - 1) / s.stride;
  s.whole[slot] = keep_row(s.row, from - plan.left, to - plan.left, static_cast<int>(whole_lanes(pixels)),
                           plan.fit.max_residual < std::numeric_limits<float>::infinity(), s.whole[slot], kept);
}

// The kept rows under a group of outputs: row k is the image's row v - radius + k.
struct Rows {
  const float* kept[kMaxRows];
  unsigned whole[kRowsAtOnce];  // an output's blocks of lanes whose windows have no hole, one bit each
  int radius;

  FS_HD Lanes get(int k, int what, int u) const { return at(kept[k] + what * kStrip + u); }
};

Rows rows_under(const Strip& s, std::int64_t v) {
  Rows rows;
  rows.radius = s.radius;
  unsigned blocks[kMaxRows];
  int slot = s.slot(v - s.radius);
  for (int k = 0; k < s.slots; ++k) {
    rows.kept[k] = s.ring + static_cast<std::int64_t>(slot) * (kKept * kStrip), blocks[k] = s.whole[slot];
    if (++slot == s.slots) slot = 0;
  }
  unsigned shared = ~0u;
  for (int k = s.outputs - 1; k <= 2 * s.radius; ++k) shared &= blocks[k];
  for (int o = 0; o < s.outputs; ++o) {
    rows.whole[o] = shared;
    for (int k = o; k < s.outputs - 1; ++k) rows.whole[o] &= blocks[k];
    for (int k = 2 * s.radius + 1; k <= o + 2 * s.radius; ++k) rows.whole[o] &= blocks[k];
  }
  return rows;
}

using Strip4 = float[kRowsAtOnce][kStrip];  // of the outputs of a group

// All sums of a group of outputs.
struct Sums {
  Strip4 d, id, jd, dd;
  Strip4 n, i, j, ii, ij, jj;
};

enum Order { kPlain = 0, kFirst = 1, kSecond = 2 };

// Sums one kept quantity down the windows of four rows that follow each other, and its products with j and with j^2:
// what the windows share is summed once. j counts from each output's own row.
template <int Highest>
FS_HD void sum_down(const Rows& rows, int what, int u, Strip4& sum, Strip4& first, Strip4& second) {
  const int r = rows.radius, last = 2 * r;
  Lanes s{}, m{}, mm{}, edge[6];
  float w = static_cast<float>(3 - r);
  for (int k = 3; k <= last; ++k, w += 1) {
    const Lanes x = rows.get(k, what, u);
    s += x;
    if constexpr (Highest >= kFirst) m += w * x;
    if constexpr (Highest >= kSecond) mm += w * w * x;
  }
  for (int e = 0; e < 6; ++e) edge[e] = rows.get(e < 3 ? e : last - 2 + e, what, u);
  for (int o = 0; o < kRowsAtOnce; ++o) {
    Lanes so = s, mo = m, mmo = mm;
    for (int e = o; e < o + 3; ++e) {
      const float away = static_cast<float>(e < 3 ? e - r : r - 2 + e);
      so += edge[e];
      if constexpr (Highest >= kFirst) mo += away * edge[e];
      if constexpr (Highest >= kSecond) mmo += away * away * edge[e];
    }
    const float shift = static_cast<float>(o);
    put(sum[o] + u, so);
    if constexpr (Highest >= kFirst) put(first[o] + u, mo - shift * so);
    if constexpr (Highest >= kSecond) put(second[o] + u, mmo - 2 * shift * mo + shift * shift * so);
  }
}

// The sums of the blocks up to `pixels`; the places' only where some window has a hole.
FS_HD void sum_group(const Rows& rows, bool squares, unsigned whole, int pixels, Sums& s) {
  for (int u = 0; u < pixels; u += kLanes) {
    sum_down<kFirst>(rows, kSum, u, s.d, s.jd, s.jd);
    sum_down<kPlain>(rows, kMoment, u, s.id, s.id, s.id);
    if (squares) sum_down<kPlain>(rows, kSquare, u, s.dd, s.dd, s.dd);
    if (whole >> (u / kLanes) & 1u) continue;
    sum_down<kSecond>(rows, kCount, u, s.n, s.j, s.jj);
    sum_down<kFirst>(rows, kCountI, u, s.i, s.ij, s.ij);
    sum_down<kPlain>(rows, kCountII, u, s.ii, s.ii, s.ii);
  }
}

// The same for a single row, which shares nothing with the next when rows are skipped.
FS_HD void sum_places(const Rows& rows, int u, Sums& s) {
  Lanes n{}, i{}, j{}, ii{}, ij{}, jj{};
  float w = static_cast<float>(-rows.radius);
  for (int k = 0; k <= 2 * rows.radius; ++k, w += 1) {
    const Lanes n0 = rows.get(k, kCount, u), n1 = rows.get(k, kCountI, u), weighted = w * n0;
    n += n0, j += weighted, jj += w * weighted, i += n1, ij += w * n1, ii += rows.get(k, kCountII, u);
  }
  put(s.n[0] + u, n), put(s.i[0] + u, i), put(s.j[0] + u, j);
  put(s.ii[0] + u, ii), put(s.ij[0] + u, ij), put(s.jj[0] + u, jj);
}

FS_HD void sum_single(const Rows& rows, unsigned whole, int pixels, Sums& s) {
  for (int u = 0; u < pixels; u += kLanes) {
    Lanes d{}, id{}, jd{}, dd{};
    float w = static_cast<float>(-rows.radius);
    for (int k = 0; k <= 2 * rows.radius; ++k, w += 1) {
      const Lanes sum = rows.get(k, kSum, u);
      d += sum, jd += w * sum, id += rows.get(k, kMoment, u), dd += rows.get(k, kSquare, u);
    }
    put(s.d[0] + u, d), put(s.id[0] + u, id), put(s.jd[0] + u, jd), put(s.dd[0] + u, dd);
    if (!(whole >> (u / kLanes) & 1u)) sum_places(rows, u, s);
  }
}

// One row of normals: where its sums, its inverse depths and its normals lie, and its place in the image.
struct Output {
  const Sums& sums;
  int o;
  const float* centre;
  float v;
  float *x, *y, *z;
};

// What does not change along a row, apart from the memory that is written.
struct Solver {
  Pinhole camera;
  Fit fit;
  float left, stride, v;

  FS_HD float u(int l) const { return left + stride * static_cast<float>(l); }
};

FS_HD Solver solver_of(const Output& at, const RowPlan& plan) {
  return {plan.camera, plan.fit, static_cast<float>(plan.left), static_cast<float>(plan.stride), at.v};
}

template <bool Squares>
FS_HD void solve_whole(const Output& at, const RowPlan& plan, int from, int to) {
  const WholeWindow window = whole_window(plan.fit.radius);
  const Solver s = solver_of(at, plan);
  const float *const d = at.sums.d[at.o], *const id = at.sums.id[at.o], *const jd = at.sums.jd[at.o],
                     *const dd = at.sums.dd[at.o];
  float *const x = at.x, *const y = at.y, *const z = at.z;
#pragma GCC ivdep
  for (int l = from; l < to; ++l) {
    const Vec3f normal =
        plane_normal<Squares>(window, d[l], id[l], jd[l], Squares ? dd[l] : 0.f, s.camera, s.fit, s.u(l), s.v);
    x[l] = normal.x, y[l] = normal.y, z[l] = normal.z;
  }
}

template <bool Squares>
FS_HD void solve_holed(const Output& at, const RowPlan& plan, int from, int to) {
  const Sums& sums = at.sums;
  const Solver s = solver_of(at, plan);
  const int o = at.o;
  const float* const centre = at.centre;
  float *const x = at.x, *const y = at.y, *const z = at.z;
#pragma GCC ivdep
  for (int l = from; l < to; ++l) {
    const PlanePlaces places = plane_places(sums.n[o][l], sums.i[o][l], sums.j[o][l], sums.ii[o][l], sums.ij[o][l],
                                            sums.jj[o][l], s.fit.smallest);
    const Vec3f normal =
        plane_normal<Squares>(places, sums.d[o][l], sums.id[o][l], sums.jd[o][l], Squares ? sums.dd[o][l] : 0.f, 0,
                              s.camera, s.fit, s.u(l), s.v, centre[l] > 0);
    x[l] = normal.x, y[l] = normal.y, z[l] = normal.z;
  }
}

// Solves runs of blocks that are alike, `whole` telling which have no hole.
template <bool Squares>
FS_HD void solve_row(const Output& at, const RowPlan& plan, unsigned whole, int pixels) {
  for (int from = 0, to = 0; from < pixels; from = to) {
    const unsigned kind = whole >> (from / kLanes) & 1u;
    while (to < pixels && (whole >> (to / kLanes) & 1u) == kind) to += kLanes;
    if (kind)
      solve_whole<Squares>(at, plan, from, std::min(to, pixels));
    else
      solve_holed<Squares>(at, plan, from, std::min(to, pixels));
  }
}

// `outputs` rows of normals from row v on, `pitch` floats apart.
FS_CLONES void solve_rows(const Rows& rows, const RowPlan& plan, std::int64_t v, int outputs, int pixels,
                          float* const (&out)[3], std::int64_t pitch) {
  const bool squares = plan.fit.max_residual < std::numeric_limits<float>::infinity();
  unsigned whole = ~0u;
  for (int o = 0; o < outputs; ++o) whole &= rows.whole[o];
  Sums sums;
  if (plan.stride > 1)
    sum_single(rows, whole, pixels, sums);
  else
    sum_group(rows, squares, whole, pixels, sums);
  for (int o = 0; o < outputs; ++o) {
    const float* const centre = rows.kept[o + rows.radius] + kCentre * kStrip;
    const std::int64_t at = o * pitch;
    const Output output{sums, o, centre, static_cast<float>(v + o), out[0] + at, out[1] + at, out[2] + at};
    if (squares)
      solve_row<true>(output, plan, rows.whole[o], pixels);
    else
      solve_row<false>(output, plan, rows.whole[o], pixels);
  }
}

}  // namespace

std::int64_t plane_rows_scratch(int radius) {
  std::int64_t most = 0;
  for (int stride = 1; stride <= kMaxStride; ++stride) most = std::max(most, floats_of(radius, stride));
  return most;
}

void plane_rows(const RowPlan& plan, std::int64_t v, float* scratch, float* const (&out)[3], std::int64_t pitch) {
  const int radius = plan.fit.radius;
  const Strip s = cut(scratch, radius, plan.stride);
  if (v == plan.first) std::fill_n(scratch, floats_of(radius, plan.stride), 0.f);
  const std::int64_t step = static_cast<std::int64_t>(s.outputs) * plan.stride, bottom = v + (s.slots - radius);
  const std::int64_t top = v == plan.first ? v - radius : std::max(v - radius, bottom - step);
  int slot = s.slot(top);
  for (std::int64_t r = top; r < bottom; ++r) {
    enter(s, plan, r, slot);
    if (++slot == s.slots) slot = 0;
  }
  const int outputs = static_cast<int>(std::min<std::int64_t>(s.outputs, plan.depth.height - v));
  const std::int64_t pixels = (plan.right - plan.left + plan.stride - 1) / plan.stride;
  solve_rows(rows_under(s, v), plan, v, outputs, static_cast<int>(pixels), out, pitch);
}

}  // namespace fs
