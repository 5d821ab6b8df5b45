#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include <nlohmann/json.hpp>

namespace headlight::formats {

/// One entry of a safetensors header as written, before any check of its numbers.
struct SafetensorsEntry {
  std::string name, dtype;
  std::vector<std::uint64_t> shape;
  std::vector<std::uint64_t> offsets;
  bool has_dtype = false, has_shape = false, has_offsets = false;
};

/// Reads the JSON of a safetensors header event by event, so that a header of any legal size needs no document in
/// memory: { name: {dtype, shape, data_offsets}, "__metadata__": {string: string} }. Everything else is refused.
class SafetensorsHeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::vector<SafetensorsEntry> take_entries() { return std::move(entries_); }
  std::map<std::string, std::string> take_metadata() { return std::move(metadata_); }

  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a bool"); }
  bool number_integer(number_integer_t value) override;
  bool number_unsigned(number_unsigned_t value) override;
  bool number_float(number_float_t, const string_t& text) override;
  bool string(string_t& value) override;
  bool binary(binary_t&) override { unexpected("binary data"); }
  bool start_object(std::size_t) override;
  bool key(string_t& value) override;
  bool end_object() override;
  bool start_array(std::size_t) override;
  bool end_array() override;
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) override;

 private:
  enum class State { start, top, tensor, metadata, shape, offsets };

  [[noreturn]] void unexpected(std::string_view what) const;
  std::string place() const;
  void finish_tensor() const;

  State state_ = State::start;
  std::string key_;  // the latest key of a tensor or of the metadata
  std::vector<SafetensorsEntry> entries_;
  std::unordered_set<std::string> names_;
  std::map<std::string, std::string> metadata_;
  bool has_metadata_ = false;
};

}  // namespace headlight::formats
