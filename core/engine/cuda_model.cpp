#include "core/engine/cuda_model.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/buffer.h"
#include "base/error.h"

namespace headlight::engine {
namespace {

constexpr std::int64_t kPanelElements = 16 << 20;  // weights that are dequantised and copied at a time
constexpr std::int64_t kRowsPerTask = 32;

const cuda::CudaKernels& table() {
  const cuda::CudaKernels* kernels = cuda::cuda_kernels();
  if (kernels == nullptr)
    throw Error(Errc::unsupported, "this build has no CUDA support",
                {.file = {}, .field = "--device", .offset = {}, .hint = "use --device cpu"});
  return *kernels;
}

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

}  // namespace

DeviceBuffer::DeviceBuffer(cuda::Stream stream, std::size_t bytes)
    : stream_(stream), memory_(table().allocate(stream, bytes)), bytes_(bytes) {}

DeviceBuffer::~DeviceBuffer() {
  if (memory_ != nullptr) table().release(stream_, memory_);
}

void DeviceBuffer::swap(DeviceBuffer& other) noexcept {
  std::swap(stream_, other.stream_);
  std::swap(memory_, other.memory_);
  std::swap(bytes_, other.bytes_);
}

void DeviceBuffer::ensure(cuda::Stream stream, std::size_t bytes) {
  if (bytes_ >= bytes) return;
  { const DeviceBuffer old = std::move(*this); }  // free before allocating
  *this = DeviceBuffer(stream, bytes);
}

DeviceQueue::DeviceQueue(int device) : stream(table().open_stream(device)) {
  try {
    matmul = cuda::dense_kernels()->open_matmul(stream);
  } catch (...) {
    table().close_stream(stream);
    throw;
  }
}

DeviceQueue::~DeviceQueue() {
  cuda::dense_kernels()->close_matmul(matmul);
  table().close_stream(stream);
}

CudaModel::CudaModel(const formats::ModelSpec& spec, const ModelWeights& weights, ThreadPool& pool, int device,
                     DType dtype)
    : queue_(device), dtype_(dtype), pool_(pool) {
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
  table().copy_in(queue_.stream, to, values, bytes);
  table().synchronize(queue_.stream);  // `values` may be a temporary
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
    pool_.parallel_for((rows + kRowsPerTask - 1) / kRowsPerTask, [&](std::int64_t task, int) {
      const std::int64_t begin = task * kRowsPerTask, count = std::min(kRowsPerTask, rows - begin) * matrix.cols;
      Buffer<float> wide(static_cast<std::size_t>(count));
      kernels::dequantize_rows(matrix, first + begin, count / matrix.cols, wide.data());
      for (std::int64_t k = 0; k < count; ++k) {
        const float x = wide[static_cast<std::size_t>(k)];
        narrow[static_cast<std::size_t>(begin * matrix.cols + k)] =
            dtype_ == DType::bf16 ? f32_to_bf16(x) : f32_to_f16(x);
      }
    });
    table().copy_in(queue_.stream, to + first * matrix.cols, narrow.data(),
                    static_cast<std::size_t>(rows * matrix.cols) * sizeof(std::uint16_t));
    table().synchronize(queue_.stream);  // the panel is used again
  }
}

}  // namespace headlight::engine
