#include "core/engine/logit_recorder.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace headlight::engine {
namespace {

constexpr std::int64_t kBlockElements = 8 << 20;  // 32 MiB of logits

}  // namespace

LogitRecorder::LogitRecorder(RecordContext& context, bool keep_full)
    : context_(context),
      keep_full_(keep_full),
      k_(static_cast<int>(std::min<std::int64_t>(kTop, context.engine.spec().vocab_size))) {}

void LogitRecorder::add(std::int64_t row, std::span<const float> logits, std::int32_t target) {
  if (count_ == 0) first_row_ = row;
  HEADLIGHT_CHECK(row == first_row_ + count_);
  const LogitFacts facts = logit_facts(logits);
  const std::size_t begin = top_id_.size();
  top_id_.resize(begin + static_cast<std::size_t>(k_));
  top_ids(logits, std::span(top_id_).subspan(begin));
  for (std::size_t c = begin; c < top_id_.size(); ++c) top_logprob_.push_back(logprob_of(logits, facts, top_id_[c]));
  entropy_.push_back(facts.entropy);
  target_logprob_.push_back(target == kNoTarget ? std::numeric_limits<float>::quiet_NaN()
                                                : logprob_of(logits, facts, target));
  if (keep_full_) full_.insert(full_.end(), logits.begin(), logits.end());
  ++count_;
}

void LogitRecorder::flush() {
  if (count_ == 0) return;
  capture::LogitRows rows;
  rows.row_begin = first_row_;
  rows.num_rows = count_;
  rows.k = k_;
  rows.top_id = top_id_.data();
  rows.top_logprob = top_logprob_.data();
  rows.entropy = entropy_.data();
  rows.target_logprob = target_logprob_.data();
  rows.full = full_;
  {
    const PhaseClock::Scope timed(context_.clock.sink);
    context_.sink.write_logits(rows);
  }
  count_ = 0;
  top_id_.clear();
  top_logprob_.clear();
  entropy_.clear();
  target_logprob_.clear();
  full_.clear();
}

std::int64_t logit_block_rows(std::int64_t vocab_size) {
  return std::clamp<std::int64_t>(kBlockElements / vocab_size, 1, kRowBlock);
}

void record_all_logits(RecordContext& context, const LogitsOfRows& logits_of_rows, std::span<const std::int32_t> ids,
                       std::int32_t last_target) {
  const std::int64_t n = static_cast<std::int64_t>(ids.size()), vocab = context.engine.spec().vocab_size;
  const std::int64_t block = std::min(n, logit_block_rows(vocab));
  Buffer<float> logits(static_cast<std::size_t>(block * vocab));
  LogitRecorder recorder(context, true);
  for (std::int64_t first = 0; first < n; first += block) {
    const std::int64_t rows = std::min(block, n - first);
    logits_of_rows(first, rows, logits.data());
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t next = first + r + 1;
      recorder.add(first + r, {logits.data() + r * vocab, static_cast<std::size_t>(vocab)},
                   next < n ? ids[static_cast<std::size_t>(next)] : last_target);
    }
    recorder.flush();
  }
}

}  // namespace headlight::engine
