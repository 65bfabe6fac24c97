// What Python may call of photometric; an argument struct crosses as a dict of its fields.
#pragma once

#include "bindings.h"
#include "photometric.h"

namespace bind {

template <class T>
fs::Lookup<T> lookup(const py::dict& a) {
  return {optional<const T, 3>(a["depth"], "depth"),          optional<const T, 2>(a["intrinsics"], "intrinsics"),
          optional<const T, 4>(a["poses"], "poses"),          optional<const T, 5>(a["flow"], "flow"),
          static_cast<fs::Padding>(a["padding"].cast<int>()), a["align_corners"].cast<bool>()};
}

template <class T>
fs::LookupGradient<T> lookup_gradient(const py::dict& out) {
  return {optional<T, 3>(out["depth"], "ddepth"),     optional<T, 2>(out["intrinsics"], "dintrinsics"),
          optional<T, 4>(out["poses"], "dposes"),     optional<T, 5>(out["flow"], "dflow"),
          optional<T, 5>(out["sources"], "dsources"), optional<double, 2>(out["sums"], "sums")};
}

template <class T>
fs::Photometric<T> photometric(const py::dict& a) {
  return {view<const T, 4>(a["target"], "target"),
          view<const T, 5>(a["sources"], "sources"),
          lookup<T>(a),
          static_cast<fs::Ssim>(a["ssim"].cast<int>()),
          a["alpha"].cast<T>(),
          static_cast<fs::Reduce>(a["reduce"].cast<int>()),
          a["automask"].cast<bool>(),
          optional<T, 3>(a["loss"], "loss"),
          view<std::int8_t, 3>(a["choice"], "choice"),
          view<std::uint8_t, 4>(a["valid"], "valid"),
          view<double, 2>(a["scratch"], "scratch")};
}

template <class T>
fs::Warp<T> warp(const py::dict& a) {
  return {view<const T, 5>(a["sources"], "sources"), lookup<T>(a), optional<T, 5>(a["warped"], "warped"),
          optional<std::uint8_t, 4>(a["valid"], "valid"), view<double, 2>(a["scratch"], "scratch")};
}

template <class T>
fs::SsimMap<T> ssim_map(const py::dict& a) {
  return {view<const T, 3>(a["x"], "x"), view<const T, 3>(a["y"], "y"), static_cast<fs::Ssim>(a["ssim"].cast<int>()),
          optional<T, 3>(a["map"], "map"), view<double, 2>(a["scratch"], "scratch")};
}

// Calls f(T{}) with the element type of an argument: float or double.
template <class F>
void with_type_of(const py::object& described, F f) {
  array(described).dtype == fs::DType::kFloat64 ? f(double{}) : f(float{});
}

inline fs::PhotometricSize photometric_size(const py::tuple& t) {
  return {t[0].cast<std::int64_t>(), t[1].cast<std::int64_t>(), t[2].cast<std::int64_t>(),
          t[3].cast<std::int64_t>(), t[4].cast<std::int64_t>(), static_cast<fs::Ssim>(t[5].cast<int>()),
          t[6].cast<int>(),          t[7].cast<bool>()};
}

inline void photometric_functions(py::module_& m) {
  m.def("photometric", [](const py::dict& a, std::uintptr_t handle) {
    with_type_of(a["target"],
                 [&]<class T>(T) { call<fs::Photometric<T>>(fs::photometric, photometric<T>(a), handle); });
  });
  m.def("photometric_gradient",
        [](const py::dict& a, const py::object& dloss, const py::dict& out, std::uintptr_t handle) {
          with_type_of(a["target"], [&]<class T>(T) {
            call<fs::PhotometricGradient<T>>(
                fs::photometric_gradient,
                {photometric<T>(a), view<const T, 3>(dloss, "dloss"), lookup_gradient<T>(out)}, handle);
          });
        });
  m.def("warp", [](const py::dict& a, std::uintptr_t handle) {
    with_type_of(a["sources"], [&]<class T>(T) { call<fs::Warp<T>>(fs::warp, warp<T>(a), handle); });
  });
  m.def("warp_gradient", [](const py::dict& a, const py::object& dwarped, const py::dict& out, std::uintptr_t handle) {
    with_type_of(a["sources"], [&]<class T>(T) {
      call<fs::WarpGradient<T>>(fs::warp_gradient,
                                {warp<T>(a), view<const T, 5>(dwarped, "dwarped"), lookup_gradient<T>(out)}, handle);
    });
  });
  m.def("ssim_map", [](const py::dict& a, std::uintptr_t handle) {
    with_type_of(a["x"], [&]<class T>(T) { call<fs::SsimMap<T>>(fs::ssim_map, ssim_map<T>(a), handle); });
  });
  m.def("ssim_gradient", [](const py::dict& a, const py::object& dmap, const py::object& dx, const py::object& dy,
                            std::uintptr_t handle) {
    with_type_of(a["x"], [&]<class T>(T) {
      call<fs::SsimGradient<T>>(
          fs::ssim_gradient,
          {ssim_map<T>(a), view<const T, 3>(dmap, "dmap"), optional<T, 3>(dx, "dx"), optional<T, 3>(dy, "dy")}, handle);
    });
  });
  m.def("photometric_scratch", [](const py::tuple& size) { return fs::photometric_scratch(photometric_size(size)); });
  m.def("photometric_sums", [](const py::tuple& size) { return fs::photometric_sums(photometric_size(size)); });
}

}  // namespace bind
