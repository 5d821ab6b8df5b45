#include "core/engine/cuda_model.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/buffer.h"
#include "base/error.h"

namespace headlight::engine {
namespace {

constexpr std::int64_t kPanelElements = 16 << 20;  // weights that are dequantised and copied at a time
constexpr std::int64_t kUploadRows = 32;

void check_supported(const formats::ModelSpec& spec) {
  if (spec.moe.num_experts > 0)
    throw Error(Errc::unsupported, "models with experts do not run on CUDA in this version",
                {.file = {}, .field = "--device", .offset = {}, .hint = "use --device cpu"});
  const std::pair<const char*, std::int64_t> sizes[] = {
      {"hidden_size", spec.hidden_size}, {"intermediate_size", spec.intermediate_size}, {"head_dim", spec.head_dim}};
  for (const auto& [name, size] : sizes)
    if (size % 8 != 0)
      throw Error(Errc::unsupported, fmt::format("on CUDA {} must be a multiple of 8, found {}", name, size),
                  {.file = {}, .field = "--device", .offset = {}, .hint = "use --device cpu"});
  if (spec.head_dim > 256)
    throw Error(Errc::unsupported, fmt::format("on CUDA head_dim must be at most 256, found {}", spec.head_dim),
                {.file = {}, .field = "--device", .offset = {}, .hint = "use --device cpu"});
}

std::string name_of_device(int device) {
  std::string why;
  for (const cuda::DeviceInfo& info : device_table().devices(why))
    if (info.index == device) return info.name;
  return fmt::format("cuda:{}", device);
}

}  // namespace

CudaModel::CudaModel(const formats::ModelSpec& spec, const ModelWeights& weights, ThreadPool& pool, int device,
                     DType dtype)
    : queue_(device),
      dtype_(dtype),
      device_name_(name_of_device(device)),
      num_heads_(spec.num_heads),
      head_dim_(spec.head_dim),
      pool_(pool),
      grams_(static_cast<std::size_t>(spec.num_layers)) {
  check_supported(spec);
  const Linear embedding{weights.token_embedding, nullptr};
  token_embedding = load({&embedding});
  if (weights.position_embedding.rows > 0) {
    const Linear positions{weights.position_embedding, nullptr};
    position_embedding = load({&positions}).w;
  }
  output_norm = load(weights.output_norm, spec.hidden_size);
  output = weights.output.w.data == weights.token_embedding.data ? token_embedding : load({&weights.output});
  for (const LayerWeights& layer : weights.layers) load_layer(spec, layer);
}

const DeviceGram& CudaModel::gram(int layer) const {
  DeviceGram& out = grams_[static_cast<std::size_t>(layer)];
  if (out.parts.bytes() > 0) return out;
  const DeviceLinear& projection = layers[static_cast<std::size_t>(layer)].output;
  const cuda::FactKernels& facts = *cuda::fact_kernels();
  const auto dim = static_cast<std::size_t>(facts.padded_head_dim(head_dim_));
  const std::size_t size = static_cast<std::size_t>(num_heads_) * dim * dim;
  const DeviceBuffer scratch(queue_.stream, size * sizeof(float));
  DeviceGram made{DeviceBuffer(queue_.stream, 2 * size * size_of(dtype_)),
                  DeviceBuffer(queue_.stream, static_cast<std::size_t>(num_heads_) * sizeof(float))};
  facts.gram(queue_.stream, {.dtype = dtype_,
                             .w = projection.w,
                             .rows = projection.rows,
                             .num_heads = num_heads_,
                             .head_dim = head_dim_,
                             .scratch = scratch.as<float>(),
                             .parts = made.parts.as<void>(),
                             .scale_h = made.scale_h.as<float>()});
  out = std::move(made);
  return out;
}

void CudaModel::load_layer(const formats::ModelSpec& spec, const LayerWeights& from) {
  const std::int64_t d = spec.hidden_size;
  const bool whole = spec.qk_norm == formats::ModelSpec::QkNorm::whole;
  DeviceLayer out;
  out.attn_norm = load(from.attn_norm, d);
  out.post_attention_norm = load(from.post_attention_norm, d);
  out.ffn_norm = load(from.ffn_norm, d);
  out.post_ffw_norm = load(from.post_ffw_norm, d);
  out.qkv = load({&from.q, &from.k, &from.v});
  out.output = load({&from.output});
  out.q_norm = load_vector(from.q_norm, spec.head_dim * (whole ? spec.num_heads : 1));
  out.k_norm = load_vector(from.k_norm, spec.head_dim * (whole ? spec.num_kv_heads : 1));
  out.sinks_h = load_vector(from.sinks_h, spec.num_heads);
  out.gate_up = spec.gated_ffn ? load({&from.gate, &from.up}) : load({&from.up});
  out.down = load({&from.down});
  layers.push_back(out);
}

/// Matrices of the same width below each other; where only some have a bias, the others get zeros.
DeviceLinear CudaModel::load(std::initializer_list<const Linear*> parts) {
  DeviceLinear out;
  bool biased = false;
  for (const Linear* part : parts) {
    out.rows += part->w.rows;
    out.cols = part->w.cols;
    biased = biased || part->bias != nullptr;
  }
  auto* to = static_cast<std::uint16_t*>(place(static_cast<std::size_t>(out.rows * out.cols) * sizeof(std::uint16_t)));
  out.w = to;
  std::vector<float> bias;
  for (const Linear* part : parts) {
    load_rows(part->w, to);
    to += part->w.rows * part->w.cols;
    if (part->bias != nullptr)
      bias.insert(bias.end(), part->bias, part->bias + part->w.rows);
    else
      bias.resize(bias.size() + static_cast<std::size_t>(part->w.rows));
  }
  if (biased) out.bias = load_vector(bias.data(), out.rows);
  return out;
}

DeviceNorm CudaModel::load(const Norm& norm, std::int64_t size) {
  return {load_vector(norm.weight, size), load_vector(norm.bias, size)};
}

const float* CudaModel::load_vector(const float* values, std::int64_t size) {
  if (values == nullptr) return nullptr;
  const std::size_t bytes = static_cast<std::size_t>(size) * sizeof(float);
  void* to = place(bytes);
  device_table().copy_in(queue_.stream, to, values, bytes);
  device_table().synchronize(queue_.stream);  // `values` may be a temporary
  return static_cast<const float*>(to);
}

void* CudaModel::place(std::size_t bytes) {
  return memory_.emplace_back(queue_.stream, bytes).as<void>();
}

void CudaModel::load_rows(const kernels::MatrixView& matrix, std::uint16_t* to) {
  const std::int64_t panel = std::clamp<std::int64_t>(kPanelElements / matrix.cols, 1, matrix.rows);
  Buffer<std::uint16_t> narrow(static_cast<std::size_t>(panel * matrix.cols));
  for (std::int64_t first = 0; first < matrix.rows; first += panel) {
    const std::int64_t rows = std::min(panel, matrix.rows - first);
    pool_.parallel_for((rows + kUploadRows - 1) / kUploadRows, [&](std::int64_t task, int) {
      const std::int64_t begin = task * kUploadRows, count = std::min(kUploadRows, rows - begin) * matrix.cols;
      Buffer<float> wide(static_cast<std::size_t>(count));
      kernels::dequantize_rows(matrix, first + begin, count / matrix.cols, wide.data());
      for (std::int64_t k = 0; k < count; ++k) {
        const float x = wide[static_cast<std::size_t>(k)];
        narrow[static_cast<std::size_t>(begin * matrix.cols + k)] =
            dtype_ == DType::bf16 ? f32_to_bf16(x) : f32_to_f16(x);
      }
    });
    device_table().copy_in(queue_.stream, to + first * matrix.cols, narrow.data(),
                           static_cast<std::size_t>(rows * matrix.cols) * sizeof(std::uint16_t));
    device_table().synchronize(queue_.stream);  // the panel is used again
  }
}

}  // namespace headlight::engine
