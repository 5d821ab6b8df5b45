#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <stop_token>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "core/capture/capture_view.h"

namespace headlight::analysis {

/// Token positions, half-open.
struct TokenSpan {
  std::int64_t begin = 0, end = 0;
  std::int64_t size() const { return end - begin; }
};

/// Tokens that overlap the first occurrence of `text` in the record's text; nullopt when it does not occur.
std::optional<TokenSpan> find_text(const capture::RecordHeader& header, std::string_view text);

/// Tokens that overlap bytes [begin, end) of the record's text.
std::optional<TokenSpan> tokens_of_bytes(const capture::RecordHeader& header, std::int64_t begin, std::int64_t end);

/// The segment of that name; nullopt when there is none.
std::optional<TokenSpan> find_segment(const capture::RecordHeader& header, std::string_view name);

enum class SpanReduction { sum, mean, max };

/// Attention of some rows to spans of keys, per head:
///
///     out[s,l,h] = mean over rows i of reduce_{j in span s} A[l,h,i,j]      heads that are not recorded are NaN
///
/// @return [spans][L][H]
/// @error invalid_argument  no q and k, a span outside the record; cancelled
std::vector<double> span_attention(const capture::CaptureView& view, std::int64_t record,
                                   std::span<const std::int64_t> rows, std::span<const TokenSpan> spans,
                                   SpanReduction reduction, ThreadPool& pool, std::stop_token stop = {});

/// Attention of some rows to every key, summed over all recorded heads and layers, mean over the rows: [N].
std::vector<double> summed_attention(const capture::CaptureView& view, std::int64_t record, TokenSpan rows,
                                     ThreadPool& pool, std::stop_token stop = {});

}  // namespace headlight::analysis
