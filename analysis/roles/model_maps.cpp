#include "analysis/roles/model_maps.h"

#include <limits>

#include "base/error.h"

namespace headlight::analysis {

RunResult record_prompt(const ExperimentContext& context, const RecordedPrompt& prompt) {
  const capture::ModelInfo& model = context.runner.model();
  RunRequest request;
  request.plan =
      capture::plan_of_all_heads(model.num_layers, model.num_heads,
                                 prompt.keep_queries ? capture::CaptureLevel::replay : capture::CaptureLevel::summary);
  request.plan.row_begin = prompt.first_row;
  request.plan.store_values = false;
  request.plan.overview = false;
  request.plan.topk_rows = 0;
  request.plan.logits = capture::LogitsKept::none;
  request.plan.local_window = static_cast<int>(prompt.local_window);
  request.interventions = prompt.interventions;
  request.inputs.push_back({.ids = prompt.ids, .generate = prompt.generate, .targets = {}, .logit_rows = {}});
  return context.runner.run(request, context.stop);
}

void for_each_map(const ExperimentContext& context, const capture::CaptureView& view, std::int64_t first,
                  std::int64_t last, const MapVisitor& visit) {
  const capture::ModelInfo& model = view.header().model;
  std::vector<float> attn_ij(static_cast<std::size_t>((last - first) * last));
  for (int layer = 0; layer < model.num_layers; ++layer)
    for (int head = 0; head < model.num_heads; ++head) {
      capture::replay_tile(view, {.record = 0, .layer = layer, .head = head}, {first, last, 0, last},
                           context.runner.pool(), attn_ij, context.stop);
      visit(static_cast<std::size_t>(layer * model.num_heads + head), attn_ij);
    }
}

HeadValues mean_rows(const capture::CaptureView& view, std::string_view id, std::int64_t first) {
  const capture::ModelInfo& model = view.header().model;
  const std::int64_t rows = view.record(0).num_rows;
  HEADLIGHT_CHECK(first < rows);
  HeadValues means;
  for (int layer = 0; layer < model.num_layers; ++layer) {
    const Buffer<float> values = view.statistic(0, id, layer);
    for (std::int64_t h = 0; h < model.num_heads; ++h) {
      double sum = 0;
      for (std::int64_t i = first; i < rows; ++i) sum += values[static_cast<std::size_t>(h * rows + i)];
      means.push_back(sum / static_cast<double>(rows - first));
    }
  }
  return means;
}

std::vector<std::int64_t> windows_of(const capture::CaptureView& view) {
  const auto record = view.record(0);
  std::vector<std::int64_t> windows;
  for (const auto& layer : record.header.layers)
    windows.insert(windows.end(), static_cast<std::size_t>(view.header().model.num_heads), layer.window);
  return windows;
}

std::size_t num_heads_of(const capture::ModelInfo& model) {
  return static_cast<std::size_t>(model.num_layers) * static_cast<std::size_t>(model.num_heads);
}

}  // namespace headlight::analysis
