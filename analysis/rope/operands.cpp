#include "analysis/rope/operands.h"

#include <algorithm>

#include "base/error.h"

namespace headlight::analysis {

double rope_base(const AnalysisInput& input) {
  const double base = input.capture.header().model.rope_theta;
  if (!(base > 0.0))
    throw Error(Errc::invalid_argument, "the capture names no rotary base: the model has no rotary embedding");
  return base;
}

std::string scaling_note(const AnalysisInput& input) {
  return "frequencies are those of the unscaled base; this model rescales them: " +
         input.capture.header().model.rope_scaling_json;
}

bool has_scaled_rope(const AnalysisInput& input) {
  const std::string& scaling = input.capture.header().model.rope_scaling_json;
  return !scaling.empty() && scaling != "null" && scaling != "{}";
}

std::vector<float> read_keys(const AnalysisInput& input, const RecordShape& shape, int layer, int kv_head) {
  std::vector<float> k_jd(static_cast<std::size_t>((shape.num_rows - shape.first_key) * shape.head_dim));
  input.capture.read_k(input.record, layer, kv_head, shape.first_key, shape.num_rows, k_jd.data());
  return k_jd;
}

std::vector<float> read_queries(const AnalysisInput& input, const RecordShape& shape, int layer, int head) {
  const capture::RecordInfo info = input.capture.record(input.record);
  const std::int64_t begin = std::max(info.replay_row_begin, shape.first_key);
  if (!input.capture.head_recorded(input.record, layer, head) || begin >= info.replay_row_end) return {};
  std::vector<float> q_id(static_cast<std::size_t>((info.replay_row_end - begin) * shape.head_dim));
  input.capture.read_q(input.record, layer, head, begin, info.replay_row_end, q_id.data());
  return q_id;
}

}  // namespace headlight::analysis
