#include "analysis/detection/token_spans.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "analysis/attention_rows.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

double reduce(std::span<const float> attn_j, SpanReduction reduction) {
  double sum = 0.0, most = 0.0;
  for (const float attn : attn_j) {
    sum += attn;
    most = std::max(most, static_cast<double>(attn));
  }
  if (reduction == SpanReduction::max) return most;
  return reduction == SpanReduction::sum ? sum : sum / static_cast<double>(attn_j.size());
}

}  // namespace

std::optional<TokenSpan> tokens_of_bytes(const capture::RecordHeader& header, std::int64_t begin, std::int64_t end) {
  TokenSpan span{-1, -1};
  for (std::int64_t t = 0; t < std::ssize(header.tokens); ++t) {
    const auto& token = header.tokens[t];
    if (token.byte_begin < 0 || token.byte_end <= begin || token.byte_begin >= end) continue;
    if (span.begin < 0) span.begin = t;
    span.end = t + 1;
  }
  return span.begin < 0 ? std::nullopt : std::optional(span);
}

std::optional<TokenSpan> find_text(const capture::RecordHeader& header, std::string_view text) {
  const std::size_t at = header.text.find(text);
  if (text.empty() || at == std::string::npos) return std::nullopt;
  const auto begin = static_cast<std::int64_t>(at);
  return tokens_of_bytes(header, begin, begin + std::ssize(text));
}

std::optional<TokenSpan> find_segment(const capture::RecordHeader& header, std::string_view name) {
  for (const auto& segment : header.segments)
    if (segment.name == name) return TokenSpan{segment.begin, segment.end};
  return std::nullopt;
}

std::vector<double> span_attention(const capture::CaptureView& view, std::int64_t record,
                                   std::span<const std::int64_t> rows, std::span<const TokenSpan> spans,
                                   SpanReduction reduction, ThreadPool& pool, std::stop_token stop) {
  const std::int64_t n = view.record(record).num_rows;
  for (const TokenSpan& span : spans)
    if (span.begin < 0 || span.begin >= span.end || span.end > n)
      throw Error(Errc::invalid_argument,
                  fmt::format("tokens {}:{} are not a span of the record's {} tokens", span.begin, span.end, n));
  const auto layers = std::ssize(view.header().plan.layers);
  const std::int64_t heads = view.header().model.num_heads;
  std::vector<double> out_slh(spans.size() * layers * heads, std::numeric_limits<double>::quiet_NaN());
  for (int l = 0; l < layers; ++l)
    for (const int h : recorded_heads(view, record, l)) {
      const auto attn_nj = attention_rows(view, {record, l, h}, rows, pool, stop);
      for (std::int64_t s = 0; s < std::ssize(spans); ++s) {
        double sum = 0.0;
        for (std::int64_t r = 0; r < std::ssize(rows); ++r)
          sum += reduce(std::span(attn_nj).subspan(r * n + spans[s].begin, spans[s].size()), reduction);
        out_slh[(s * layers + l) * heads + h] = sum / static_cast<double>(rows.size());
      }
    }
  return out_slh;
}

std::vector<double> summed_attention(const capture::CaptureView& view, std::int64_t record, TokenSpan rows,
                                     ThreadPool& pool, std::stop_token stop) {
  const std::int64_t n = view.record(record).num_rows;
  if (rows.begin < 0 || rows.begin >= rows.end || rows.end > n)
    throw Error(Errc::invalid_argument,
                fmt::format("rows {}:{} are outside the record's {} rows", rows.begin, rows.end, n));
  std::vector<double> weight_i(n, 0.0), sum_j(n, 0.0);
  std::fill(weight_i.begin() + rows.begin, weight_i.begin() + rows.end, 1.0);
  for (int l = 0; l < std::ssize(view.header().plan.layers); ++l)
    for (const int h : recorded_heads(view, record, l))
      add_weighted_columns(view, {record, l, h}, 1, weight_i, 1.0 / static_cast<double>(rows.size()), sum_j, pool,
                           stop);
  return sum_j;
}

}  // namespace headlight::analysis
