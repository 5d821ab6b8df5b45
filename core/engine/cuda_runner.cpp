#include "core/engine/cuda_runner.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>

#include <fmt/format.h>

#include "base/error.h"
#include "core/engine/cuda_facts.h"
#include "core/engine/rope.h"

namespace headlight::engine {
namespace {

using formats::BlockKind;
using formats::ModelSpec;

/// Calls of so many rows wait for every layer, so that a stop and the progress mean something.
constexpr std::int64_t kLongCall = 1024;

constexpr int kAllFinite = std::numeric_limits<int>::max();

template <class T>
std::size_t bytes_of(std::int64_t count) {
  return static_cast<std::size_t>(count) * sizeof(T);
}

class CudaRunner final : public Runner {
 public:
  CudaRunner(const Engine::Impl& engine, const CudaModel& model, const SequenceUse& use)
      : engine_(engine),
        spec_(engine.spec()),
        model_(model),
        table_(*cuda::cuda_kernels()),
        dense_(*cuda::dense_kernels()),
        stream_(model.queue().stream),
        d_(spec_.hidden_size),
        q_size_(std::int64_t{spec_.num_heads} * spec_.head_dim),
        kv_size_(std::int64_t{spec_.num_kv_heads} * spec_.head_dim),
        cache_(static_cast<std::size_t>(spec_.num_layers)),
        first_bad_(stream_, bytes_of<int>(spec_.num_layers + 2)),
        use_(use) {}

  std::int64_t capacity() const override { return capacity_; }
  void reserve(std::int64_t rows) override;
  void forward(const ForwardRequest& request) override;
  void finish_columns() override {
    if (facts_) facts_->finish_columns();
  }
  void map_rows(const MapRows& rows, float* attn_ij) override;
  void logits(std::int64_t first, std::int64_t n, std::int64_t start, float* logits) override;

 private:
  struct Slot {
    DeviceBuffer k, v;  // [G][capacity][D]
  };

  DeviceBuffer grown(const DeviceBuffer& old, std::int64_t rows) const;
  void prepare(const ForwardRequest& request);
  void upload_rope(const formats::RopeSpec& rope, std::int64_t start, DeviceBuffer& target);
  void run_layer(int number, const ForwardRequest& request);
  void project_operands(int number, std::int64_t start, std::int64_t first, std::int64_t rows);
  cuda::AttentionInputs attention_inputs(int number, std::int64_t start) const;
  void attend(int number, const ForwardRequest& request);
  void add_attention(const DeviceLayer& layer, std::int64_t first, std::int64_t rows);
  void add_feed_forward(const DeviceLayer& layer, std::int64_t first, std::int64_t rows);

  void normalize(const DeviceNorm& norm, const float* x, std::int64_t n, cuda::NormTarget target, void* y);
  /// What a block reads: the residual behind its norm, or as it is where norms come after (olmo2).
  const void* block_input(const DeviceNorm& norm, const float* x, std::int64_t n);
  /// x += projection, or x += norm(projection).
  void add_projection(const DeviceLinear& linear, const DeviceNorm& norm, const void* in, std::int64_t n, float* x);
  void multiply(const DeviceLinear& linear, const void* x, std::int64_t n, void* y, DType y_dtype, bool accumulate);

  void watch(const float* x, std::int64_t n, std::int64_t width, std::int64_t start, int place);
  int bad_row(int place) const;
  void report_bad_rows() const;

  /// With an observer two take turns: one is copied to the host while the next layer fills the other.
  DeviceBuffer& queries(int number) { return q_ihd_[static_cast<std::size_t>(number % num_query_buffers_)]; }
  const DeviceBuffer& queries(int number) const {
    return q_ihd_[static_cast<std::size_t>(number % num_query_buffers_)];
  }
  float* residual(std::int64_t row) const { return x_id_.as<float>() + row * d_; }

  const Engine::Impl& engine_;
  const ModelSpec& spec_;
  const CudaModel& model_;
  const cuda::CudaKernels& table_;
  const cuda::DenseKernels& dense_;
  const cuda::Stream stream_;
  std::int64_t d_, q_size_, kv_size_, n_ = 0, capacity_ = 0;
  std::vector<Slot> cache_;
  std::array<DeviceBuffer, CudaFacts::kStagings> q_ihd_;
  int num_query_buffers_ = 1;
  DeviceBuffer ids_, x_id_, attn_ihd_, in_id_, wide_, narrow_, act_, rope_full_, rope_sliding_, logits_;
  DeviceBuffer first_bad_;  // [embeddings, layers, logits] smallest position with NaN or Inf
  const SequenceUse use_;
  std::optional<CudaFacts> facts_;  // from the first observer on
};

// ---- the cache
// ---------------------------------------------------------------------------------------------------------

DeviceBuffer CudaRunner::grown(const DeviceBuffer& old, std::int64_t rows) const {
  const std::size_t row = static_cast<std::size_t>(spec_.head_dim) * size_of(model_.dtype());
  const std::size_t wide = static_cast<std::size_t>(rows) * row, kept = static_cast<std::size_t>(capacity_) * row;
  DeviceBuffer out(stream_, static_cast<std::size_t>(spec_.num_kv_heads) * wide);
  for (std::size_t g = 0; g < static_cast<std::size_t>(spec_.num_kv_heads) && kept > 0; ++g)
    table_.copy_within(stream_, out.as<std::byte>() + g * wide, old.as<std::byte>() + g * kept, kept);
  return out;
}

void CudaRunner::reserve(std::int64_t rows) {
  if (rows <= capacity_) return;
  std::vector<Slot> larger;
  for (const Slot& slot : cache_) larger.push_back({grown(slot.k, rows), grown(slot.v, rows)});
  cache_ = std::move(larger);
  capacity_ = rows;
}

// ---- one pass
// ----------------------------------------------------------------------------------------------------------

void CudaRunner::upload_rope(const formats::RopeSpec& rope, std::int64_t start, DeviceBuffer& target) {
  const RopeFrequencies frequencies = rope_frequencies(rope, spec_.rotary_dim, spec_.context_length, start + n_);
  Buffer<float> cos_sin(static_cast<std::size_t>(n_ * spec_.rotary_dim));
  fill_rope_table(engine_.pool, frequencies, start, n_, cos_sin.data());
  target.ensure(stream_, cos_sin.size() * sizeof(float));
  table_.copy_in(stream_, target.as<void>(), cos_sin.data(), cos_sin.size() * sizeof(float));
  table_.synchronize(stream_);
}

void CudaRunner::prepare(const ForwardRequest& request) {
  n_ = static_cast<std::int64_t>(request.ids.size());
  const std::int64_t block = std::min(n_, kDeviceRowBlock), ff = spec_.intermediate_size;
  const std::size_t element = size_of(model_.dtype());
  const auto ensure = [&](DeviceBuffer& buffer, std::int64_t count, std::size_t size) {
    buffer.ensure(stream_, static_cast<std::size_t>(count) * size);
  };
  ensure(ids_, n_, sizeof(std::int32_t));
  ensure(x_id_, n_ * d_, sizeof(float));
  num_query_buffers_ = request.observer != nullptr ? CudaFacts::kStagings : 1;
  for (int number = 0; number < num_query_buffers_; ++number) ensure(queries(number), n_ * q_size_, element);
  ensure(attn_ihd_, n_ * q_size_, element);
  ensure(in_id_, block * d_, element);
  ensure(wide_, block * std::max(q_size_ + 2 * kv_size_, d_), sizeof(float));
  ensure(narrow_, block * ff * (spec_.gated_ffn ? 2 : 1), element);
  ensure(act_, block * ff, element);
  table_.copy_in(stream_, ids_.as<void>(), request.ids.data(), bytes_of<std::int32_t>(n_));
  const std::vector<int> finite(static_cast<std::size_t>(spec_.num_layers + 2), kAllFinite);
  table_.copy_in(stream_, first_bad_.as<void>(), finite.data(), finite.size() * sizeof(int));
  table_.synchronize(stream_);
  if (spec_.rotary_dim == 0) return;
  const auto sliding_layers = std::count(spec_.is_sliding.begin(), spec_.is_sliding.end(), 1);
  if (sliding_layers < spec_.num_layers) upload_rope(spec_.rope, request.start, rope_full_);
  if (sliding_layers > 0) upload_rope(spec_.rope_sliding, request.start, rope_sliding_);
}

void CudaRunner::forward(const ForwardRequest& request) {
  HEADLIGHT_CHECK(request.hook == nullptr && request.first_layer == 0);  // require_cpu() refused it
  throw_if_stopped(request.stop);
  prepare(request);
  if (request.observer != nullptr) {
    if (!facts_) facts_.emplace(engine_, model_, use_);
    facts_->begin(request, first_bad_.as<int>());
  }
  dense_.embed(stream_, {.dtype = model_.dtype(),
                         .table_vd = model_.token_embedding.w,
                         .positions_jd = model_.position_embedding,
                         .ids = ids_.as<std::int32_t>(),
                         .n = n_,
                         .d = d_,
                         .start = request.start,
                         .scale = engine_.embedding_scale,
                         .x_id = residual(0)});
  watch(residual(0), n_, d_, request.start, 0);
  for (int layer = 0; layer < spec_.num_layers; ++layer) {
    if (n_ >= kLongCall && request.observer == nullptr) table_.synchronize(stream_);  // an observer waits anyway
    throw_if_stopped(request.stop);
    run_layer(layer, request);
    if (request.progress)
      request.progress(
          {request.phase, layer + 1, spec_.num_layers, request.start + n_ * (layer + 1) / spec_.num_layers});
  }
  if (request.observer != nullptr) {
    facts_->hidden(spec_.num_layers, residual(0));
    facts_->close(spec_.num_layers);
    facts_->hand_over_before(spec_.num_layers);
    facts_->finish();
  }
  report_bad_rows();
}

void CudaRunner::run_layer(int number, const ForwardRequest& request) {
  const DeviceLayer& layer = model_.layers[static_cast<std::size_t>(number)];
  const auto for_row_blocks = [&](const auto& body) {
    for (std::int64_t first = 0; first < n_; first += kDeviceRowBlock)
      body(first, std::min(kDeviceRowBlock, n_ - first));
  };
  if (request.observer != nullptr) facts_->hidden(number, residual(0));
  for_row_blocks([&](std::int64_t first, std::int64_t rows) { project_operands(number, request.start, first, rows); });
  attend(number, request);
  for_row_blocks([&](std::int64_t first, std::int64_t rows) {
    add_attention(layer, first, rows);
    add_feed_forward(layer, first, rows);
  });
  watch(residual(0), n_, d_, request.start, number + 1);
  if (request.observer != nullptr) facts_->hand_over_before(number);
}

void CudaRunner::project_operands(int number, std::int64_t start, std::int64_t first, std::int64_t rows) {
  const DeviceLayer& layer = model_.layers[static_cast<std::size_t>(number)];
  const Slot& slot = cache_[static_cast<std::size_t>(number)];
  const bool whole = spec_.qk_norm == ModelSpec::QkNorm::whole, per_head = spec_.qk_norm == ModelSpec::QkNorm::per_head;
  const void* in = block_input(layer.attn_norm, residual(first), rows);
  DeviceLinear qkv = layer.qkv;
  if (!whole) qkv.bias = nullptr;  // added with the rotation
  float* projected = wide_.as<float>();
  multiply(qkv, in, rows, projected, DType::f32, false);
  const std::int64_t width = q_size_ + 2 * kv_size_;
  const auto normalize_part = [&](const float* weight, float* x, std::int64_t size) {
    dense_.normalize(stream_, {.x = x,
                               .n = rows,
                               .d = size,
                               .x_stride = width,
                               .weight_d = weight,
                               .eps = static_cast<float>(spec_.norm_eps),
                               .target = cuda::NormTarget::replace,
                               .y = x,
                               .y_stride = width});
  };
  if (whole) {
    normalize_part(layer.q_norm, projected, q_size_);
    normalize_part(layer.k_norm, projected + q_size_, kv_size_);
  }
  const DeviceBuffer& rope = is_sliding_layer(spec_, number) ? rope_sliding_ : rope_full_;
  dense_.operands(stream_, {.qkv = projected,
                            .n = rows,
                            .start = start + first,
                            .num_heads = spec_.num_heads,
                            .num_kv_heads = spec_.num_kv_heads,
                            .head_dim = spec_.head_dim,
                            .rotary_dim = spec_.rotary_dim,
                            .bias = whole ? nullptr : layer.qkv.bias,
                            .q_norm_d = per_head ? layer.q_norm : nullptr,
                            .k_norm_d = per_head ? layer.k_norm : nullptr,
                            .eps = static_cast<float>(spec_.norm_eps),
                            .cos_sin = spec_.rotary_dim > 0 ? rope.as<float>() + first * spec_.rotary_dim : nullptr,
                            .dtype = model_.dtype(),
                            .q_ihd = queries(number).as<std::uint16_t>() + first * q_size_,
                            .k_gjd = slot.k.as<void>(),
                            .v_gjd = slot.v.as<void>(),
                            .kv_stride = capacity_ * spec_.head_dim});
}

cuda::AttentionInputs CudaRunner::attention_inputs(int number, std::int64_t start) const {
  const Slot& slot = cache_[static_cast<std::size_t>(number)];
  cuda::AttentionInputs in;
  in.num_queries = n_;
  in.query_start = start;
  in.num_keys = start + n_;
  in.num_heads = spec_.num_heads;
  in.num_kv_heads = spec_.num_kv_heads;
  in.head_dim = spec_.head_dim;
  in.dtype = model_.dtype();
  in.q_ihd = queries(number).as<void>();
  in.q_stride = q_size_;
  in.k_gjd = slot.k.as<void>();
  in.v_gjd = slot.v.as<void>();
  in.kv_stride = capacity_ * spec_.head_dim;
  in.kv_row_stride = spec_.head_dim;
  in.scale = layer_scale(spec_, number);
  in.soft_cap = static_cast<float>(spec_.attention_soft_cap);
  in.null_logit_h = model_.layers[static_cast<std::size_t>(number)].sinks_h;
  in.mask.causal = spec_.causal;
  in.mask.window = layer_window(spec_, number);
  return in;
}

void CudaRunner::attend(int number, const ForwardRequest& request) {
  const cuda::AttentionInputs in = attention_inputs(number, request.start);
  const AttentionWish* wish = request.observer != nullptr ? facts_->wish(number) : nullptr;
  if (wish != nullptr)
    facts_->attention(number, *wish, in, attn_ihd_.as<void>());
  else
    table_.attention(stream_, in, attn_ihd_.as<void>(), q_size_, nullptr, nullptr, nullptr,
                     cuda::AttentionTier::automatic);
  if (request.observer != nullptr) facts_->close(number);
}

// One head of the layer, as a layer of one head.
void CudaRunner::map_rows(const MapRows& rows, float* attn_ij) {
  const std::int64_t dim = spec_.head_dim, group = std::int64_t{rows.head} * spec_.num_kv_heads / spec_.num_heads;
  std::vector<std::uint16_t> q(static_cast<std::size_t>(rows.num_rows * dim));
  std::vector<cuda::MapRow> wanted;
  for (std::int64_t i = 0; i < rows.num_rows; ++i) {
    const float* from = rows.q_ihd + i * rows.q_stride + rows.head * dim;
    for (std::int64_t e = 0; e < dim; ++e)
      q[static_cast<std::size_t>(i * dim + e)] =
          model_.dtype() == DType::bf16 ? f32_to_bf16(from[e]) : f32_to_f16(from[e]);
    wanted.push_back({0, static_cast<std::int32_t>(i)});
  }
  const std::size_t map_bytes = bytes_of<float>(rows.num_rows * rows.num_keys);
  const DeviceBuffer queries(stream_, q.size() * sizeof(std::uint16_t)), map(stream_, map_bytes);
  const DeviceBuffer which(stream_, wanted.size() * sizeof(cuda::MapRow));
  table_.copy_in(stream_, queries.as<void>(), q.data(), q.size() * sizeof(std::uint16_t));
  table_.copy_in(stream_, which.as<void>(), wanted.data(), wanted.size() * sizeof(cuda::MapRow));
  cuda::AttentionInputs in = attention_inputs(rows.layer, rows.first_row);
  in.num_queries = rows.num_rows;
  in.num_keys = rows.num_keys;
  in.num_heads = in.num_kv_heads = 1;
  in.q_ihd = queries.as<void>();
  in.q_stride = dim;
  in.k_gjd = static_cast<const std::uint16_t*>(in.k_gjd) + group * in.kv_stride;
  in.v_gjd = static_cast<const std::uint16_t*>(in.v_gjd) + group * in.kv_stride;
  if (in.null_logit_h != nullptr) in.null_logit_h += rows.head;
  table_.attention_map_rows(stream_, in, which.as<cuda::MapRow>(), rows.num_rows, map.as<float>());
  table_.copy_out(stream_, attn_ij, map.as<void>(), map_bytes);
  table_.synchronize(stream_);
}

void CudaRunner::add_attention(const DeviceLayer& layer, std::int64_t first, std::int64_t rows) {
  add_projection(layer.output, layer.post_attention_norm, attn_ihd_.as<std::uint16_t>() + first * q_size_, rows,
                 residual(first));
}

void CudaRunner::add_feed_forward(const DeviceLayer& layer, std::int64_t first, std::int64_t rows) {
  const void* in = block_input(layer.ffn_norm, residual(first), rows);
  DeviceLinear gate_up = layer.gate_up;
  gate_up.bias = nullptr;  // added with the activation
  multiply(gate_up, in, rows, narrow_.as<void>(), model_.dtype(), false);
  dense_.activate(stream_, {.kind = activation_kind(spec_),
                            .gated = spec_.gated_ffn,
                            .n = rows,
                            .width = spec_.intermediate_size,
                            .dtype = model_.dtype(),
                            .in = narrow_.as<void>(),
                            .bias = layer.gate_up.bias,
                            .out = act_.as<void>()});
  add_projection(layer.down, layer.post_ffw_norm, act_.as<void>(), rows, residual(first));
}

// ---- steps of a block
// ----------------------------------------------------------------------------------------------------

void CudaRunner::normalize(const DeviceNorm& norm, const float* x, std::int64_t n, cuda::NormTarget target, void* y) {
  dense_.normalize(stream_, {.layer_norm = spec_.norm == formats::NormKind::layer,
                             .x = x,
                             .n = n,
                             .d = d_,
                             .x_stride = d_,
                             .weight_d = norm.weight,
                             .bias_d = norm.bias,
                             .eps = static_cast<float>(spec_.norm_eps),
                             .target = target,
                             .dtype = model_.dtype(),
                             .y = y,
                             .y_stride = d_});
}

const void* CudaRunner::block_input(const DeviceNorm& norm, const float* x, std::int64_t n) {
  if (spec_.block == BlockKind::post_norm)
    dense_.narrow(stream_, model_.dtype(), x, n * d_, in_id_.as<void>());
  else
    normalize(norm, x, n, cuda::NormTarget::narrow, in_id_.as<void>());
  return in_id_.as<void>();
}

void CudaRunner::add_projection(const DeviceLinear& linear, const DeviceNorm& norm, const void* in, std::int64_t n,
                                float* x) {
  if (spec_.block == BlockKind::pre_norm) return multiply(linear, in, n, x, DType::f32, true);
  multiply(linear, in, n, wide_.as<void>(), DType::f32, false);
  normalize(norm, wide_.as<float>(), n, cuda::NormTarget::add, x);
}

void CudaRunner::multiply(const DeviceLinear& linear, const void* x, std::int64_t n, void* y, DType y_dtype,
                          bool accumulate) {
  cuda::MatmulCall call;
  call.n = n;
  call.rows = call.y_stride = linear.rows;
  call.cols = call.x_stride = linear.cols;
  call.dtype = model_.dtype();
  call.w = linear.w;
  call.x = x;
  call.y = y;
  call.y_dtype = y_dtype;
  call.bias = linear.bias;
  call.accumulate = accumulate;
  dense_.matmul(model_.queue().matmul, call);
}

// ---- the next token
// --------------------------------------------------------------------------------------------------------

void CudaRunner::logits(std::int64_t first, std::int64_t n, std::int64_t start, float* logits) {
  const std::int64_t vocab = spec_.vocab_size, block = std::min(n, kRowBlock);
  const int place = spec_.num_layers + 1;
  logits_.ensure(stream_, bytes_of<float>(block * vocab));
  for (std::int64_t row = 0; row < n; row += block) {
    const std::int64_t rows = std::min(block, n - row);
    normalize(model_.output_norm, residual(first + row), rows, cuda::NormTarget::narrow, in_id_.as<void>());
    multiply(model_.output, in_id_.as<void>(), rows, logits_.as<void>(), DType::f32, false);
    if (spec_.logit_soft_cap > 0)
      dense_.soft_cap(stream_, logits_.as<float>(), static_cast<float>(spec_.logit_soft_cap), rows * vocab);
    watch(logits_.as<float>(), rows, vocab, start + row, place);
    table_.copy_out(stream_, logits + row * vocab, logits_.as<void>(), bytes_of<float>(rows * vocab));
  }
  if (const int bad = bad_row(place); bad != kAllFinite)
    throw Error(Errc::failed, fmt::format("NaN or Inf appeared in the logits: first at token {}", bad));
}

// ---- NaN and infinity
// --------------------------------------------------------------------------------------------------------

void CudaRunner::watch(const float* x, std::int64_t n, std::int64_t width, std::int64_t start, int place) {
  dense_.find_nonfinite(stream_, x, n, width, start, first_bad_.as<int>() + place);
}

int CudaRunner::bad_row(int place) const {
  int row = kAllFinite;
  table_.copy_out(stream_, &row, first_bad_.as<int>() + place, sizeof row);
  table_.synchronize(stream_);
  return row;
}

void CudaRunner::report_bad_rows() const {
  std::vector<int> rows(static_cast<std::size_t>(spec_.num_layers + 1));
  table_.copy_out(stream_, rows.data(), first_bad_.as<void>(), rows.size() * sizeof(int));
  table_.synchronize(stream_);
  throw_if_not_finite(rows);
}

}  // namespace

std::unique_ptr<Runner> make_cuda_runner(const Engine::Impl& engine, const CudaModel& model, const SequenceUse& use) {
  return std::make_unique<CudaRunner>(engine, model, use);
}

}  // namespace headlight::engine
