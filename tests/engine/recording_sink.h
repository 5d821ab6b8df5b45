#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "core/capture/capture_sink.h"

namespace headlight::testing_support {

/// Keeps what MemoryCapture has no question for, and the order of calls.
class RecordingSink : public capture::CaptureSink {
 public:
  void begin(const capture::CaptureHeader& header) override {
    num_heads = header.model.num_heads;
    calls.push_back("begin");
  }
  void begin_record(const capture::RecordHeader& record) override {
    records.push_back(record);
    calls.push_back("begin_record");
  }
  void write_rows(const capture::LayerRows& rows) override {
    calls.push_back("rows");
    const auto groups = static_cast<std::int64_t>(records.back().segments.size());
    if (rows.group_mass == nullptr) return;
    for (int h = 0; h < num_heads; ++h)
      for (std::int64_t i = 0; i < rows.num_rows; ++i)
        for (std::int64_t g = 0; g < groups; ++g)
          group_mass.push_back(rows.group_mass[(h * rows.row_stride + i) * groups + g]);
  }
  void write_columns(const capture::LayerColumns&) override { calls.push_back("columns"); }
  void write_dense(const capture::DenseRows&) override { calls.push_back("dense"); }
  void write_topk(std::span<const capture::TopkRow> rows) override {
    topk.insert(topk.end(), rows.begin(), rows.end());
  }
  void write_hidden(const capture::HiddenRows& rows) override {
    hidden_levels.push_back(rows.level);
    if (rows.x_id != nullptr) ++states_seen;
  }
  void write_massive(std::span<const capture::MassiveActivation> entries) override {
    massive.insert(massive.end(), entries.begin(), entries.end());
  }
  void write_logits(const capture::LogitRows& rows) override {
    for (std::int64_t r = 0; r < rows.num_rows; ++r) {
      logit_rows.push_back(rows.row_begin + r);
      targets.push_back(rows.target_logprob[r]);
      entropies.push_back(rows.entropy[r]);
      best_ids.push_back(rows.top_id[r * rows.k]);
      best_logprobs.push_back(rows.top_logprob[r * rows.k]);
    }
    full.insert(full.end(), rows.full.begin(), rows.full.end());
  }
  void append_generated(const capture::TokenInfo& token, float logprob) override {
    generated.push_back(token);
    generated_logprob.push_back(logprob);
  }
  void end_record(std::int64_t rows, const std::vector<std::pair<std::string, double>>& timing) override {
    rows_done.push_back(rows);
    phases = timing;
    calls.push_back("end_record");
  }
  void finish(bool complete) override { calls.push_back(complete ? "finish" : "finish partial"); }
  void flush() override {}

  std::int64_t count(const std::string& call) const {
    std::int64_t found = 0;
    for (const std::string& other : calls) found += other == call;
    return found;
  }

  int num_heads = 0;
  std::vector<std::string> calls;
  std::vector<capture::RecordHeader> records;
  std::vector<float> group_mass;  ///< [layer blocks][H][rows][groups]
  std::vector<capture::TopkRow> topk;
  std::vector<int> hidden_levels;
  int states_seen = 0;
  std::vector<capture::MassiveActivation> massive;
  std::vector<std::int64_t> logit_rows;
  std::vector<float> targets, entropies, best_logprobs, full;
  std::vector<std::int32_t> best_ids;
  std::vector<capture::TokenInfo> generated;
  std::vector<float> generated_logprob;
  std::vector<std::int64_t> rows_done;
  std::vector<std::pair<std::string, double>> phases;
};

}  // namespace headlight::testing_support
