#include "tests/engine/golden_case.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "core/engine/row_arrays.h"
#include "core/engine/session_impl.h"
#include "core/formats/safetensors.h"
#include "tests/support/synthetic_model.h"
#include "tests/support/temp_folder.h"

namespace headlight::testing_support {
namespace {

const std::filesystem::path kGoldenFolder = std::filesystem::path(HEADLIGHT_SOURCE_DIR) / "tests" / "golden";

template <class T>
std::vector<T> read_values(const formats::SafetensorsFile& file, const InputFile& input, const std::string& name) {
  const formats::SafetensorsTensor* tensor = file.find(name);
  if (tensor == nullptr) return {};
  std::vector<T> values(tensor->bytes / sizeof(T));
  input.read_at(tensor->offset, std::as_writable_bytes(std::span(values)));
  return values;
}

// Collects every row of every head of the layers that run under it.
class RowCollector final : public engine::AttentionHook, public kernels::RowTap {
 public:
  RowCollector(const formats::ModelSpec& spec, std::int64_t num_rows, std::int64_t row_begin)
      : spec_(spec),
        num_rows_(num_rows),
        row_begin_(row_begin),
        layout_{spec.num_heads, num_rows, 0},
        rows_(static_cast<std::size_t>(layout_.size())),
        columns_({spec.num_heads, num_rows, 0}),
        attn(static_cast<std::size_t>(spec.num_layers * spec.num_heads * (num_rows - row_begin) * num_rows)) {}

  void attention(int layer, ThreadPool& pool, kernels::AttentionWorkspace& workspace,
                 const engine::AttentionCall& call) override {
    layer_ = layer;
    columns_.clear(pool);
    kernels::AttentionStatisticsPlan plan;
    plan.tap = this;
    kernels::AttentionStatistics statistics = layout_.statistics(rows_.data(), 0);
    columns_.attach(statistics);
    kernels::attention(pool, workspace, call.in, call.out_ihd, call.out_stride, &plan, &statistics);
  }
  bool wants(int /*head*/, std::int64_t /*position*/) const override { return true; }
  void row(int head, std::int64_t position, kernels::KeyRange keys, std::span<const float> attn_j) override {
    const std::int64_t steps = num_rows_ - row_begin_;
    const std::int64_t at = (std::int64_t{layer_} * spec_.num_heads + head) * steps + position - row_begin_;
    std::copy(attn_j.begin(), attn_j.end(), attn.begin() + at * num_rows_ + keys.begin);
  }

 private:
  const formats::ModelSpec& spec_;
  std::int64_t num_rows_, row_begin_;
  engine::RowLayout layout_;
  Buffer<float> rows_;
  engine::ColumnArrays columns_;
  int layer_ = 0;

 public:
  std::vector<float> attn;  // [L][H][steps][N]
};

}  // namespace

Golden load_golden(const std::string& name) {
  const auto path = kGoldenFolder / name / "golden.safetensors";
  const auto file = formats::SafetensorsFile::open(path);
  const InputFile input(path);
  Golden golden;
  golden.ids = read_values<std::int32_t>(file, input, "token_ids");
  golden.logits = read_values<float>(file, input, "logits");
  golden.attn = read_values<float>(file, input, "attn");
  golden.resid = read_values<float>(file, input, "resid");
  golden.q_rot = read_values<float>(file, input, "q_rot.0");
  golden.k_rot = read_values<float>(file, input, "k_rot.0");
  golden.sink_mass = read_values<float>(file, input, "sink_mass");
  return golden;
}

formats::ModelFile open_golden_model(const std::string& name, TensorType type) {
  const TempFolder folder;  // the mapping outlives the file's name
  write_safetensors(golden_model(name), folder.path(), type);
  return formats::open_model(folder.path());
}

formats::ModelFile open_golden_gguf(const std::string& name, TensorType type,
                                    const formats::OpenModelOptions& options) {
  const TempFolder folder;
  write_gguf(golden_model(name), folder / "model.gguf", type);
  return formats::open_model(folder / "model.gguf", options);
}

formats::ModelFile with_values(formats::ModelFile model, const std::string& tensor,
                               const std::function<void(std::span<float>)>& change) {
  formats::Weights out;
  out.keep_alive(std::make_shared<formats::Weights>(model.weights));
  for (const auto& [name, old] : model.weights.all()) {
    formats::WeightTensor changed = old;
    if (name == tensor) {
      const auto bytes = out.allocate(old.bytes());
      std::memcpy(bytes.data(), old.data, old.bytes());
      change({reinterpret_cast<float*>(bytes.data()), old.bytes() / sizeof(float)});
      changed.data = bytes.data();
    }
    out.add(name, changed);
  }
  model.weights = std::move(out);
  return model;
}

formats::ModelFile with_value(formats::ModelFile model, const std::string& tensor, std::int64_t element, float value) {
  return with_values(std::move(model), tensor,
                     [&](std::span<float> values) { values[static_cast<std::size_t>(element)] = value; });
}

float largest_difference(const float* a, const float* b, std::size_t count) {
  float largest = 0.0f;
  for (std::size_t k = 0; k < count; ++k) {
    const float difference = std::abs(a[k] - b[k]);
    if (!(difference <= largest)) largest = difference;  // NaN counts as the largest of all
  }
  return largest;
}

capture::CaptureHeader header_of(const engine::Engine& engine, capture::CaptureLevel level) {
  capture::CaptureHeader header;
  header.model = engine.model_info();
  header.plan.level = level;
  for (int layer = 0; layer < engine.spec().num_layers; ++layer) header.plan.layers.push_back(layer);
  header.plan.heads_lh.assign(header.plan.layers.size() * static_cast<std::size_t>(engine.spec().num_heads), 1);
  return header;
}

engine::CaptureInput input_of(const std::vector<std::int32_t>& ids, std::int64_t generate) {
  engine::CaptureInput input;
  input.generate = generate;
  for (const std::int32_t id : ids) {
    capture::TokenInfo token;
    token.id = id;
    input.header.tokens.push_back(token);
  }
  return input;
}

std::unique_ptr<capture::MemoryCapture> capture_maps(engine::Engine& engine, const std::vector<std::int32_t>& ids) {
  auto capture = std::make_unique<capture::MemoryCapture>();
  engine::run_capture(engine, {input_of(ids)}, header_of(engine, capture::CaptureLevel::maps), {}, *capture);
  return capture;
}

DecodedRows attention_of_decode(engine::Engine& engine, const std::vector<std::int32_t>& ids, std::int64_t steps) {
  const auto n = static_cast<std::int64_t>(ids.size());
  const std::size_t vocab = static_cast<std::size_t>(engine.spec().vocab_size);
  engine::Session::Impl run(engine.impl());
  RowCollector collector(engine.spec(), n, n - steps);
  run.advance({.ids = std::span(ids).first(static_cast<std::size_t>(n - steps))});
  DecodedRows out;
  out.logits.resize(static_cast<std::size_t>(steps) * vocab);
  for (std::int64_t step = 0; step < steps; ++step) {
    run.advance({.ids = std::span(ids).subspan(static_cast<std::size_t>(n - steps + step), 1), .hook = &collector});
    run.logits_of_last_row(std::span(out.logits).subspan(static_cast<std::size_t>(step) * vocab, vocab));
  }
  out.attn = std::move(collector.attn);
  return out;
}

}  // namespace headlight::testing_support
