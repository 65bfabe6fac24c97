// How Python's arguments become the structs of csrc: the conversions that every binding shares.
#pragma once

#include <pybind11/pybind11.h>

#include <map>
#include <string>

#include "core.h"

#ifdef FS_CUDA
#include <cuda_runtime_api.h>
#endif

namespace py = pybind11;

namespace bind {

inline fs::DType dtype(const std::string& name) {
  static const std::map<std::string, fs::DType> types = {
      {"int8", fs::DType::kInt8},       {"uint8", fs::DType::kUint8},     {"uint16", fs::DType::kUint16},
      {"int32", fs::DType::kInt32},     {"int64", fs::DType::kInt64},     {"float32", fs::DType::kFloat32},
      {"float64", fs::DType::kFloat64}, {"float16", fs::DType::kFloat16}, {"bfloat16", fs::DType::kBFloat16}};
  const auto found = types.find(name);
  fs::require(found != types.end(), "no kernel takes elements of type " + name);
  return found->second;
}

// Where an array's elements lie: an address as it is, or the buffer of an object that has one, which the caller of
// Python holds until the call is over. Null for an array without elements.
inline void* memory(const py::handle& given) {
  if (PyLong_Check(given.ptr())) return reinterpret_cast<void*>(given.cast<std::uintptr_t>());
  Py_buffer buffer;
  if (PyObject_GetBuffer(given.ptr(), &buffer, PyBUF_SIMPLE) != 0) throw py::error_already_set();
  void* const data = buffer.len > 0 ? buffer.buf : nullptr;
  PyBuffer_Release(&buffer);
  return data;
}

// (memory, dtype, on_device, shape) as fastseg/ops/arrays.py describes an array; None is an array without data.
inline fs::Array array(const py::object& described) {
  fs::Array out;
  if (described.is_none()) return out;
  const auto fields = described.cast<py::tuple>();
  fs::require(fields.size() == 4, "an array crosses as (memory, dtype, on_device, shape)");
  const auto shape = fields[3].cast<py::tuple>();
  fs::require(shape.size() <= fs::kMaxRank, "an array has at most 5 axes");
  out.data = memory(fields[0]);
  out.dtype = dtype(fields[1].cast<std::string>());
  out.on_device = fields[2].cast<bool>();
  out.rank = static_cast<int>(shape.size());
  for (int axis = 0; axis < out.rank; ++axis) out.shape[axis] = shape[axis].cast<std::int64_t>();
  return out;
}

inline fs::Stream stream(std::uintptr_t handle) {
  return {reinterpret_cast<void*>(handle)};
}

// The driver's word on where an array lies, because a wrong address on a GPU ends the process's CUDA context.
inline void check_place([[maybe_unused]] const fs::Array& array, [[maybe_unused]] const char* name) {
#ifdef FS_CUDA
  if (array.data == nullptr) return;
  cudaPointerAttributes at{};
  int current = 0;
  const bool known = cudaPointerGetAttributes(&at, array.data) == cudaSuccess && cudaGetDevice(&current) == cudaSuccess;
  fs::require(known && (at.type == cudaMemoryTypeDevice || at.type == cudaMemoryTypeManaged),
              std::string(name) + " must lie on the GPU");
  fs::require(at.device == current, std::string(name) + " lies on GPU " + std::to_string(at.device) +
                                        " but the current device is GPU " + std::to_string(current));
#endif
}

// A struct's view of one argument: its dtype, rank and place are checked again here.
template <class T, int R>
fs::View<T, R> view(const py::object& described, const char* name) {
  const fs::Array checked = array(described);
  check_place(checked, name);
  return fs::view<T, R>(checked, name);
}

// Runs op(arguments, stream) without the GIL.
template <class Arguments>
void call(void (*op)(const Arguments&, fs::Stream), const Arguments& arguments, std::uintptr_t handle) {
  const py::gil_scoped_release without_gil;
  op(arguments, stream(handle));
}

// An argument that may be None: a view without data.
template <class T, int R>
fs::View<T, R> optional(const py::object& described, const char* name) {
  return described.is_none() ? fs::View<T, R>{} : view<T, R>(described, name);
}

}  // namespace bind
