#include "core/formats/weight_loader.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>
#include <span>

#include "base/log.h"
#include "core/formats/fail.h"
#include "kernels/dequantize.h"

namespace headlight::formats {
namespace {

std::string shape_text(const std::vector<std::int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

/// Loads one model. Roles are consumed; what is left over at the end had no place in the architecture.
class Loader {
 public:
  Loader(const ModelSpec& spec, const StoredTensors& stored, const LoadOptions& options, Weights& weights)
      : spec_(spec), stored_(stored), options_(options), weights_(weights) {
    for (const auto& [role, tensor] : stored_.by_role)
      if (role.starts_with("blk.") && role.ends_with(".bias")) {
        const auto name = role.find('.', 4) + 1;
        biased_.insert(role.substr(name, role.size() - name - std::string_view(".bias").size()));
      }
  }

  void load() {
    const std::int64_t d = spec_.hidden_size;
    matrix("token_embd.weight", spec_.vocab_size, d);
    if (spec_.learned_positions) matrix("position_embd.weight", spec_.context_length, d);
    norm("output_norm", d);
    if (!spec_.tied_embeddings) {
      matrix("output.weight", spec_.vocab_size, d);
      if (find("output.bias")) vector("output.bias", spec_.vocab_size);
    }
    for (int l = 0; l < spec_.num_layers; ++l) layer(fmt::format("blk.{}.", l));
    report();
  }

 private:
  const StoredTensor* find(const std::string& role) const {
    const auto it = stored_.by_role.find(role);
    return it == stored_.by_role.end() ? nullptr : &it->second;
  }

  const StoredTensor& take(const std::string& role) {
    const auto* tensor = find(role);
    if (!tensor) bad_format({tensor_field(stored_.source_name(role))}, "is missing");
    used_.insert(role);
    return *tensor;
  }

  const StoredTensor& take(const std::string& role, const std::vector<std::int64_t>& shape) {
    const auto& tensor = take(role);
    if (tensor.shape != shape)
      bad_format({tensor_field(tensor.source_name)}, "expected shape {}, found {}", shape_text(shape),
                 shape_text(tensor.shape));
    return tensor;
  }

  // --- matrices -----------------------------------------------------------------------------------------------------

  /// A matrix [rows][cols] in place, or turned when the file holds it as [cols][rows].
  WeightTensor stored_matrix(const std::string& role, std::int64_t rows, std::int64_t cols) {
    const auto* peek = find(role);
    if (!peek || !peek->transposed) {
      const auto& tensor = take(role, {rows, cols});
      return in_place(tensor, rows, cols);
    }
    const auto& tensor = take(role, {cols, rows});
    return transposed(tensor, tensor.data, rows, cols);
  }

  /// The file's bytes themselves, or a copy where their address does not suit the element type.
  WeightTensor in_place(const StoredTensor& tensor, std::int64_t rows, std::int64_t cols) {
    WeightTensor out{tensor.type, rows, cols, tensor.data};
    const std::size_t size = info(tensor.type).block_size == 1 ? info(tensor.type).block_bytes : 1;
    if (reinterpret_cast<std::uintptr_t>(tensor.data) % size != 0) {
      const auto copy = weights_.allocate(out.bytes());
      std::memcpy(copy.data(), tensor.data, copy.size());
      out.data = copy.data();
    }
    return out;
  }

  WeightTensor transposed(const StoredTensor& tensor, const std::byte* data, std::int64_t rows, std::int64_t cols) {
    const auto& facts = info(tensor.type);
    if (facts.block_size != 1)
      fail(Errc::unsupported, {tensor_field(tensor.source_name)}, "a transposed matrix of type {}", facts.name);
    const auto out = weights_.allocate(static_cast<std::uint64_t>(rows * cols) * facts.block_bytes);
    transpose(data, out.data(), rows, cols, 1, facts.block_bytes);
    return {tensor.type, rows, cols, out.data()};
  }

  /// out[r][c] = in[c][r * stride], elements of `size` bytes; in blocks, so that both sides stay in cache.
  static void transpose(const std::byte* in, std::byte* out, std::int64_t rows, std::int64_t cols, std::int64_t stride,
                        std::size_t size) {
    constexpr std::int64_t kEdge = 32;
    for (std::int64_t r0 = 0; r0 < rows; r0 += kEdge)
      for (std::int64_t c0 = 0; c0 < cols; c0 += kEdge)
        for (std::int64_t r = r0; r < std::min(rows, r0 + kEdge); ++r)
          for (std::int64_t c = c0; c < std::min(cols, c0 + kEdge); ++c)
            std::memcpy(out + static_cast<std::size_t>(r * cols + c) * size,
                        in + static_cast<std::size_t>((c * rows + r) * stride) * size, size);
  }

  void matrix(const std::string& role, std::int64_t rows, std::int64_t cols) {
    weights_.add(role, stored_matrix(role, rows, cols));
  }

  /// Weight and, where the file has one, bias of a linear layer.
  void linear(const std::string& role, std::int64_t rows, std::int64_t cols) {
    matrix(role + ".weight", rows, cols);
    if (has_bias(role)) vector(role + ".bias", rows);
  }

  /// What one layer has, every layer must have: a bias that got lost is an error, not zero.
  bool has_bias(const std::string& role) {
    const std::string name = role.substr(role.find('.', 4) + 1);
    const bool qkv = name == "attn_q" || name == "attn_k" || name == "attn_v" || name == "attn_qkv";
    const std::string& arch = spec_.architecture;
    const bool always = arch == "gpt2" || arch == "gpt-oss" || (arch == "qwen2" && qkv);
    return always || biased_.contains(name);
  }

  // --- vectors ------------------------------------------------------------------------------------------------------

  /// f32 values of a vector, checked to be finite; `plus` is added. Used in place when nothing has to change.
  WeightTensor stored_vector(const StoredTensor& tensor, std::int64_t size, float plus = 0.0f) {
    const auto& facts = info(tensor.type);
    if (facts.block_size != 1)
      fail(Errc::unsupported, {tensor_field(tensor.source_name)}, "a vector of type {}; expected F32", facts.name);
    WeightTensor out = in_place(tensor, 1, size);
    if (tensor.type != TensorType::f32 || plus != 0.0f) {
      const auto copy = weights_.allocate(static_cast<std::uint64_t>(size) * sizeof(float));
      const std::span<float> values{reinterpret_cast<float*>(copy.data()), static_cast<std::size_t>(size)};
      kernels::dequantize_row(tensor.type, out.data, values);
      if (plus != 0.0f)
        for (float& value : values) value += plus;
      out = {TensorType::f32, 1, size, copy.data()};
    }
    check_finite(tensor, {reinterpret_cast<const float*>(out.data), static_cast<std::size_t>(size)});
    return out;
  }

  void check_finite(const StoredTensor& tensor, std::span<const float> values) const {
    const auto bad = std::count_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
    if (bad == 0) return;
    const auto text = fmt::format("{} of {} values are NaN or infinite", bad, values.size());
    if (!options_.allow_nonfinite) bad_format({tensor_field(tensor.source_name)}, "{}", text);
    log_warning(fmt::format("{}: {}", tensor_field(tensor.source_name), text));
  }

  void vector(const std::string& role, std::int64_t size, float plus = 0.0f) {
    weights_.add(role, stored_vector(take(role, {size}), size, plus));
  }

  void norm(const std::string& role, std::int64_t size) {
    vector(role + ".weight", size, stored_.norms_lack_one ? 1.0f : 0.0f);
    if (spec_.norm == NormKind::layer) vector(role + ".bias", size);
  }

  // --- layers -------------------------------------------------------------------------------------------------------

  void layer(const std::string& blk) {
    const std::int64_t d = spec_.hidden_size;
    if (spec_.block != BlockKind::post_norm) {
      norm(blk + "attn_norm", d);
      norm(blk + "ffn_norm", d);
    }
    if (spec_.block != BlockKind::pre_norm) {
      norm(blk + "post_attention_norm", d);
      norm(blk + "post_ffw_norm", d);
    }
    attention(blk);
    if (spec_.moe.num_experts > 0)
      experts(blk);
    else
      feed_forward(blk);
  }

  void attention(const std::string& blk) {
    const std::int64_t d = spec_.hidden_size;
    const std::int64_t q = std::int64_t{spec_.num_heads} * spec_.head_dim;
    const std::int64_t kv = std::int64_t{spec_.num_kv_heads} * spec_.head_dim;
    if (const auto* fused = find(blk + "attn_qkv.weight")) {
      if (stored_.rotary_pairs_adjacent)
        fail(Errc::unsupported, {tensor_field(fused->source_name)}, "fused q, k, v in architecture '{}'",
             spec_.architecture);
      split_rows(blk, "attn_qkv", d, {{"attn_q", q}, {"attn_k", kv}, {"attn_v", kv}});
    } else {
      rotary(blk + "attn_q", q, spec_.num_heads);
      rotary(blk + "attn_k", kv, spec_.num_kv_heads);
      linear(blk + "attn_v", kv, d);
    }
    linear(blk + "attn_output", d, q);
    using Qk = ModelSpec::QkNorm;
    if (spec_.qk_norm != Qk::none) {
      const float plus = stored_.norms_lack_one ? 1.0f : 0.0f;
      vector(blk + "attn_q_norm.weight", spec_.qk_norm == Qk::whole ? q : spec_.head_dim, plus);
      vector(blk + "attn_k_norm.weight", spec_.qk_norm == Qk::whole ? kv : spec_.head_dim, plus);
    }
    if (spec_.learned_sinks) vector(blk + "attn_sinks.weight", spec_.num_heads);
  }

  struct Part {
    const char* name;
    std::int64_t rows;
  };

  /// A fused linear layer as its row slices, which need no copy.
  void split_rows(const std::string& blk, const std::string& fused, std::int64_t cols, const std::vector<Part>& parts) {
    std::int64_t rows = 0;
    for (const auto& part : parts) rows += part.rows;
    const WeightTensor whole = stored_matrix(blk + fused + ".weight", rows, cols);
    std::int64_t first = 0;
    for (const auto& part : parts) {
      weights_.add(blk + part.name + ".weight", whole.slice(first, part.rows));
      first += part.rows;
    }
    if (!has_bias(blk + fused)) return;
    WeightTensor bias = stored_vector(take(blk + fused + ".bias", {rows}), rows);
    for (const auto& part : parts) {
      weights_.add(blk + part.name + ".bias", {TensorType::f32, 1, part.rows, bias.data});
      bias.data += static_cast<std::size_t>(part.rows) * sizeof(float);
    }
  }

  /// q or k: converters of llama models interleave the halves of each head (row h D + 2 j + s holds row h D + s D/2 + j
  /// of the original); whole rows move back, so quantised rows stay as they are.
  void rotary(const std::string& role, std::int64_t rows, int num_heads) {
    if (!stored_.rotary_pairs_adjacent) return linear(role, rows, spec_.hidden_size);
    WeightTensor tensor = stored_matrix(role + ".weight", rows, spec_.hidden_size);
    tensor.data = unpermuted(tensor.data, num_heads, row_bytes(tensor.type, tensor.cols));
    weights_.add(role + ".weight", tensor);
    if (!has_bias(role)) return;
    WeightTensor bias = stored_vector(take(role + ".bias", {rows}), rows);
    bias.data = unpermuted(bias.data, num_heads, sizeof(float));
    weights_.add(role + ".bias", bias);
  }

  const std::byte* unpermuted(const std::byte* rows, int num_heads, std::uint64_t bytes_per_row) {
    const std::uint64_t dim = static_cast<std::uint64_t>(spec_.head_dim);
    const auto out = weights_.allocate(static_cast<std::uint64_t>(num_heads) * dim * bytes_per_row);
    for (std::uint64_t h = 0; h < static_cast<std::uint64_t>(num_heads); ++h)
      for (std::uint64_t s = 0; s < 2; ++s)
        for (std::uint64_t j = 0; j < dim / 2; ++j)
          std::memcpy(out.data() + (h * dim + s * dim / 2 + j) * bytes_per_row,
                      rows + (h * dim + 2 * j + s) * bytes_per_row, bytes_per_row);
    return out.data();
  }

  void feed_forward(const std::string& blk) {
    const std::int64_t d = spec_.hidden_size, ff = spec_.intermediate_size;
    const auto* up = find(blk + "ffn_up.weight");
    const bool twice = up && !up->shape.empty() && up->shape[0] == 2 * ff;
    if (spec_.gated_ffn && !find(blk + "ffn_gate.weight") && (twice || spec_.architecture == "phi3")) {
      split_rows(blk, "ffn_up", d, {{"ffn_gate", ff}, {"ffn_up", ff}});  // phi3: gate rows first
    } else {
      if (spec_.gated_ffn) linear(blk + "ffn_gate", ff, d);
      linear(blk + "ffn_up", ff, d);
    }
    linear(blk + "ffn_down", d, ff);
  }

  // --- experts ------------------------------------------------------------------------------------------------------

  void experts(const std::string& blk) {
    const std::int64_t d = spec_.hidden_size, ff = spec_.intermediate_size, n = spec_.moe.num_experts;
    linear(blk + "ffn_gate_inp", n, d);
    if (find(blk + "ffn_gate_up_exps.weight")) {
      interleaved_experts(blk, n, ff, d);
    } else {
      stacked_experts(blk + "ffn_gate_exps", n, ff, d);
      stacked_experts(blk + "ffn_up_exps", n, ff, d);
    }
    stacked_experts(blk + "ffn_down_exps", n, d, ff);
  }

  /// [n][rows][cols], or [n][cols][rows] when transposed; bias [n][rows].
  void stacked_experts(const std::string& role, std::int64_t n, std::int64_t rows, std::int64_t cols) {
    const auto* peek = find(role + ".weight");
    if (!peek || !peek->transposed) {
      weights_.add(role + ".weight", in_place(take(role + ".weight", {n, rows, cols}), n * rows, cols));
    } else {
      const auto& tensor = take(role + ".weight", {n, cols, rows});
      const std::size_t size = float_size(tensor);
      const auto out = weights_.allocate(static_cast<std::uint64_t>(n * rows * cols) * size);
      for (std::int64_t e = 0; e < n; ++e) {
        const std::size_t at = static_cast<std::size_t>(e * rows * cols) * size;
        transpose(tensor.data + at, out.data() + at, rows, cols, 1, size);
      }
      weights_.add(role + ".weight", {tensor.type, n * rows, cols, out.data()});
    }
    weights_.add(role + ".bias", stored_vector(take(role + ".bias", {n, rows}), n * rows));
  }

  std::size_t float_size(const StoredTensor& tensor) const {
    const auto& facts = info(tensor.type);
    if (facts.block_size != 1)
      fail(Errc::unsupported, {tensor_field(tensor.source_name)}, "transposed experts of type {}", facts.name);
    return facts.block_bytes;
  }

  /// [n][d][2 ff] with gate in the even and up in the odd columns, bias [n][2 ff].
  void interleaved_experts(const std::string& blk, std::int64_t n, std::int64_t ff, std::int64_t d) {
    const auto& tensor = take(blk + "ffn_gate_up_exps.weight", {n, d, 2 * ff});
    const auto& bias = take(blk + "ffn_gate_up_exps.bias", {n, 2 * ff});
    const std::size_t size = float_size(tensor);
    const WeightTensor both = stored_vector(bias, n * 2 * ff);
    const auto* pairs = reinterpret_cast<const float*>(both.data);
    for (int odd = 0; odd < 2; ++odd) {
      const std::string role = blk + (odd ? "ffn_up_exps" : "ffn_gate_exps");
      const auto out = weights_.allocate(static_cast<std::uint64_t>(n * ff * d) * size);
      for (std::int64_t e = 0; e < n; ++e)
        transpose(tensor.data + static_cast<std::size_t>(e * d * 2 * ff + odd) * size,
                  out.data() + static_cast<std::size_t>(e * ff * d) * size, ff, d, 2, size);
      weights_.add(role + ".weight", {tensor.type, n * ff, d, out.data()});
      const auto values = weights_.allocate(static_cast<std::uint64_t>(n * ff) * sizeof(float));
      for (std::int64_t i = 0; i < n * ff; ++i) reinterpret_cast<float*>(values.data())[i] = pairs[2 * i + odd];
      weights_.add(role + ".bias", {TensorType::f32, 1, n * ff, values.data()});
    }
  }

  void report() const {
    std::vector<std::string> unused;
    for (const auto& [role, tensor] : stored_.by_role)
      if (!used_.contains(role) && !(spec_.tied_embeddings && role == "output.weight") && !role.starts_with("rope_"))
        unused.push_back(tensor.source_name);
    if (unused.empty()) return;
    const std::size_t shown = std::min<std::size_t>(unused.size(), 8);
    log_warning(fmt::format("{} tensors have no place in architecture '{}' and are ignored: {}{}", unused.size(),
                            spec_.architecture,
                            fmt::join(unused.begin(), unused.begin() + static_cast<long>(shown), ", "),
                            shown < unused.size() ? ", ..." : ""));
  }

  const ModelSpec& spec_;
  const StoredTensors& stored_;
  const LoadOptions& options_;
  Weights& weights_;
  std::set<std::string> used_;
  std::set<std::string> biased_;  // linear layers that have a bias in some layer: "attn_q"
};

}  // namespace

void load_weights(const ModelSpec& spec, const StoredTensors& stored, const LoadOptions& options, Weights& weights) {
  Loader(spec, stored, options, weights).load();
}

}  // namespace headlight::formats
