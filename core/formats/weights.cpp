#include "core/formats/weights.h"

#include "base/buffer.h"
#include "base/error.h"
#include "core/formats/fail.h"

namespace headlight::formats {

WeightTensor WeightTensor::slice(std::int64_t first_row, std::int64_t num_rows) const {
  HEADLIGHT_CHECK(first_row >= 0 && num_rows >= 0 && first_row + num_rows <= rows);
  return {type, num_rows, cols, data + static_cast<std::uint64_t>(first_row) * row_bytes(type, cols)};
}

const WeightTensor* Weights::find(std::string_view name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

const WeightTensor& Weights::get(std::string_view name) const {
  const auto* tensor = find(name);
  if (!tensor) bad_format({tensor_field(name)}, "is missing");
  return *tensor;
}

const WeightTensor& Weights::get(std::string_view name, std::int64_t rows, std::int64_t cols) const {
  const auto& tensor = get(name);
  if (tensor.rows != rows || tensor.cols != cols)
    bad_format({tensor_field(name)}, "expected shape [{}, {}], found [{}, {}]", rows, cols, tensor.rows, tensor.cols);
  return tensor;
}

std::span<const float> Weights::vector_or_empty(std::string_view name, std::int64_t size) const {
  return find(name) ? vector(name, size) : std::span<const float>();
}

std::span<const float> Weights::vector(std::string_view name, std::int64_t size) const {
  const auto& tensor = get(name, 1, size);
  if (tensor.type != TensorType::f32)
    bad_format({tensor_field(name)}, "expected F32, found {}", info(tensor.type).name);
  return {reinterpret_cast<const float*>(tensor.data), static_cast<std::size_t>(size)};
}

std::uint64_t Weights::total_bytes() const {
  std::uint64_t total = 0;
  for (const auto& [name, tensor] : tensors_) total += tensor.bytes();
  return total;
}

void Weights::add(std::string name, WeightTensor tensor) {
  HEADLIGHT_CHECK(tensor.data != nullptr && tensor.rows > 0 && tensor.cols > 0);
  const bool is_new = tensors_.emplace(std::move(name), tensor).second;
  HEADLIGHT_CHECK(is_new);
}

std::span<std::byte> Weights::allocate(std::uint64_t bytes) {
  auto storage = std::make_shared<Buffer<std::byte>>(bytes);
  const std::span<std::byte> view{storage->data(), storage->size()};
  keep_alive(std::move(storage));
  return view;
}

}  // namespace headlight::formats
