// What Python may call of gated_conv; a part of bindings.cpp.
#pragma once

#include "bindings.h"
#include "gated_conv.h"
#if defined(FS_CUDA) || defined(FS_EMULATOR)
#include "gated_conv_columns.h"
#endif

namespace bind {

inline fs::Branches branches(const py::tuple& dilations) {
  fs::require(dilations.size() >= 1 && dilations.size() <= fs::kMaxBranches, "there are 1 to 16 branches");
  fs::Branches out{static_cast<int>(dilations.size()), {}};
  for (int k = 0; k < out.count; ++k) out.dilation[k] = dilations[static_cast<std::size_t>(k)].cast<int>();
  return out;
}

template <class T>
fs::Epilogue<T> epilogue(const py::dict& of) {
  return {optional<const T, 2>(of["scale"], "scale"), optional<const T, 2>(of["shift"], "shift"),
          of["relu"].cast<bool>()};
}

#if !defined(FS_CUDA) && !defined(FS_EMULATOR)
template <class T>
fs::GatedConv<T> gated_conv_of(const py::dict& of) {
  return {view<const T, 4>(of["x"], "x"),
          view<const T, 5>(of["weight"], "weight"),
          optional<const T, 4>(of["gate"], "gate"),
          optional<const std::uint8_t, 3>(of["chosen"], "chosen"),
          branches(of["dilations"]),
          epilogue<T>(of),
          of["channels_last"].cast<bool>(),
          optional<T, 4>(of["y"], "y"),
          optional<const T, 4>(of["dy"], "dy"),
          optional<T, 4>(of["dx"], "dx"),
          optional<T, 5>(of["dweight"], "dweight"),
          optional<T, 4>(of["dgate"], "dgate"),
          view<double, 2>(of["scratch"], "scratch"),
          of["workers"].cast<std::int64_t>()};
}

template <class T>
void bind_gated_rows(py::module_& m, const std::string& type) {
  m.def(("gated_conv_" + type).c_str(),
        [](const py::dict& of) { call<fs::GatedConv<T>>(fs::gated_conv<T>, gated_conv_of<T>(of), 0); });
  m.def(("gated_conv_backward_" + type).c_str(),
        [](const py::dict& of) { call<fs::GatedConv<T>>(fs::gated_conv_backward<T>, gated_conv_of<T>(of), 0); });
  m.def(("gated_conv_scratch_" + type).c_str(),
        [](const py::tuple& shape, bool channels_last, bool backward, std::int64_t workers) {
          std::int64_t n[5];
          for (std::size_t i = 0; i < 5; ++i) n[i] = shape[i].cast<std::int64_t>();
          return fs::gated_conv_scratch<T>(n, channels_last, backward, workers);
        });
}
#endif

#if defined(FS_CUDA) || defined(FS_EMULATOR)
inline fs::Pixels pixels(const py::dict& of) {
  const auto image = of["image"].cast<py::tuple>();
  return {optional<const std::int64_t, 1>(of["order"], "order"),
          of["first"].cast<std::int64_t>(),
          of["count"].cast<std::int64_t>(),
          optional<const std::uint8_t, 3>(of["own"], "own"),
          of["branch"].cast<int>(),
          branches(of["dilations"]),
          {image[0].cast<std::int64_t>(), image[1].cast<std::int64_t>()}};
}

template <class T>
void gated_combine(const py::dict& of, const py::dict& with, std::uintptr_t handle) {
  using W = fs::Wide<T>;
  call<fs::Combine<T>>(fs::gated_conv_combine<T>,
                       {pixels(of), view<const T, 2>(with["product"], "product"),
                        optional<const W, 4>(of["gate"], "gate"), epilogue<W>(of), with["begin"].cast<bool>(),
                        with["end"].cast<bool>(), optional<W, 2>(with["total"], "total"), view<T, 4>(with["y"], "y")},
                       handle);
}

template <class T>
void gated_gradient(const py::dict& of, const py::dict& with, std::uintptr_t handle) {
  using W = fs::Wide<T>;
  call<fs::BranchGradient<T>>(
      fs::gated_conv_gradient<T>,
      {pixels(of), view<const T, 4>(with["dy"], "dy"), optional<const T, 2>(with["product"], "product"),
       optional<const W, 4>(of["gate"], "gate"), epilogue<W>(of), view<T, 2>(with["u"], "u"),
       view<T, 2>(with["gated"], "gated"), view<W, 1>(with["shifted"], "shifted")},
      handle);
}

template <class T>
void gated_scatter(const py::dict& of, const py::dict& with, std::uintptr_t handle) {
  using W = fs::Wide<T>;
  call<fs::Scatter<T>>(
      fs::gated_conv_scatter<T>,
      {pixels(of), optional<const std::int64_t, 1>(with["where"], "where"),
       view<const T, 2>(with["dcolumns"], "dcolumns"), optional<const W, 4>(of["gate"], "gate"),
       view<W, 4>(with["dx"], "dx"), with["from"].cast<std::int64_t>(), with["to"].cast<std::int64_t>()},
      handle);
}

template <class T>
void gated_gate_gradient(const py::dict& of, const py::dict& with, std::uintptr_t handle) {
  using W = fs::Wide<T>;
  call<fs::GateGradient<T>>(
      fs::gated_conv_gate_gradient<T>,
      {pixels(of), view<const T, 2>(with["dcolumns"], "dcolumns"), view<const T, 2>(with["columns"], "columns"),
       view<const W, 1>(with["shifted"], "shifted"), view<W, 4>(with["dgate"], "dgate")},
      handle);
}

template <class T>
void bind_gated_columns(py::module_& m, const std::string& type) {
  m.def(("gated_conv_combine_" + type).c_str(), &gated_combine<T>);
  m.def(("gated_conv_gradient_" + type).c_str(), &gated_gradient<T>);
  m.def(("gated_conv_scatter_" + type).c_str(), &gated_scatter<T>);
  m.def(("gated_conv_gate_gradient_" + type).c_str(), &gated_gate_gradient<T>);
}

inline void gated_gather(const py::dict& of, const py::object& x, const py::object& columns, std::uintptr_t handle) {
  const fs::Array from = array(x), to = array(columns);
  check_place(from, "x");
  check_place(to, "columns");
  fs::require(from.dtype == to.dtype, "columns must have x's dtype");
  call<fs::Gather>(fs::gated_conv_gather, {pixels(of), from, to}, handle);
}

inline void gated_sort(const py::object& chosen, const py::object& order, const py::object& where,
                       const py::object& starts, const py::object& counts, std::uintptr_t handle) {
  call<fs::Sort>(fs::gated_conv_sort,
                 {view<const std::uint8_t, 3>(chosen, "chosen"), view<std::int64_t, 1>(order, "order"),
                  view<std::int64_t, 1>(where, "where"), view<std::int64_t, 1>(starts, "starts"),
                  view<std::int64_t, 2>(counts, "counts")},
                 handle);
}
#endif

template <class T>
fs::GatedPool<T> gated_pool_of(const py::dict& of) {
  return {view<const T, 4>(of["x"], "x"),
          optional<const fs::Wide<T>, 4>(of["gate"], "gate"),
          optional<const std::uint8_t, 3>(of["chosen"], "chosen"),
          branches(of["dilations"]),
          of["maximum"].cast<bool>(),
          optional<T, 4>(of["y"], "y"),
          optional<const T, 4>(of["dy"], "dy"),
          optional<T, 4>(of["dx"], "dx"),
          optional<fs::Wide<T>, 4>(of["dgate"], "dgate"),
          optional<double, 2>(of["scratch"], "scratch"),
          of["workers"].cast<std::int64_t>()};
}

template <class T>
void bind_gated_pool(py::module_& m, const std::string& type) {
  m.def(("gated_pool_" + type).c_str(), [](const py::dict& of, std::uintptr_t handle) {
    call<fs::GatedPool<T>>(fs::gated_pool<T>, gated_pool_of<T>(of), handle);
  });
  m.def(("gated_pool_backward_" + type).c_str(), [](const py::dict& of, std::uintptr_t handle) {
    call<fs::GatedPool<T>>(fs::gated_pool_backward<T>, gated_pool_of<T>(of), handle);
  });
  m.def(("gated_pool_scratch_" + type).c_str(),
        [](const py::tuple& shape, const py::tuple& dilations, bool backward, std::int64_t workers) {
          std::int64_t n[4];
          for (std::size_t i = 0; i < 4; ++i) n[i] = shape[i].cast<std::int64_t>();
          return fs::gated_pool_scratch<T>(n, branches(dilations), backward, workers);
        });
}

inline void bind_gated_conv(py::module_& m) {
  m.def("gated_conv_choose", [](const py::object& gate, int count, const py::object& chosen, std::uintptr_t handle) {
    const fs::Array given = array(gate);
    check_place(given, "gate");
    call<fs::Choose>(fs::gated_conv_choose, {given, count, view<std::uint8_t, 3>(chosen, "chosen")}, handle);
  });
  bind_gated_pool<float>(m, "float32");
  bind_gated_pool<double>(m, "float64");
#if defined(FS_CUDA) || defined(FS_EMULATOR)
  bind_gated_pool<fs::Half>(m, "float16");
  bind_gated_pool<fs::BFloat>(m, "bfloat16");
  bind_gated_columns<float>(m, "float32");
  bind_gated_columns<double>(m, "float64");
  bind_gated_columns<fs::Half>(m, "float16");
  bind_gated_columns<fs::BFloat>(m, "bfloat16");
  m.def("gated_conv_gather", &gated_gather);
  m.def("gated_conv_sort", &gated_sort);
#else
  bind_gated_rows<float>(m, "float32");
  bind_gated_rows<double>(m, "float64");
#endif
}

}  // namespace bind
