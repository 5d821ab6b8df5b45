#include "core/capture_hdf5/element.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/dtype.h"
#include "core/capture/log_code.h"

namespace headlight::capture::hdf5 {
namespace {

hid_t make_half_type() {
  const hid_t type = H5Tcopy(H5T_IEEE_F32LE);
  H5Tset_fields(type, 15, 10, 5, 0, 10);
  H5Tset_size(type, 2);
  H5Tset_ebias(type, 15);
  return type;
}

template <class T>
void copy_strided(const void* source, std::ptrdiff_t stride, std::size_t count, std::byte* out) {
  const auto* from = static_cast<const T*>(source);
  if (stride == 1) {
    std::memcpy(out, from, count * sizeof(T));
    return;
  }
  for (std::size_t i = 0; i < count; ++i)
    std::memcpy(out + i * sizeof(T), from + static_cast<std::ptrdiff_t>(i) * stride, sizeof(T));
}

template <class T, class Convert>
void convert_strided(const void* source, std::ptrdiff_t stride, std::size_t count, std::byte* out, Convert convert) {
  const auto* from = static_cast<const float*>(source);
  for (std::size_t i = 0; i < count; ++i) {
    const T value = convert(from[static_cast<std::ptrdiff_t>(i) * stride]);
    std::memcpy(out + i * sizeof(T), &value, sizeof(T));
  }
}

template <class T, class Convert>
void widen(const std::byte* stored, std::size_t count, float* out, Convert convert) {
  for (std::size_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, stored + i * sizeof(T), sizeof(T));
    out[i] = convert(value);
  }
}

}  // namespace

std::size_t stored_bytes(Element element) {
  switch (element) {
    case Element::u8:
    case Element::log8:
      return 1;
    case Element::i16:
    case Element::f16:
    case Element::bf16:
      return 2;
    case Element::i32:
    case Element::f32:
      return 4;
    case Element::i64:
    case Element::f64:
      return 8;
    case Element::text:
      break;
  }
  HEADLIGHT_CHECK(!"the length of text is not a property of its type");
  return 0;
}

std::size_t source_bytes(Element element) {
  return element == Element::f16 || element == Element::bf16 || element == Element::log8 ? 4 : stored_bytes(element);
}

hid_t library_type(Element element) {
  const Gate gate;
  switch (element) {
    case Element::u8:
    case Element::log8:
      return H5T_STD_U8LE;
    case Element::i16:
      return H5T_STD_I16LE;
    case Element::i32:
      return H5T_STD_I32LE;
    case Element::i64:
      return H5T_STD_I64LE;
    case Element::f16: {
      static const hid_t half = make_half_type();
      return half;
    }
    case Element::bf16:
      return H5T_STD_U16LE;
    case Element::f32:
      return H5T_IEEE_F32LE;
    case Element::f64:
      return H5T_IEEE_F64LE;
    case Element::text:
      break;
  }
  HEADLIGHT_CHECK(!"text has no type without a length");
  return -1;
}

Handle text_type(std::size_t size) {
  const Gate gate;
  Handle type = own(H5Tcopy(H5T_C_S1), H5Tclose, Errc::internal, "", "making a string type");
  if (H5Tset_size(type, size > 0 ? size : 1) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0 ||
      H5Tset_strpad(type, H5T_STR_NULLPAD) < 0)
    throw_library_error(Errc::internal, "", "making a string type");
  return type;
}

std::string pack_texts(std::span<const std::string> texts, std::size_t width) {
  std::string packed;
  for (const std::string& text : texts) {
    std::size_t kept = std::min(text.size(), width);
    while (kept > 0 && kept < text.size() && (static_cast<unsigned char>(text[kept]) & 0xc0u) == 0x80u) --kept;
    packed.append(text, 0, kept).append(width - kept, '\0');
  }
  return packed;
}

void convert_elements(Element element, const void* source, std::ptrdiff_t stride, std::size_t count, std::byte* out) {
  switch (element) {
    case Element::u8:
      return copy_strided<std::uint8_t>(source, stride, count, out);
    case Element::i16:
      return copy_strided<std::int16_t>(source, stride, count, out);
    case Element::i32:
      return copy_strided<std::int32_t>(source, stride, count, out);
    case Element::i64:
      return copy_strided<std::int64_t>(source, stride, count, out);
    case Element::f32:
      return copy_strided<float>(source, stride, count, out);
    case Element::f64:
      return copy_strided<double>(source, stride, count, out);
    case Element::f16:
      return convert_strided<std::uint16_t>(source, stride, count, out, f32_to_f16);
    case Element::bf16:
      return convert_strided<std::uint16_t>(source, stride, count, out, f32_to_bf16);
    case Element::log8:
      return convert_strided<std::uint8_t>(source, stride, count, out, encode_log);
    case Element::text:
      break;
  }
  HEADLIGHT_CHECK(!"text is copied by whoever knows its length");
}

void convert_value(Element element, double value, std::byte* out) {
  switch (element) {
    case Element::u8:
    case Element::log8:
      *out = static_cast<std::byte>(std::isfinite(value) ? static_cast<std::uint8_t>(value) : 0);
      return;
    case Element::i16: {
      const auto v = static_cast<std::int16_t>(value);
      return copy_strided<std::int16_t>(&v, 1, 1, out);
    }
    case Element::i32: {
      const auto v = static_cast<std::int32_t>(value);
      return copy_strided<std::int32_t>(&v, 1, 1, out);
    }
    case Element::i64: {
      const auto v = static_cast<std::int64_t>(value);
      return copy_strided<std::int64_t>(&v, 1, 1, out);
    }
    case Element::f64:
      return copy_strided<double>(&value, 1, 1, out);
    default: {
      const auto v = static_cast<float>(value);
      return convert_elements(element, &v, 1, 1, out);
    }
  }
}

void widen_elements(Element element, const std::byte* stored, std::size_t count, float* out) {
  const auto same = [](auto value) { return static_cast<float>(value); };
  switch (element) {
    case Element::u8:
      return widen<std::uint8_t>(stored, count, out, same);
    case Element::log8:
      return widen<std::uint8_t>(stored, count, out, decode_log);
    case Element::i16:
      return widen<std::int16_t>(stored, count, out, same);
    case Element::i32:
      return widen<std::int32_t>(stored, count, out, same);
    case Element::i64:
      return widen<std::int64_t>(stored, count, out, same);
    case Element::f16:
      return widen<std::uint16_t>(stored, count, out, f16_to_f32);
    case Element::bf16:
      return widen<std::uint16_t>(stored, count, out, bf16_to_f32);
    case Element::f32:
      return widen<float>(stored, count, out, same);
    case Element::f64:
      return widen<double>(stored, count, out, same);
    case Element::text:
      break;
  }
  HEADLIGHT_CHECK(!"text is not a number");
}

}  // namespace headlight::capture::hdf5
