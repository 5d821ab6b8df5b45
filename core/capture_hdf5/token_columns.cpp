#include "core/capture_hdf5/token_columns.h"

#include <limits>

#include <fmt/format.h>

namespace headlight::capture::hdf5 {
namespace {

/// Texts of tokens [begin, end).
std::vector<std::string> read_pieces(const StoredFile& file, const TokenColumns& columns, hsize_t begin, hsize_t end) {
  const std::string offset_path = columns.prefix + "piece_offset", text_path = columns.prefix + "piece_utf8";
  const auto offset = file.read_integers(offset_path, begin, end + 1);
  const auto limit = static_cast<std::int64_t>(file.array(text_path, 1).dims[0]);
  for (std::size_t i = 0; i < offset.size(); ++i)
    if (offset[i] < (i == 0 ? 0 : offset[i - 1]) || offset[i] > limit)
      file.refuse(Errc::damaged, offset_path,
                  fmt::format("expected ascending offsets up to {}, found {} at {}", limit, offset[i], begin + i));
  const std::string bytes =
      file.bytes(text_path, static_cast<hsize_t>(offset.front()), static_cast<hsize_t>(offset.back()));
  std::vector<std::string> pieces;
  for (std::size_t i = 0; i + 1 < offset.size(); ++i)
    pieces.push_back(bytes.substr(static_cast<std::size_t>(offset[i] - offset[0]),
                                  static_cast<std::size_t>(offset[i + 1] - offset[i])));
  return pieces;
}

}  // namespace

std::int64_t write_tokens(PartFile& file, const TokenColumns& columns, hsize_t begin, std::int64_t piece_bytes,
                          std::span<const TokenInfo> tokens) {
  const hsize_t count = tokens.size(), end = begin + count;
  const auto put = [&]<class T>(const std::string& path, T TokenInfo::*member) {
    std::vector<T> values;
    for (const TokenInfo& token : tokens) values.push_back(token.*member);
    ArrayWriter& out = file.array(path);
    out.grow(0, end);
    out.write({begin}, {count}, values.data());
  };
  put(columns.prefix + "token_id", &TokenInfo::id);
  put(columns.prefix + "token_kind", &TokenInfo::kind);
  put(columns.prefix + "token_byte_begin", &TokenInfo::byte_begin);
  put(columns.prefix + "token_byte_end", &TokenInfo::byte_end);
  put(columns.prefix + "token_char_begin", &TokenInfo::char_begin);
  put(columns.prefix + "token_char_end", &TokenInfo::char_end);
  put(columns.segment, &TokenInfo::segment);
  std::string pieces;
  std::vector<std::int64_t> offsets{piece_bytes};
  for (const TokenInfo& token : tokens) {
    pieces += token.piece;
    offsets.push_back(piece_bytes + static_cast<std::int64_t>(pieces.size()));
  }
  const std::string text_path = columns.prefix + "piece_utf8";
  file.grow_scale(text_path.substr(0, text_path.size() - 4) + "byte", static_cast<hsize_t>(offsets.back()));
  file.array(text_path).append(pieces.data(), pieces.size());
  ArrayWriter& offset = file.array(columns.prefix + "piece_offset");
  offset.grow(0, end + 1);
  offset.write({begin}, {count + 1}, offsets.data());
  return offsets.back();
}

std::vector<TokenInfo> read_tokens(const StoredFile& file, const TokenColumns& columns, hsize_t begin, hsize_t end,
                                   const RecordHeader& record) {
  const auto column = [&](const std::string& path, std::int64_t low, std::int64_t high) {
    auto values = file.read_integers(path, begin, end);
    for (const std::int64_t value : values)
      if (value < low || value > high)
        file.refuse(Errc::damaged, path, fmt::format("expected numbers within {}..{}, found {}", low, high, value));
    return values;
  };
  const auto named = [&](const char* name, std::int64_t low, std::int64_t high) {
    return column(columns.prefix + name, low, high);
  };
  const auto text_size = static_cast<std::int64_t>(record.text.size());
  const auto id = named("token_id", -1, std::numeric_limits<std::int32_t>::max()), kind = named("token_kind", 0, 7);
  const auto byte_begin = named("token_byte_begin", -1, text_size), byte_end = named("token_byte_end", -1, text_size);
  const auto char_begin = named("token_char_begin", -1, text_size), char_end = named("token_char_end", -1, text_size);
  const auto segments = std::min<std::int64_t>(std::ssize(record.segments), std::numeric_limits<std::int16_t>::max());
  const auto segment = column(columns.segment, -1, segments - 1);
  auto pieces = read_pieces(file, columns, begin, end);
  std::vector<TokenInfo> tokens;
  for (std::size_t i = 0; i < id.size(); ++i) {
    TokenInfo token;
    token.id = static_cast<std::int32_t>(id[i]);
    token.kind = static_cast<std::uint8_t>(kind[i]);
    token.byte_begin = byte_begin[i];
    token.byte_end = byte_end[i];
    token.char_begin = char_begin[i];
    token.char_end = char_end[i];
    token.segment = static_cast<std::int16_t>(segment[i]);
    token.piece = std::move(pieces[i]);
    if ((token.byte_begin < 0) != (token.byte_end < 0) || token.byte_begin > token.byte_end)
      file.refuse(Errc::damaged, columns.prefix + "token_byte_end",
                  fmt::format("ends before token {} begins", begin + i));
    tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace headlight::capture::hdf5
