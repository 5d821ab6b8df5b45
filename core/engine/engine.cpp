#include "core/engine/engine.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/json.h"
#include "core/engine/engine_impl.h"

namespace headlight::engine {
namespace {

using formats::RopeScaling;

std::string_view kind_name(RopeScaling::Kind kind) {
  switch (kind) {
    case RopeScaling::Kind::none:
      return "none";
    case RopeScaling::Kind::linear:
      return "linear";
    case RopeScaling::Kind::dynamic:
      return "dynamic";
    case RopeScaling::Kind::llama3:
      return "llama3";
    case RopeScaling::Kind::yarn:
      return "yarn";
    case RopeScaling::Kind::longrope:
      return "longrope";
    case RopeScaling::Kind::factors:
      return "factors";
  }
  return "none";
}

// Only what the kind uses; empty without scaling.
std::string scaling_json(const RopeScaling& scaling) {
  using Kind = RopeScaling::Kind;
  if (scaling.kind == Kind::none) return {};
  Json json;
  json["type"] = kind_name(scaling.kind);
  if (scaling.kind != Kind::factors && scaling.kind != Kind::longrope) json["factor"] = scaling.factor;
  if (scaling.original_context > 0) json["original_max_position_embeddings"] = scaling.original_context;
  if (scaling.kind == Kind::llama3) {
    json["low_freq_factor"] = scaling.low_freq_factor;
    json["high_freq_factor"] = scaling.high_freq_factor;
  }
  if (scaling.kind == Kind::yarn) {
    json["beta_fast"] = scaling.beta_fast;
    json["beta_slow"] = scaling.beta_slow;
    json["truncate"] = scaling.truncate;
    if (scaling.mscale > 0) json["mscale"] = scaling.mscale;
    if (scaling.mscale_all_dim > 0) json["mscale_all_dim"] = scaling.mscale_all_dim;
  }
  if (scaling.attention_factor > 0) json["attention_factor"] = scaling.attention_factor;
  if (!scaling.short_factor.empty()) json["short_factor"] = scaling.short_factor;
  if (!scaling.long_factor.empty()) json["long_factor"] = scaling.long_factor;
  return dump_json(json, -1);
}

}  // namespace

Engine::Impl::Impl(formats::ModelFile model_file, const EngineOptions& engine_options)
    : model(std::move(model_file)),
      options(engine_options),
      pool(engine_options.threads > 0 ? engine_options.threads : ThreadPool::available_threads()) {
  formats::validate(model.spec);
  if (options.kv_dtype == DType::f16)
    throw Error(Errc::unsupported, "the KV cache on the CPU can be f32 or bf16, not f16");
  weights = bind_weights(model.spec, model.weights);
  embedding_scale = static_cast<float>(model.spec.embedding_scale);
  if (options.gemma_scale_in_weight_dtype) embedding_scale = bf16_to_f32(f32_to_bf16(embedding_scale));
  if (options.cuda_device >= 0)
    cuda = std::make_unique<CudaModel>(model.spec, weights, pool, options.cuda_device, options.cuda_dtype);
}

Engine::Engine(formats::ModelFile model, const EngineOptions& options)
    : impl_(std::make_unique<Impl>(std::move(model), options)) {}
Engine::~Engine() = default;

std::string Engine::device_name() const {
  return impl_->cuda != nullptr ? impl_->cuda->device_name() : "cpu";
}

DType Engine::compute_dtype() const {
  return impl_->cuda != nullptr ? impl_->cuda->dtype() : DType::f32;
}

DType Engine::kv_dtype() const {
  return impl_->cuda != nullptr ? impl_->cuda->dtype() : impl_->options.kv_dtype;
}

const formats::ModelFile& Engine::model() const {
  return impl_->model;
}
const EngineOptions& Engine::options() const {
  return impl_->options;
}
ThreadPool& Engine::pool() const {
  return impl_->pool;
}

namespace {

/// Of all pieces in the order of their ids, each with its length.
std::string vocabulary_sha256(const formats::Tokenizer& tokenizer) {
  std::string pieces;
  for (std::int64_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string piece = tokenizer.piece(static_cast<std::int32_t>(id));
    pieces += fmt::format("{}:", piece.size()) + piece;
  }
  return sha256_hex(pieces);
}

}  // namespace

capture::ModelInfo Engine::model_info() const {
  const formats::ModelSpec& s = spec();
  capture::ModelInfo info;
  info.name = s.name;
  info.architecture = s.architecture;
  info.file_format = s.file_format;
  info.quantization = s.quantization;
  info.num_layers = s.num_layers;
  info.num_heads = s.num_heads;
  info.num_kv_heads = s.num_kv_heads;
  info.head_dim = s.head_dim;
  info.hidden_size = s.hidden_size;
  info.vocab_size = s.vocab_size;
  info.context_length = s.context_length;
  info.num_parameters = s.num_parameters;
  info.rope_theta = s.rotary_dim > 0 ? s.rope.theta : 0.0;
  info.rope_scaling_json = s.rotary_dim > 0 ? scaling_json(s.rope.scaling) : std::string{};
  info.config_json = s.config_json;
  info.tied_embeddings = s.tied_embeddings;
  for (const auto& file : model().files) info.file_names.push_back(file.filename().string());
  for (const auto& stamp : model().stamps) info.file_sizes.push_back(static_cast<std::int64_t>(stamp.size));
  info.chat_template = model().chat_template;
  if (!info.chat_template.empty()) info.chat_template_sha256 = sha256_hex(info.chat_template);
  if (model().tokenizer) info.tokenizer_sha256 = vocabulary_sha256(*model().tokenizer);
  return info;
}

capture::LayerParameters Engine::layer_parameters(int layer) const {
  const formats::ModelSpec& s = spec();
  HEADLIGHT_CHECK(layer >= 0 && layer < s.num_layers);
  capture::LayerParameters out;
  out.layer = layer;
  out.scale = layer_scale(s, layer);
  out.soft_cap = static_cast<float>(s.attention_soft_cap);
  out.window = layer_window(s, layer);
  out.causal = s.causal;
  if (const float* sinks = impl_->weights.layers[static_cast<std::size_t>(layer)].sinks_h; sinks != nullptr)
    out.null_logit_h.assign(sinks, sinks + s.num_heads);
  return out;
}

}  // namespace headlight::engine
