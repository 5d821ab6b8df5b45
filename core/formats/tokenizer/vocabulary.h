#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/formats/tokenizer/definition.h"

namespace headlight::formats::tokenizer {

/// Token texts by id and back; byte-level vocabularies are kept as the raw bytes they stand for.
class Vocabulary {
 public:
  explicit Vocabulary(const Definition& definition);

  std::int64_t size() const { return static_cast<std::int64_t>(texts_.size()); }
  const std::string& text(std::int32_t id) const { return texts_[static_cast<std::size_t>(id)]; }
  std::int32_t find(std::string_view text) const;  ///< -1 when absent
  std::int32_t byte_token(unsigned char byte) const {
    return bytes_[byte];
  }                                                             ///< id that stands for one byte; -1 = none
  std::optional<unsigned char> byte_of(std::int32_t id) const;  ///< of a <0xHH> token

 private:
  std::vector<std::string> texts_;
  std::unordered_map<std::string_view, std::int32_t> ids_;
  std::array<std::int32_t, 256> bytes_{};
  std::unordered_map<std::int32_t, unsigned char> byte_of_;
};

/// Bytes of a byte-level spelling (U+0120 "the" -> " the"); nullopt when a character is not one of the 256.
std::optional<std::string> bytes_of_byte_level(std::string_view text);

}  // namespace headlight::formats::tokenizer
