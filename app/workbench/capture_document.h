#pragma once

#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "app/workbench/selection.h"
#include "base/thread_pool.h"
#include "core/capture/capture_view.h"
#include "core/capture/map_source.h"
#include "core/capture/statistics.h"
#include "core/heads/head_set.h"

namespace headlight::workbench {

/// One number per head of a record.
struct GridStatistic {
  const capture::StatisticInfo* info = nullptr;
  std::vector<float> value_lh;  ///< [recorded layers][H]; NaN = undefined
};

/// Attention of one row or one column of a map.
struct AttentionLine {
  std::vector<float> attn;  ///< [N], 0 = invisible
  bool exact = true;        ///< false: maxima of blocks, because the capture holds no more
};

/// What every token gets, over the recorded heads that see it; [N], NaN = not recorded. received_mean is the mean
/// weight that a head's rows give the token.
struct ReceivedByTokens {
  std::vector<float> mean;        ///< of received_mean over heads
  std::vector<float> largest;     ///< largest received_mean of a head
  std::vector<HeadId> strongest;  ///< that head
  std::vector<int> heads_above;   ///< heads with at least kSinkShare
};
constexpr float kSinkShare = 0.3f;

/// A capture that is looked at: a file, or a run in memory. What views show at once (tokens, one value per head) is
/// read when it opens; rows and tiles are read when they are asked for, from any thread.
class CaptureDocument {
 public:
  /// Opens and reads a file. @error as capture::open_capture()
  static std::shared_ptr<const CaptureDocument> open(const std::string& path, std::int64_t record = 0);
  /// @param name  what to call it: "run"
  CaptureDocument(std::shared_ptr<const capture::CaptureView> view, std::string path, std::string name,
                  std::int64_t record = 0);

  /// For analyses; may be read from any thread.
  const capture::CaptureView& view() const { return *view_; }
  const std::string& path() const { return path_; }  ///< empty: not a file
  std::string name() const;                          ///< with the number of the record where there are several
  const capture::CaptureHeader& header() const { return view_->header(); }
  const capture::RecordInfo& record() const { return record_; }
  std::int64_t record_number() const { return number_; }
  std::int64_t num_records() const { return view_->num_records(); }
  /// Another record of the same capture. @error invalid_argument, as open()
  std::shared_ptr<const CaptureDocument> at_record(std::int64_t record) const;
  std::int64_t num_tokens() const { return record_.num_rows; }
  bool is_complete() const { return view_->complete() == capture::CompleteState::sealed; }
  const std::vector<std::string>& token_texts() const { return texts_; }  ///< printable, one per row

  const std::vector<int>& layers() const { return header().plan.layers; }  ///< model numbers
  int num_heads() const { return header().model.num_heads; }
  int num_kv_heads() const { return header().model.num_kv_heads; }
  std::optional<capture::HeadRef> find(HeadId head) const;  ///< nullopt: the layer is not recorded
  bool has_map(HeadId head) const;

  const std::vector<GridStatistic>& statistics() const { return statistics_; }  ///< of heads, in registry order
  const GridStatistic* find_statistic(std::string_view id) const;
  /// Value of one head; NaN when undefined or not recorded.
  float statistic(std::string_view id, HeadId head) const;

  /// Row or column statistic along the text, [N]. @error invalid_argument
  std::vector<float> along_text(std::string_view id, HeadId head) const;
  /// Mean over recorded layers and heads of received_mean, [N]: what a token gets from the whole model.
  const std::vector<float>& received() const { return received_.mean; }
  const ReceivedByTokens& received_by_tokens() const { return received_; }

  /// [V] of the last prompt token; empty when the capture does not hold them.
  const std::vector<float>& last_logits() const { return last_logits_; }

  AttentionLine row(HeadId head, std::int64_t query, ThreadPool& pool) const;
  AttentionLine column(HeadId head, std::int64_t key, ThreadPool& pool) const;
  /// @error as capture::read_map()
  capture::MapPicture map(HeadId head, const capture::MapRequest& request, ThreadPool& pool,
                          std::stop_token stop = {}) const;

  /// Heads for which an expression holds. @error invalid_argument  with the offset of what is wrong
  heads::HeadMask select(const std::string& expression) const;
  heads::HeadGrid grid() const;

 private:
  capture::HeadRef require(HeadId head) const;
  void read_statistics();
  void read_received();
  void read_logits();

  std::shared_ptr<const capture::CaptureView> view_;
  std::string path_, name_;
  std::int64_t number_ = 0;
  capture::RecordInfo record_;
  std::vector<std::string> texts_;
  std::vector<GridStatistic> statistics_;
  ReceivedByTokens received_;
  std::vector<float> last_logits_;
};

/// Both are of the same token ids, row by row.
bool same_tokens(const CaptureDocument& a, const CaptureDocument& b);

}  // namespace headlight::workbench
