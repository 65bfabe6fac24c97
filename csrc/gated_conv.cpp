#include "gated_conv.h"

#include <algorithm>

#include "gated_conv_backward.h"
#include "gated_conv_plan.h"
#include "gated_conv_pool_backward.h"

namespace fs {
namespace {

template <class G>
void choose(const Choose& a, const G* gate) {
  const Image image{a.chosen.shape[1], a.chosen.shape[2]};
  for_each(a.chosen.size(), {}, [=](std::int64_t p) {
    if constexpr (std::is_integral_v<G>) {
      const auto k = static_cast<std::int64_t>(gate[p]);
      a.chosen.data[p] = k >= 0 && k < a.branches ? static_cast<std::uint8_t>(k) : kNoBranch;
    } else {
      a.chosen.data[p] = largest(gate, p, a.branches, image);
    }
  });
}

}  // namespace

void gated_conv_choose(const Choose& a, Stream) {
  switch (a.gate.dtype) {
    case DType::kFloat32:
      return choose(a, static_cast<const float*>(a.gate.data));
    case DType::kFloat64:
      return choose(a, static_cast<const double*>(a.gate.data));
    case DType::kUint8:
      return choose(a, static_cast<const std::uint8_t*>(a.gate.data));
    default:
      return choose(a, static_cast<const std::int64_t*>(a.gate.data));
  }
}

namespace rows {
namespace {

// Epilogue and gate on the sums of one pixel, in place.
template <class T>
void finish(T* sums, const Epilogue<T>& e, std::int64_t channels, int k, T gate) {
  for (std::int64_t c = 0; c < channels; ++c)
    sums[c] = gate * finished(sums[c], scale_of(e, k, c), shift_of(e, k, c), e.relu);
}

// Sets y, or adds to it, at the pixels of a block: `part` of the output channels, from the channel `from` on.
template <class T>
void write(const GatedConv<T>& a, const Sizes& part, std::int64_t from, const Pass& pass, std::int64_t first,
           std::int64_t last, const T* sums, bool add) {
  const std::int64_t step = sum_step<T>(part.outputs), n = last - first, size = part.height * part.width;
  const std::int64_t outputs = a.weight.shape[1];
  if (a.channels_last) {
    for (std::int64_t i = 0; i < n; ++i) {
      T* const y = a.y.data + pass.pixel(first + i) * outputs + from;
      for (std::int64_t c = 0; c < part.outputs; ++c) y[c] = sums[i * step + c] + (add ? y[c] : T(0));
    }
    return;
  }
  for (std::int64_t i = 0, end = 1; i < n; i = end++) {  // pixels side by side in one image go together
    const std::int64_t p = pass.pixel(first + i);
    while (end < n && pass.pixel(first + end) == p + end - i && p / size == (p + end - i) / size) ++end;
    T* const y = a.y.data + (p / size * outputs + from) * size + p % size;
    if (add)
      transpose<true>(sums + i * step, step, y, size, part.outputs, end - i);
    else
      transpose(sums + i * step, step, y, size, part.outputs, end - i);
  }
}

// One pass over its pixels for `part` of the output channels, from the channel `from` on.
template <class T>
void make(const GatedConv<T>& a, const Sizes& part, std::int64_t from, const Pass& pass, const Memory<T>& m,
          const T* x) {
  Epilogue<T> epilogue = a.epilogue;
  if (epilogue.scale.data) epilogue.scale.data += from;
  if (epilogue.shift.data) epilogue.shift.data += from;
  const T* const weight = a.weight.data + (pass.weights * a.weight.shape[1] + from) * part.inputs * kTaps;
  pack(weight, part.outputs, part.inputs, false, m.packed, a.workers);
  for_each_block(pass, a.workers, [&](std::int64_t first, std::int64_t last, std::int64_t worker) {
    T* const sums = m.sums + worker * worker_sums<T>(part);
    convolve(a, part, pass, first, last, x, m.packed, sums);
    for (std::int64_t i = first; i < last; ++i) {
      const std::int64_t p = pass.pixel(i);
      finish(sums + (i - first) * sum_step<T>(part.outputs), epilogue, part.outputs, branch_of(a, pass, p),
             gate_of(a, pass, part.image(), p));
    }
    write(a, part, from, pass, first, last, sums, pass.branch > 0 && a.gate.data);
  });
}

template <class T>
void forward(const GatedConv<T>& a) {
  const Sizes s = sizes_of(a);
  const Memory<T> m = memory<T>(aligned(a.scratch.data), s, a.channels_last, false, a.workers);
  if (!a.channels_last) to_rows(a.x.data, m.x, s, s.inputs, a.workers);
  if (!a.gate.data) sort_by_branch(a, m);
  if (!a.gate.data && m.starts[kMaxBranches] < s.pixels()) std::fill(a.y.data, a.y.data + a.y.size(), T(0));
  for_each_pass(a, m, [&](const Pass& pass) {
    Sizes part = s;
    for (std::int64_t from = 0; from < s.outputs; from += kOutputs) {
      part.outputs = std::min(kOutputs, s.outputs - from);
      make(a, part, from, pass, m, a.channels_last ? a.x.data : m.x);
    }
  });
}

}  // namespace
}  // namespace rows

template <class T>
void gated_conv(const GatedConv<T>& a, Stream) {
  rows::forward(a);
}
template <class T>
void gated_conv_backward(const GatedConv<T>& a, Stream) {
  rows::backward(a);
}
template <class T>
std::int64_t gated_conv_scratch(const std::int64_t (&n)[5], bool channels_last, bool backward, std::int64_t workers) {
  const rows::Sizes s{n[0], n[1], n[2], n[3], n[4]};
  return rows::memory<T>(nullptr, s, channels_last, backward, workers).bytes /
             static_cast<std::int64_t>(sizeof(double)) +
         rows::kBytes;
}
template <class T>
void gated_pool(const GatedPool<T>& a, Stream) {
  pool::forward(a);
}
template <class T>
void gated_pool_backward(const GatedPool<T>& a, Stream) {
  pool::backward(a);
}
template <class T>
std::int64_t gated_pool_scratch(const std::int64_t (&shape)[4], const Branches& branches, bool backward,
                                std::int64_t workers) {
  const pool::Shape s = pool::shape_of(shape, branches);
  return pool::memory<T>(nullptr, s, branches.count, backward, workers).bytes /
             static_cast<std::int64_t>(sizeof(double)) +
         8;
}
template std::int64_t gated_conv_scratch<float>(const std::int64_t (&)[5], bool, bool, std::int64_t);
template std::int64_t gated_conv_scratch<double>(const std::int64_t (&)[5], bool, bool, std::int64_t);
template void gated_conv<float>(const GatedConv<float>&, Stream);
template void gated_conv<double>(const GatedConv<double>&, Stream);
template void gated_conv_backward<float>(const GatedConv<float>&, Stream);
template void gated_conv_backward<double>(const GatedConv<double>&, Stream);

template void gated_pool<float>(const GatedPool<float>&, Stream);
template void gated_pool<double>(const GatedPool<double>&, Stream);
template void gated_pool_backward<float>(const GatedPool<float>&, Stream);
template void gated_pool_backward<double>(const GatedPool<double>&, Stream);
template std::int64_t gated_pool_scratch<float>(const std::int64_t (&)[4], const Branches&, bool, std::int64_t);
template std::int64_t gated_pool_scratch<double>(const std::int64_t (&)[4], const Branches&, bool, std::int64_t);

}  // namespace fs
