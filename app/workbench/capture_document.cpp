#include "app/workbench/capture_document.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include <fmt/format.h>

#include "app/workbench/head_facts.h"
#include "app/workbench/prompt.h"
#include "base/error.h"
#include "core/capture_hdf5/capture_file.h"

namespace headlight::workbench {

std::shared_ptr<const CaptureDocument> CaptureDocument::open(const std::string& path, std::int64_t record) {
  std::shared_ptr<const capture::CaptureView> view = capture::open_capture(path, {.allow_incomplete = true});
  return std::make_shared<CaptureDocument>(std::move(view), path, std::filesystem::path(path).filename().string(),
                                           record);
}

CaptureDocument::CaptureDocument(std::shared_ptr<const capture::CaptureView> view, std::string path, std::string name,
                                 std::int64_t record)
    : view_(std::move(view)), path_(std::move(path)), name_(std::move(name)), number_(record) {
  if (record < 0 || record >= view_->num_records())
    throw Error(Errc::invalid_argument, fmt::format("record {} of {}", record, view_->num_records()));
  record_ = view_->record(record);
  for (std::int64_t t = 0; t < record_.num_rows; ++t) {
    const auto& tokens = record_.header.tokens;
    const bool known = t < std::ssize(tokens) && !tokens[static_cast<std::size_t>(t)].piece.empty();
    texts_.push_back(known                    ? token_label(tokens[static_cast<std::size_t>(t)].piece)
                     : t < std::ssize(tokens) ? fmt::format("#{}", tokens[static_cast<std::size_t>(t)].id)
                                              : std::string("?"));
  }
  read_statistics();
  read_received();
  read_logits();
}

std::shared_ptr<const CaptureDocument> CaptureDocument::at_record(std::int64_t record) const {
  return std::make_shared<CaptureDocument>(view_, path_, name_, record);
}

std::string CaptureDocument::name() const {
  return num_records() > 1 ? fmt::format("{}, record {}", name_, number_) : name_;
}

void CaptureDocument::read_statistics() {
  const auto there = view_->available_statistics(number_);
  for (const auto& info : capture::statistics()) {
    if (info.id == "jmax" || info.id == "group_mass") continue;  // a mean of positions; a mass per segment
    if (std::find(there.begin(), there.end(), info.id) == there.end()) continue;
    const Buffer<float> value_lh = view_->head_statistic(number_, info.id);
    statistics_.push_back({&info, {value_lh.begin(), value_lh.end()}});
  }
}

void CaptureDocument::read_received() {
  const auto there = view_->available_statistics(number_);
  const auto rows = static_cast<std::size_t>(record_.num_rows);
  const std::vector<float> undefined(rows, std::numeric_limits<float>::quiet_NaN());
  received_ = {undefined, undefined, std::vector<HeadId>(rows), std::vector<int>(rows, 0)};
  if (std::find(there.begin(), there.end(), "received_mean") == there.end()) return;
  std::vector<double> sum(rows, 0.0), count(rows, 0.0);
  for (std::size_t l = 0; l < layers().size(); ++l) {
    const Buffer<float> value_hj = view_->statistic(number_, "received_mean", static_cast<int>(l));
    for (std::size_t at = 0; at < value_hj.size(); ++at) {
      const float value = value_hj[at];
      const std::size_t j = at % rows;
      if (std::isnan(value)) continue;
      sum[j] += value;
      count[j] += 1.0;
      if (value >= kSinkShare) ++received_.heads_above[j];
      if (value <= received_.largest[j]) continue;  // false for NaN: the first one counts
      received_.largest[j] = value;
      received_.strongest[j] = {layers()[l], static_cast<int>(at / rows)};
    }
  }
  for (std::size_t j = 0; j < rows; ++j)
    if (count[j] > 0.0) received_.mean[j] = static_cast<float>(sum[j] / count[j]);
}

void CaptureDocument::read_logits() {
  try {
    const Buffer<float> logits = view_->last_logits(number_);
    last_logits_.assign(logits.begin(), logits.end());
  } catch (const Error& error) {  // not recorded
    if (error.code() != Errc::invalid_argument) throw;
  }
}

std::optional<capture::HeadRef> CaptureDocument::find(HeadId head) const {
  const auto at = std::find(layers().begin(), layers().end(), head.layer);
  if (at == layers().end() || head.head < 0 || head.head >= num_heads()) return std::nullopt;
  return capture::HeadRef{number_, static_cast<int>(at - layers().begin()), head.head};
}

capture::HeadRef CaptureDocument::require(HeadId head) const {
  if (const auto found = find(head)) return *found;
  throw Error(Errc::invalid_argument, fmt::format("{} is not in the capture", heads::to_string(head)));
}

bool CaptureDocument::has_map(HeadId head) const {
  const auto ref = find(head);
  if (!ref) return false;
  return record_.has_overview || record_.has_dense ||
         (record_.has_replay && view_->head_recorded(number_, ref->layer, ref->head));
}

const GridStatistic* CaptureDocument::find_statistic(std::string_view id) const {
  for (const auto& one : statistics_)
    if (one.info->id == id) return &one;
  return nullptr;
}

float CaptureDocument::statistic(std::string_view id, HeadId head) const {
  const GridStatistic* found = find_statistic(id);
  const auto ref = find(head);
  if (found == nullptr || !ref) return std::numeric_limits<float>::quiet_NaN();
  return found->value_lh[static_cast<std::size_t>(ref->layer * num_heads() + ref->head)];
}

std::vector<float> CaptureDocument::along_text(std::string_view id, HeadId head) const {
  const capture::HeadRef ref = require(head);
  const Buffer<float> value_hi = view_->statistic(number_, id, ref.layer);
  const auto rows = static_cast<std::ptrdiff_t>(record_.num_rows);
  const auto begin = value_hi.begin() + ref.head * rows;
  return {begin, begin + rows};
}

capture::MapPicture CaptureDocument::map(HeadId head, const capture::MapRequest& request, ThreadPool& pool,
                                         std::stop_token stop) const {
  const capture::HeadRef ref = require(head);
  return capture::read_map(*view_, ref, request, pool, std::move(stop));
}

namespace {

// A line of a map whose cells may be blocks: every token gets the value of its block.
AttentionLine line_of(const capture::MapPicture& picture, std::int64_t num_tokens, std::int64_t at, bool is_row) {
  AttentionLine line;
  line.exact = picture.pool == 1 && picture.source != capture::MapSource::sampled;
  const capture::TileRange& tile = picture.tile;
  const std::int64_t fixed = (at - (is_row ? tile.row_begin : tile.col_begin)) / picture.pool;
  for (std::int64_t t = 0; t < num_tokens; ++t) {
    const std::int64_t cell = (t - (is_row ? tile.col_begin : tile.row_begin)) / picture.pool;
    const std::int64_t y = is_row ? fixed : cell, x = is_row ? cell : fixed;
    line.attn.push_back(picture.attn_yx[static_cast<std::size_t>(y * picture.cols + x)]);
  }
  return line;
}

}  // namespace

AttentionLine CaptureDocument::row(HeadId head, std::int64_t query, ThreadPool& pool) const {
  const std::int64_t all = num_tokens();
  return line_of(map(head, {.tile = {query, query + 1, 0, all}, .max_cells = all}, pool), all, query, true);
}

AttentionLine CaptureDocument::column(HeadId head, std::int64_t key, ThreadPool& pool) const {
  const std::int64_t all = num_tokens();
  return line_of(map(head, {.tile = {0, all, key, key + 1}, .max_cells = all}, pool), all, key, false);
}

heads::HeadGrid CaptureDocument::grid() const {
  return {header().model.num_layers, num_heads(), num_kv_heads()};
}

heads::HeadMask CaptureDocument::select(const std::string& expression) const {
  return heads::parse_heads(expression, capture_head_facts(*view_), "filter");
}

bool same_tokens(const CaptureDocument& a, const CaptureDocument& b) {
  if (a.num_tokens() != b.num_tokens()) return false;
  const auto &of_a = a.record().header.tokens, &of_b = b.record().header.tokens;
  const auto rows = static_cast<std::size_t>(a.num_tokens());
  if (of_a.size() < rows || of_b.size() < rows) return false;
  return std::equal(of_a.begin(), of_a.begin() + a.num_tokens(), of_b.begin(),
                    [](const auto& x, const auto& y) { return x.id == y.id; });
}

}  // namespace headlight::workbench
