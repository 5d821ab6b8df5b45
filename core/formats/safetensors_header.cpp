#include "core/formats/safetensors_header.h"

#include "core/formats/fail.h"

namespace headlight::formats {
namespace {

constexpr std::size_t kMaxHeaderEntries = 1u << 20;
constexpr std::size_t kMaxRank = 8;

}  // namespace

std::string SafetensorsHeaderReader::place() const {
  switch (state_) {
    case State::start:
    case State::top:
      return "header";
    case State::metadata:
      return key_.empty() ? "__metadata__" : "__metadata__." + key_;
    default:
      return fmt::format("{}{}{}", tensor_field(entries_.back().name), key_.empty() ? "" : " ", key_);
  }
}

void SafetensorsHeaderReader::unexpected(std::string_view what) const {
  std::string_view expected = "an object";
  if (state_ == State::metadata) expected = "a string";
  if (state_ == State::shape || state_ == State::offsets) expected = "a non-negative integer";
  if (state_ == State::tensor && key_ == "dtype") expected = "a string";
  if (state_ == State::tensor && (key_ == "shape" || key_ == "data_offsets")) expected = "an array";
  bad_format({place()}, "expected {}, found {}", expected, what);
}

bool SafetensorsHeaderReader::number_integer(number_integer_t value) {
  unexpected(fmt::format("{}", value));
}

bool SafetensorsHeaderReader::number_float(number_float_t, const string_t& text) {
  unexpected(text);
}

bool SafetensorsHeaderReader::number_unsigned(number_unsigned_t value) {
  if (state_ != State::shape && state_ != State::offsets) unexpected(fmt::format("{}", value));
  auto& list = state_ == State::shape ? entries_.back().shape : entries_.back().offsets;
  const std::size_t limit = state_ == State::shape ? kMaxRank : 2;
  if (list.size() == limit) bad_format({place()}, "expected at most {} numbers", limit);
  list.push_back(value);
  return true;
}

bool SafetensorsHeaderReader::string(string_t& value) {
  if (state_ == State::metadata) {
    metadata_[key_] = value;
    return true;
  }
  if (state_ != State::tensor || key_ != "dtype") unexpected(fmt::format("a string ('{:.40}')", value));
  entries_.back().dtype = value;
  return true;
}

bool SafetensorsHeaderReader::start_object(std::size_t) {
  if (state_ == State::start) {
    state_ = State::top;
    return true;
  }
  if (state_ != State::top) unexpected("an object");
  if (key_ == "__metadata__") {
    state_ = State::metadata;
  } else {
    if (entries_.size() == kMaxHeaderEntries) bad_format({"header"}, "more than {} tensors", kMaxHeaderEntries);
    entries_.push_back({});
    entries_.back().name = key_;
    state_ = State::tensor;
  }
  key_.clear();
  return true;
}

bool SafetensorsHeaderReader::key(string_t& value) {
  if (state_ == State::top) {
    const bool is_new = value == "__metadata__" ? !std::exchange(has_metadata_, true) : names_.insert(value).second;
    if (!is_new) bad_format({tensor_field(value)}, "duplicate name");
    if (value.empty() || value.size() > 4096)
      bad_format({"header"}, "a tensor name has 1 to 4096 bytes, found {}", value.size());
    key_ = value;
    return true;
  }
  key_ = value;
  if (state_ == State::metadata) {
    if (metadata_.contains(value)) bad_format({place()}, "duplicate key");
    return true;
  }
  auto& entry = entries_.back();
  bool* seen = value == "dtype"          ? &entry.has_dtype
               : value == "shape"        ? &entry.has_shape
               : value == "data_offsets" ? &entry.has_offsets
                                         : nullptr;
  if (!seen) bad_format({tensor_field(entry.name)}, "unknown key '{:.40}'", value);
  if (std::exchange(*seen, true)) bad_format({place()}, "duplicate key");
  return true;
}

void SafetensorsHeaderReader::finish_tensor() const {
  const auto& entry = entries_.back();
  const auto require = [&](bool present, const char* name) {
    if (!present) bad_format({tensor_field(entry.name)}, "'{}' is required but missing", name);
  };
  require(entry.has_dtype, "dtype");
  require(entry.has_shape, "shape");
  require(entry.has_offsets, "data_offsets");
  if (entry.offsets.size() != 2)
    bad_format({tensor_field(entry.name) + " data_offsets"}, "expected 2 numbers, found {}", entry.offsets.size());
}

bool SafetensorsHeaderReader::end_object() {
  if (state_ == State::tensor) finish_tensor();
  state_ = State::top;
  key_.clear();
  return true;
}

bool SafetensorsHeaderReader::start_array(std::size_t) {
  if (state_ != State::tensor || (key_ != "shape" && key_ != "data_offsets")) unexpected("an array");
  state_ = key_ == "shape" ? State::shape : State::offsets;
  return true;
}

bool SafetensorsHeaderReader::end_array() {
  state_ = State::tensor;
  return true;
}

bool SafetensorsHeaderReader::parse_error(std::size_t position, const std::string&,
                                          const nlohmann::detail::exception& error) {
  const std::string_view what = error.what();
  const auto start = what.rfind("syntax error");
  // Offsets count from the start of the file: the JSON follows a length of 8 bytes.
  bad_format({"header", 8 + (position ? position - 1 : 0)}, "not valid JSON: {}",
             start == std::string_view::npos ? what : what.substr(start));
}

}  // namespace headlight::formats
