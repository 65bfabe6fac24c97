// A table of contents: what Python may call. Compiled once for each backend, as _cpu, _cuda and _emu.
#include "bindings.h"

#include "decile_rank.h"
#include "gated_conv_bindings.h"
#include "hn_labels.h"
#include "normals.h"
#include "photometric_bindings.h"

#ifdef FS_EMULATOR
#include "emulator.h"
#include "emulator_check.h"
#endif
#ifdef _OPENMP
#include <omp.h>
#endif

namespace {

using namespace bind;

// How many CUDA devices this module can run on: 0 without a driver, and always 0 for _cpu and _emu.
int device_count() {
  int count = 0;
#ifdef FS_CUDA
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
#endif
  return count;
}

py::dict compiled() {
  py::dict facts;
  facts["compiler"] = FS_COMPILER;
#ifdef FS_CUDA
  facts["cuda"] = std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10);
  facts["architectures"] = FS_ARCHITECTURES;
#endif
#ifdef _OPENMP
  facts["threads"] = omp_get_max_threads();
#else
  facts["threads"] = 1;
#endif
  return facts;
}

fs::Pinhole pinhole(const py::tuple& t) {
  return {t[0].cast<float>(), t[1].cast<float>(), t[2].cast<float>(), t[3].cast<float>()};
}

fs::Fit fit(const py::tuple& t) {
  return {static_cast<fs::Estimator>(t[0].cast<int>()),
          t[1].cast<int>(),
          t[2].cast<int>(),
          t[3].cast<float>(),
          t[4].cast<float>(),
          t[5].cast<float>(),
          t[6].cast<float>()};
}

fs::Rules rules(const py::tuple& t) {
  return {static_cast<fs::Gravity>(t[0].cast<int>()),
          t[1].cast<float>(),
          t[2].cast<float>(),
          t[3].cast<int>(),
          t[4].cast<int>(),
          t[5].cast<float>(),
          t[6].cast<float>(),
          t[7].cast<float>(),
          t[8].cast<float>(),
          t[9].cast<float>()};
}

// Depth keeps its own type until the kernel: uint16 or float32, three axes, on this module's side.
fs::Array depth_images(const py::object& described) {
  const fs::Array depth = array(described);
  check_place(depth, "depth");
  if (depth.dtype == fs::DType::kUint16) fs::view<const std::uint16_t, 3>(depth, "depth");
  if (depth.dtype != fs::DType::kUint16) fs::view<const float, 3>(depth, "depth");
  return depth;
}

// hn_labels and hn_labels_given take the same arguments; `prior` is (N, 3) for the one and (N, 4) for the other.
template <void (*Op)(const fs::HnLabels&, fs::Stream)>
void label(const py::object& depth, float scale, const py::tuple& camera, const py::tuple& window,
           const py::tuple& gravity_window, int stride, const py::tuple& thresholds, const py::object& prior,
           const py::object& height_edges, const py::object& normal_cosines, const py::dict& out,
           const py::object& scratch, std::uintptr_t handle) {
  call<fs::HnLabels>(
      Op,
      {depth_images(depth), scale, pinhole(camera), fit(window), fit(gravity_window), stride, rules(thresholds),
       view<const double, 2>(prior, "prior"), view<const float, 1>(height_edges, "height_edges"),
       view<const float, 1>(normal_cosines, "normal_cosines"), optional<float, 4>(out["points"], "points"),
       optional<float, 4>(out["normals"], "normals"), optional<std::uint8_t, 3>(out["label"], "label"),
       view<float, 2>(out["up"], "up"), view<float, 2>(out["figures"], "figures"),
       view<std::int32_t, 1>(out["verdict"], "verdict"), view<std::int32_t, 2>(out["histogram"], "histogram"),
       view<double, 2>(scratch, "scratch")},
      handle);
}

void bind_labels(py::module_& m) {
  m.def("normals",
        [](const py::object& depth, float scale, const py::tuple& camera, const py::tuple& window, int stride,
           const py::object& points, const py::object& normals, const py::object& scratch, std::uintptr_t handle) {
          call<fs::Normals>(
              fs::normals,
              {depth_images(depth), scale, pinhole(camera), fit(window), stride, optional<float, 4>(points, "points"),
               optional<float, 4>(normals, "normals"), optional<double, 2>(scratch, "scratch")},
              handle);
        });
  m.def("hn_labels", &label<fs::hn_labels>);
  m.def("hn_labels_given", &label<fs::hn_labels_given>);
  m.def("normals_scratch", &fs::normals_scratch);
  m.def("hn_labels_scratch", &fs::hn_labels_scratch);
}

void bind_decile_rank(py::module_& m) {
  m.def("decile_rank", [](const py::object& scores, const py::object& deciles, const py::object& verdict,
                          const py::object& scratch, std::uintptr_t handle) {
    call<fs::DecileRank>(fs::decile_rank,
                         {view<const float, 2>(scores, "scores"), view<std::uint8_t, 2>(deciles, "deciles"),
                          view<std::int32_t, 1>(verdict, "verdict"), view<double, 2>(scratch, "scratch")},
                         handle);
  });
  m.def("ensemble_deciles",
        [](const py::object& maps, const py::object& bounds, const py::object& mean, const py::object& deciles,
           const py::object& verdict, const py::object& scratch, std::uintptr_t handle) {
          call<fs::EnsembleDeciles>(
              fs::ensemble_deciles,
              {view<const float, 3>(maps, "maps"), view<float, 3>(bounds, "bounds"), view<float, 2>(mean, "mean"),
               fs::DecileRank{view<const float, 2>(mean, "mean"), view<std::uint8_t, 2>(deciles, "deciles"),
                              view<std::int32_t, 1>(verdict, "verdict"), view<double, 2>(scratch, "scratch")}},
              handle);
        });
  m.def("decile_rank_scratch", &fs::decile_rank_scratch);
}

#ifdef FS_EMULATOR
void set_schedule(const std::string& name, std::uint64_t seed) {
  static const std::map<std::string, fs::emu::Order> orders = {{"forward", fs::emu::Order::kForward},
                                                               {"reverse", fs::emu::Order::kReverse},
                                                               {"random", fs::emu::Order::kRandom}};
  fs::require(orders.contains(name), "a schedule is forward, reverse or random; got " + name);
  fs::emu::schedule = {orders.at(name), seed};
}

template <void (*Check)(const fs::EmulatorCheck&, fs::Stream)>
void check(const py::object& x, const py::object& sum) {
  call<fs::EmulatorCheck>(Check, {view<const float, 1>(x, "x"), view<float, 1>(sum, "sum")}, 0);
}

void check_linear_algebra(const py::object& m, const py::object& value, const py::object& vector,
                          const py::object& smallest, const py::object& rotation) {
  call<fs::LinearAlgebraCheck>(
      fs::check_linear_algebra,
      {view<const float, 3>(m, "m"), view<float, 2>(value, "value"), view<float, 3>(vector, "vector"),
       view<float, 2>(smallest, "smallest"), view<float, 3>(rotation, "rotation")},
      0);
}

void check_far_index(const py::object& x, const py::object& at) {
  call<fs::FarIndexCheck>(fs::check_far_index, {view<std::uint8_t, 3>(x, "x"), view<const std::int64_t, 2>(at, "at")},
                          0);
}

void bind_emulator(py::module_& m) {
  m.def("check_far_index", &check_far_index);
  m.def("check_linear_algebra", &check_linear_algebra);
  m.def("set_schedule", &set_schedule, py::arg("name"), py::arg("seed") = 0);
  m.def("check_block_sum", &check<fs::check_block_sum>);
  m.def("check_warp_sum", &check<fs::check_warp_sum>);
  m.def("check_missing_barrier", &check<fs::check_missing_barrier>);
  m.def("check_tile_overrun", &check<fs::check_tile_overrun>);
  m.def("check_divergent_barrier", &check<fs::check_divergent_barrier>);
  m.def("check_divergent_warp", &check<fs::check_divergent_warp>);
  m.def("check_array_overrun", &check<fs::check_array_overrun>);
  m.def("check_index", &check<fs::check_index>);
}
#endif

}  // namespace

PYBIND11_MODULE(FS_MODULE, m) {
  m.attr("backend_name") = FS_BACKEND;
  m.def("device_count", &device_count);
  m.def("compiled", &compiled);
  bind_labels(m);
  bind_decile_rank(m);
  bind::photometric_functions(m);
  bind_gated_conv(m);
#ifdef FS_EMULATOR
  bind_emulator(m);
#endif
}
