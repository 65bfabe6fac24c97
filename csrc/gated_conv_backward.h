// The CPU's gradients of gated_conv, a pass at a time. With v = scale conv + shift and live = relu ? v > 0 : 1:
//   u      = live scale dy, the gradient of the convolution but for the gate
//   dx     = sum over taps of gate u W^T, added where the tap reads
//   dgate  = sum over taps of (u W^T) . x, and live shift . dy
//   dW     = sum over pixels of x^T (gate u) for each tap
// Every sum has one order, whatever the number of threads.
#pragma once

#include "gated_conv_plan.h"

namespace fs::rows {

template <class T>
struct Gradient {
  const GatedConv<T>& a;
  const Sizes s;
  const Memory<T> m;
  const T *x, *dy;  // rows
  T* dx;            // rows
};

// u of one pixel, from its convolution's sums (not read without a ReLU); returns live shift . dy.
template <class T>
T branch_gradient(const Epilogue<T>& e, std::int64_t channels, int k, const T* sums, const T* dy, T* u) {
  T shifted = 0;
  for (std::int64_t c = 0; c < channels; ++c) {
    const T scale = scale_of(e, k, c), shift = shift_of(e, k, c);
    const bool live = !e.relu || scale * sums[c] + shift > 0;
    u[c] = live ? scale * dy[c] : T(0);
    shifted += live ? shift * dy[c] : T(0);
  }
  return shifted;
}

template <class T>
void find_u(const Gradient<T>& g, const Pass& pass) {
  const GatedConv<T>& a = g.a;
  const std::int64_t step = sum_step<T>(g.s.outputs);
  if (a.epilogue.relu)
    pack(a.weight.data + pass.weights * g.s.outputs * g.s.inputs * kTaps, g.s.outputs, g.s.inputs, false, g.m.packed,
         a.workers);
  for_each_block(pass, a.workers, [&](std::int64_t first, std::int64_t last, std::int64_t worker) {
    T* const sums = g.m.sums + worker * worker_sums<T>(g.s);
    if (a.epilogue.relu) convolve(a, g.s, pass, first, last, g.x, g.m.packed, sums);
    for (std::int64_t i = first; i < last; ++i) {
      const std::int64_t p = pass.pixel(i);
      g.m.part[i] = branch_gradient(a.epilogue, g.s.outputs, branch_of(a, pass, p), sums + (i - first) * step,
                                    g.dy + p * g.s.outputs, g.m.u + i * g.s.outputs);
    }
  });
}

// Adds u W^T of one tap and one panel of input channels to dx, and its product with x to dgate's part.
template <class T>
void spread(const Gradient<T>& g, const Pass& pass, const TapRows<T>& rows, std::int64_t first, std::int64_t panel,
            T* part) {
  const std::int64_t from = panel * kPanel<T>, n = std::min<std::int64_t>(kPanel<T>, g.s.inputs - from);
  for (std::int64_t r = 0; r < rows.count; ++r) {
    const std::int64_t i = first + rows.entry[r], at = rows.pixel[r] * g.s.inputs + from;
    const T gate = gate_of(g.a, pass, g.s.image(), pass.pixel(i));
    const T* const x = part ? g.x + at : nullptr;
    T product = 0;
    if (n == kPanel<T>) {
      product = add_panel(rows.to[r], gate, g.dx + at, x);
    } else {
      for (std::int64_t c = 0; c < n; ++c) g.dx[at + c] += gate * rows.to[r][c];
      for (std::int64_t c = 0; part && c < n; ++c) product += rows.to[r][c] * x[c];
    }
    if (part) part[i] += product;
  }
}

template <class T>
void find_dx(const Gradient<T>& g, const Pass& pass) {
  const std::int64_t panels = padded<T>(g.s.inputs) / kPanel<T>;
  const bool many = many_registers();
  pack(g.a.weight.data + pass.weights * g.s.outputs * g.s.inputs * kTaps, g.s.outputs, g.s.inputs, true, g.m.packed,
       g.a.workers);
  for_each_worker(panels, g.a.workers, [&](std::int64_t panel, std::int64_t worker) {
    T* const part = g.a.dgate.data ? g.m.part + (panel + 1) * g.s.pixels() : nullptr;
    T* const sums = g.m.sums + worker * worker_sums<T>(g.s);
    if (part) std::fill(part, part + pass.count, T(0));
    TapRows<T> rows;
    for_each_block(pass, 1, [&](std::int64_t first, std::int64_t last, std::int64_t) {
      for (int tap = 0; tap < kTaps; ++tap) {
        find_rows(rows, g.a, pass, first, last, tap, g.s.image());
        for (std::int64_t r = 0; r < rows.count; ++r)
          rows.from[r] = g.m.u + (first + rows.entry[r]) * g.s.outputs, rows.to[r] = sums + r * kPanel<T>;
        std::fill(sums, sums + rows.count * kPanel<T>, T(0));
        multiply(rows.from, g.m.packed + (tap * panels + panel) * g.s.outputs * kPanel<T>, rows.to, 0, rows.count,
                 g.s.outputs, many);
        spread(g, pass, rows, first, panel, part);
      }
    });
  });
}

// Adds x^T (gate u) of the rows of one tap to dw (n input channels from `from` on, padded output channels).
template <class T>
void add_outer(const Gradient<T>& g, const Pass& pass, TapRows<T>& rows, std::int64_t first, std::int64_t from,
               std::int64_t n, T* panels, T* dw) {
  const std::int64_t across = padded<T>(g.s.outputs);
  for (std::int64_t r = 0; r < rows.count; ++r) {
    const std::int64_t i = first + rows.entry[r];
    scale_row(g.m.u + i * g.s.outputs, g.s.outputs, gate_of(g.a, pass, g.s.image(), pass.pixel(i)),
              panels + r * kPanel<T>, kBlockRows * kPanel<T>);
    rows.from[r] = g.x + rows.pixel[r] * g.s.inputs + from;
  }
  for (std::int64_t c = 0; c < across; c += kPanel<T>)
    multiply_outer(rows.from, n, panels + c * kBlockRows, dw + c, across, rows.count, many_registers());
}

template <class T>
void find_dweight(const Gradient<T>& g, const Pass& pass) {
  const std::int64_t across = padded<T>(g.s.outputs), chunk = 128;
  const std::int64_t chunks = (g.s.inputs + chunk - 1) / chunk;
  for_each_worker(kTaps * chunks, g.a.workers, [&](std::int64_t unit, std::int64_t worker) {
    const int tap = static_cast<int>(unit / chunks);
    const std::int64_t from = unit % chunks * chunk, n = std::min(chunk, g.s.inputs - from);
    T* const dw = g.m.packed + (tap * g.s.inputs + from) * across;
    std::fill(dw, dw + n * across, T(0));
    TapRows<T> rows;
    for_each_block(pass, 1, [&](std::int64_t first, std::int64_t last, std::int64_t) {
      find_rows(rows, g.a, pass, first, last, tap, g.s.image());
      if (rows.count) add_outer(g, pass, rows, first, from, n, g.m.sums + worker * worker_sums<T>(g.s), dw);
    });
  });
  T* const out = g.a.dweight.data + pass.weights * g.s.outputs * g.s.inputs * kTaps;
  for_each_worker(g.s.outputs, g.a.workers, [&](std::int64_t o, std::int64_t) {
    for (std::int64_t i = 0; i < g.s.inputs; ++i)
      for (int tap = 0; tap < kTaps; ++tap)
        out[(o * g.s.inputs + i) * kTaps + tap] += g.m.packed[(tap * g.s.inputs + i) * across + o];
  });
}

template <class T>
void find_dgate(const Gradient<T>& g, const Pass& pass) {
  const std::int64_t parts = padded<T>(g.s.inputs) / kPanel<T> + 1;
  for (std::int64_t i = 0; i < pass.count; ++i) {
    T sum = 0;
    for (std::int64_t part = 0; part < parts; ++part) sum += g.m.part[part * g.s.pixels() + i];
    g.a.dgate.data[gate_at(pass.pixel(i), pass.branch, g.a.branches.count, g.s.image())] = sum;
  }
}

template <class T>
void backward(const GatedConv<T>& a) {
  const Sizes s = sizes_of(a);
  const Memory<T> m = memory<T>(aligned(a.scratch.data), s, a.channels_last, true, a.workers);
  const Gradient<T> g{a,
                      s,
                      m,
                      a.channels_last ? a.x.data : m.x,
                      a.channels_last ? a.dy.data : m.dy,
                      a.channels_last ? a.dx.data : m.dx};
  if (!a.channels_last) to_rows(a.x.data, m.x, s, s.inputs, a.workers);
  if (!a.channels_last) to_rows(a.dy.data, m.dy, s, s.outputs, a.workers);
  require(a.dx.data || !a.dgate.data, "dgate is found on the way to dx");
  if (a.dx.data) std::fill(g.dx, g.dx + s.pixels() * s.inputs, T(0));
  if (a.dweight.data) std::fill(a.dweight.data, a.dweight.data + a.dweight.size(), T(0));
  if (!a.gate.data) sort_by_branch(a, m);
  for_each_pass(a, m, [&](const Pass& pass) {
    find_u(g, pass);
    if (a.dx.data) find_dx(g, pass);
    if (a.dgate.data) find_dgate(g, pass);
    if (a.dweight.data) find_dweight(g, pass);
  });
  if (a.dx.data && !a.channels_last) to_planes(m.dx, a.dx.data, s, s.inputs, a.workers);
}

}  // namespace fs::rows
