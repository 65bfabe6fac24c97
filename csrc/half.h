// float16 and bfloat16 without a compiler's own types, the same in both compilers.
#pragma once

#include "core.h"

namespace fs {

// Half types are stored as their bits and computed as float.
struct Half {
  std::uint16_t bits;
};
struct BFloat {
  std::uint16_t bits;
};
template <>
constexpr DType dtype_of<Half>() {
  return DType::kFloat16;
}
template <>
constexpr DType dtype_of<const Half>() {
  return DType::kFloat16;
}
template <>
constexpr DType dtype_of<BFloat>() {
  return DType::kBFloat16;
}
template <>
constexpr DType dtype_of<const BFloat>() {
  return DType::kBFloat16;
}
template <class T>
struct Widened {
  using type = T;
};
template <>
struct Widened<Half> {
  using type = float;
};
template <>
struct Widened<BFloat> {
  using type = float;
};
template <class T>
using Wide = typename Widened<T>::type;  // the type of gates, constants and sums beside maps of T

FS_HD float float_of(std::uint32_t bits) {
  float out;
  __builtin_memcpy(&out, &bits, sizeof out);
  return out;
}
FS_HD std::uint32_t bits_of(float value) {
  std::uint32_t out;
  __builtin_memcpy(&out, &value, sizeof out);
  return out;
}

FS_HD float widen(float value) {
  return value;
}
FS_HD double widen(double value) {
  return value;
}
FS_HD float widen(BFloat value) {
  return float_of(static_cast<std::uint32_t>(value.bits) << 16);
}
FS_HD float widen(Half value) {
  const std::uint32_t size = (value.bits & 0x7fffu) << 13, sign = (value.bits & 0x8000u) << 16;
  if (size >= 0x0f800000u) return float_of(sign | 0x70000000u | size);  // inf and NaN
  return float_of(sign | bits_of(float_of(size) * 0x1p112f));
}

template <class T>
FS_HD T narrow(Wide<T> value) {
  return value;
}
template <>
FS_HD BFloat narrow<BFloat>(float value) {
  const std::uint32_t bits = bits_of(value);
  if (value != value) return {static_cast<std::uint16_t>(bits >> 16 | 0x40u)};
  return {static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};  // to nearest, ties to even
}
template <>
FS_HD Half narrow<Half>(float value) {
  const std::uint32_t sign = bits_of(value) >> 16 & 0x8000u, size = bits_of(value) & 0x7fffffffu;
  std::uint32_t out = 0x7e00u;                                                            // NaN
  if (size <= 0x7f800000u) out = 0x7c00u;                                                 // inf
  if (size < 0x477ff000u) out = (size + 0xfffu + (size >> 13 & 1u) - 0x38000000u) >> 13;  // below 65520
  if (size < 0x38800000u) out = bits_of(float_of(size) + 0.5f) - 0x3f000000u;  // denormal: 0.5 has steps of 2^-24
  return {static_cast<std::uint16_t>(sign | out)};
}

}  // namespace fs
