#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/capture/capture_sink.h"
#include "core/capture_hdf5/part_file.h"
#include "core/capture_hdf5/stored_file.h"

namespace headlight::capture::hdf5 {

/// Where tokens are stored, one column per property, and their texts one after the other: in a record, or for all
/// records of a corpus.
struct TokenColumns {
  std::string prefix;   ///< of every column but the next
  std::string segment;  ///< path

  static TokenColumns of_record(const std::string& group) { return {group + "/text/", group + "/text/segment"}; }
  static TokenColumns of_corpus() { return {"/corpus/", "/corpus/token_segment"}; }
};

/// Writes tokens at [begin, begin + tokens.size()), growing the columns, and their texts behind `piece_bytes`.
/// The dimensions of the axes are the caller's. @return bytes of all texts by then
std::int64_t write_tokens(PartFile& file, const TokenColumns& columns, hsize_t begin, std::int64_t piece_bytes,
                          std::span<const TokenInfo> tokens);

/// Tokens [begin, end). @param record  its text and segments limit what a token can refer to
/// @error damaged  a column is missing, or a number in it is impossible
std::vector<TokenInfo> read_tokens(const StoredFile& file, const TokenColumns& columns, hsize_t begin, hsize_t end,
                                   const RecordHeader& record);

}  // namespace headlight::capture::hdf5
