#pragma once

#include <vector>

#include "core/engine/logits.h"
#include "core/engine/probe_common.h"

namespace headlight::engine {

/// Gathers facts of next-token distributions row by row and hands them to the sink in blocks.
class LogitRecorder {
 public:
  /// @param keep_full  logits themselves go with the facts
  LogitRecorder(RecordContext& context, bool keep_full);

  /// Logits of row `row`, which must follow the last one added since the last flush.
  /// @param target  the token that follows; -1 = none
  void add(std::int64_t row, std::span<const float> logits, std::int32_t target);
  void flush();

  static constexpr std::int32_t kNoTarget = -1;
  static constexpr int kTop = 10;  ///< most probable tokens kept per row

 private:
  RecordContext& context_;
  bool keep_full_;
  int k_;
  std::int64_t first_row_ = 0, count_ = 0;
  std::vector<std::int32_t> top_id_;
  std::vector<float> top_logprob_, entropy_, target_logprob_, full_;
};

/// Facts of every row of a prompt, computed and written block by block: bounded memory for any length and vocabulary.
/// @param last_target  the token that follows the last row; -1 = none
void record_all_logits(RecordContext& context, const LogitsOfRows& logits_of_rows, std::span<const std::int32_t> ids,
                       std::int32_t last_target);

/// Rows of logits that record_all_logits() holds at a time.
std::int64_t logit_block_rows(std::int64_t vocab_size);

}  // namespace headlight::engine
