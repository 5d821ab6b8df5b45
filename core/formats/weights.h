#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/formats/tensor_type.h"

namespace headlight::formats {

/// One weight in its stored form: `rows` rows of `cols` elements, each row contiguous, y = W x with W [rows][cols].
/// A vector has rows = 1. Experts are stacked: rows = num_experts * rows_per_expert.
struct WeightTensor {
  TensorType type = TensorType::f32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  const std::byte* data = nullptr;

  std::uint64_t bytes() const { return static_cast<std::uint64_t>(rows) * row_bytes(type, cols); }
  WeightTensor slice(std::int64_t first_row, std::int64_t num_rows) const;
};

/// All weights of a model under one set of names and one set of conventions, whatever the file:
///
///   token_embd.weight [V][d], position_embd.weight [ctx][d] (gpt2), output.weight [V][d] (absent when tied),
///   output.bias, output_norm.{weight,bias}, and per layer blk.<l>. :
///   attn_norm, attn_q, attn_k, attn_v, attn_output, attn_q_norm, attn_k_norm, attn_sinks, post_attention_norm,
///   ffn_norm, ffn_gate, ffn_up, ffn_down, post_ffw_norm, ffn_gate_inp, ffn_gate_exps, ffn_up_exps, ffn_down_exps
///   each ".weight" and optionally ".bias".
///
/// q, k, v and gate, up are always separate (fused tensors are given as row slices); linear weights are [out][in];
/// RoPE is half-split everywhere (llama GGUF rows are un-permuted); norm weights are the factors to multiply with
/// (gemma's "+1" is included); every vector (norm, bias, sinks) is f32 and 4-byte aligned. Experts are stacked by rows:
/// ffn_{gate,up}_exps [num_experts * d_ff][d], ffn_down_exps [num_experts * d][d_ff], their biases vectors of as many
/// rows. The norm before the feed-forward part is ffn_norm in every model (gpt-oss files call it otherwise).
class Weights {
 public:
  const WeightTensor* find(std::string_view name) const;
  /// @error bad_format "tensor 'X' is missing"
  const WeightTensor& get(std::string_view name) const;
  /// get() plus a shape check. @error bad_format with expected and found shape
  const WeightTensor& get(std::string_view name, std::int64_t rows, std::int64_t cols) const;
  /// f32 vector of `size`, or empty span when absent.
  std::span<const float> vector_or_empty(std::string_view name, std::int64_t size) const;
  std::span<const float> vector(std::string_view name, std::int64_t size) const;

  const std::map<std::string, WeightTensor, std::less<>>& all() const { return tensors_; }
  std::uint64_t total_bytes() const;

  // For loaders.
  void add(std::string name, WeightTensor tensor);
  /// Storage that lives as long as the weights (for rows that had to be rewritten).
  std::span<std::byte> allocate(std::uint64_t bytes);
  void keep_alive(std::shared_ptr<const void> storage) { storage_.push_back(std::move(storage)); }

 private:
  std::map<std::string, WeightTensor, std::less<>> tensors_;
  std::vector<std::shared_ptr<const void>> storage_;  // mapped files and rewritten rows
};

}  // namespace headlight::formats
