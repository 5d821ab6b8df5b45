#pragma once

#include <memory>

#include "core/capture/capture_sink.h"
#include "core/capture/capture_view.h"

namespace headlight::capture {

/// A capture held in memory: the sink of live runs and tests, and a view on what arrived so far.
class MemoryCapture final : public CaptureSink, public CaptureView {
 public:
  MemoryCapture();
  ~MemoryCapture() override;

  void begin(const CaptureHeader& header) override;
  void begin_record(const RecordHeader& record) override;
  void write_rows(const LayerRows& rows) override;
  void write_row_plan(int index, const RowPlan& plan) override;
  void write_columns(const LayerColumns& columns) override;
  void write_dense(const DenseRows& rows) override;
  void write_topk(std::span<const TopkRow> rows) override;
  void write_hidden(const HiddenRows& rows) override;
  void write_massive(std::span<const MassiveActivation> entries) override;
  void write_logits(const LogitRows& rows) override;
  void append_generated(const TokenInfo& token, float logprob) override;
  void end_record(std::int64_t rows_done, const std::vector<std::pair<std::string, double>>& timing) override;
  void finish(bool complete) override;
  void flush() override {}

  /// Layers before `num_layers` of the record that was begun last are those of record r of another capture of the same
  /// plan and tokens: their rows and columns, which are shared, hidden states and
  /// top-k rows, which are copied.
  void share_layers(const MemoryCapture& other, std::int64_t r, int num_layers);

  const CaptureHeader& header() const override;
  CompleteState complete() const override;
  std::string uuid() const override;
  std::string name() const override { return "memory"; }
  std::int64_t num_records() const override;
  RecordInfo record(std::int64_t r) const override;
  Buffer<float> statistic(std::int64_t r, std::string_view id, int layer) const override;
  Buffer<float> head_statistic(std::int64_t r, std::string_view id) const override;
  std::vector<std::string> available_statistics(std::int64_t r) const override;
  void read_q(std::int64_t r, int layer, int head, std::int64_t begin, std::int64_t end, float* out) const override;
  void read_k(std::int64_t r, int layer, int kv_head, std::int64_t begin, std::int64_t end, float* out) const override;
  void read_v(std::int64_t r, int layer, int kv_head, std::int64_t begin, std::int64_t end, float* out) const override;
  RowPlan row_plan(std::int64_t r, int layer) const override;
  bool head_recorded(std::int64_t r, int layer, int head) const override;
  Buffer<float> block_sum(std::int64_t r, int layer, int head) const override;
  Buffer<float> block_max(std::int64_t r, int layer, int head) const override;
  Buffer<float> dense(std::int64_t r, int layer, int head) const override;
  std::vector<TopkRow> topk(std::int64_t r, int layer, int head) const override;
  Buffer<float> hidden(std::int64_t r, std::string_view id) const override;
  void read_states(std::int64_t r, int level, std::int64_t begin, std::int64_t end, float* out) const override;
  std::vector<MassiveActivation> massive(std::int64_t r) const override;
  Buffer<float> last_logits(std::int64_t r) const override;

 private:
  struct Record;
  void write_operands(const LayerRows& rows);
  void check_layer(int layer) const;
  void check_head(int layer, int head) const;
  const Record& require_record(std::int64_t r) const;
  Buffer<float> stored_statistic(const Record& record, std::string_view id, int layer) const;
  void read_kv(std::int64_t r, int layer, int kv_head, std::int64_t begin, std::int64_t end, bool values,
               float* out) const;
  Buffer<float> blocks(std::int64_t r, int layer, int head, bool sums) const;

  CaptureHeader header_;
  std::vector<std::unique_ptr<Record>> records_;
  CompleteState complete_ = CompleteState::writing;
  std::string uuid_;
};

}  // namespace headlight::capture
