#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "core/capture/capture_plan.h"
#include "core/capture/row_plan.h"

namespace headlight::capture {

/// Facts about the model that a capture carries. L counts all layers of the model, not the recorded ones.
struct ModelInfo {
  std::string name, architecture, file_format, quantization;
  int num_layers = 0, num_heads = 0, num_kv_heads = 0, head_dim = 0, hidden_size = 0;
  std::int64_t vocab_size = 0, context_length = 0, num_parameters = 0;
  double rope_theta = 0.0;
  std::string rope_scaling_json, config_json;
  bool tied_embeddings = false;
  std::vector<std::string> file_names;
  std::vector<std::int64_t> file_sizes;
  std::vector<std::string> file_sha256;
  std::string tokenizer_sha256, chat_template_sha256, chat_template;
};

/// Where and how the run was made.
struct Provenance {
  std::string tool_version, git_commit, build_type, compiler, cpu, cpu_tier, compute_dtype, kv_dtype, activation_quant;
  std::string embedding_scale;       ///< Gemma's sqrt(hidden_size): "f32", or "weight" = rounded as the weights are
  std::int64_t sliding_window = -1;  ///< >= 0: the window that replaced the one of the file
  std::string device_name;           ///< "cpu" or the name of the GPU
  std::string command_line;
  std::string started;  ///< ISO 8601 UTC
  int threads = 1;
  std::int64_t seed = 0;
  bool deterministic = true;
};

struct CaptureHeader {
  ModelInfo model;
  Provenance provenance;
  CapturePlan plan;
  std::int64_t num_records = 1;
};

/// How attention of one recorded layer is computed; with q, k and lse this is all that replay needs.
struct LayerParameters {
  int layer = 0;  ///< number in the model
  float scale = 1.0f;
  float soft_cap = 0.0f;    ///< 0 = off
  std::int64_t window = 0;  ///< 0 = none
  bool causal = true;
  std::vector<float> null_logit_h;  ///< [H]; empty = none
};

/// One token of a record; byte and character offsets refer to RecordHeader::text, -1 = no source.
struct TokenInfo {
  std::int32_t id = 0;
  std::int64_t byte_begin = -1, byte_end = -1, char_begin = -1, char_end = -1;
  std::uint8_t kind = 0;      ///< formats::TokenKind
  std::int16_t segment = -1;  ///< index into RecordHeader::segments
  std::string piece;          ///< raw bytes
};

struct Segment {
  std::string name;                 ///< "system", "user", "assistant", "image 1"
  std::int64_t begin = 0, end = 0;  ///< token positions, half-open
};

struct RecordHeader {
  std::string record_id;
  std::string text;  ///< the prompt exactly as given (rendered chat for --chat-file)
  std::int64_t source_line = -1, label = -1;
  std::vector<TokenInfo> tokens;  ///< prompt tokens; generated ones come with append_generated()
  std::vector<Segment> segments;
  std::int64_t num_prompt_tokens = 0;
  std::int64_t num_rows = 0;  ///< rows that will come if nothing stops the run: P, or P + T - 1 with generation
  bool bos_present = false;
  std::int64_t first_key = 0;           ///< left padding
  std::vector<LayerParameters> layers;  ///< in the order of CapturePlan::layers
  std::string interventions;            ///< the stack that acted, a headlight.intervention document; empty = none
  bool rows_changed = false;            ///< interventions change rows of attention: every recorded layer has a row plan
  bool has_base = false;                ///< then: statistics without interventions are recorded as well
};

/// Rows [row_begin, row_begin + num_rows) of one recorded layer. A prompt arrives as one block per layer (or per chunk
/// of a long prompt), generated tokens as small blocks. Arrays are [H][num_rows] with the given stride; G =
/// num_kv_heads.
struct LayerRows {
  int index = 0;  ///< index into CapturePlan::layers
  std::int64_t row_begin = 0, num_rows = 0;
  std::int64_t row_stride = 0;  ///< elements between heads of the arrays below
  bool base = false;            ///< statistics of the same q and k without interventions; operands and norms are null
  const float *lse = nullptr, *entropy = nullptr, *pmax = nullptr, *first = nullptr, *sink = nullptr, *local = nullptr,
              *dist1 = nullptr, *dist2 = nullptr, *off0 = nullptr, *off1 = nullptr, *null_mass = nullptr;
  const std::int32_t* jmax = nullptr;
  const float* group_mass = nullptr;  ///< [H][row_stride][num segments] or null

  /// Operands after RoPE and QK-norm, already rounded to the stored type; null at summary level.
  const float* q_ihd = nullptr;  ///< element (i, h, d) at [i * q_stride + h * head_dim + d]
  std::int64_t q_stride = 0;
  const float* k_igd = nullptr;  ///< element (i, g, d) at [i * kv_stride + g * head_dim + d]
  const float* v_igd = nullptr;
  std::int64_t kv_stride = 0;

  const float* key_norm_gi = nullptr;    ///< [G][num_rows] L2 norms
  const float* value_norm_gi = nullptr;  ///< [G][num_rows]
  const float* u_norm_hi = nullptr;      ///< [H][num_rows] |W_O^h v|: what the head writes per unit of attention
};

/// Column statistics of one recorded layer over all keys so far; replaces what was written before.
struct LayerColumns {
  int index = 0;
  std::int64_t num_keys = 0, col_stride = 0;
  bool base = false;                ///< as LayerRows::base
  const float* received = nullptr;  ///< [H][col_stride]
  const float* received_tail = nullptr;
  std::int64_t block_edge = 0, block_count = 0;
  const float* block_sum = nullptr;  ///< [H][B][B] or null
  const float* block_max = nullptr;
};

/// Largest entries of one row, ascending keys; remainder = mass not listed.
struct TopkRow {
  std::int32_t layer = 0, head = 0;  ///< model layer number, head
  std::int64_t query = 0;
  std::vector<std::int32_t> keys;
  std::vector<float> values;
  float remainder = 0.0f;
};

/// Dense rows of A for the `maps` level: rows [row_begin, +num_rows) x keys [0, num_keys), row-major, 0 = invisible.
struct DenseRows {
  int index = 0, head = 0;
  std::int64_t row_begin = 0, num_rows = 0, num_keys = 0;
  const float* attn_ij = nullptr;
};

/// Facts of residual states: level 0..L (all layers of the model); level l = residual entering layer l, level L =
/// residual before the final norm.
struct HiddenRows {
  int level = 0;
  std::int64_t row_begin = 0, num_rows = 0;
  const float *norm_l2 = nullptr, *absmax = nullptr, *mean = nullptr, *rms = nullptr;  ///< [num_rows]
  const std::int32_t* absmax_dim = nullptr;
  const float* cos_first = nullptr;  ///< cosine to the state of the first valid token at this level
  const float* x_id = nullptr;       ///< [num_rows][hidden_size] when CapturePlan::hidden_states
};

/// |x| > 100 and > 1000 x median of its level.
struct MassiveActivation {
  std::int32_t level = 0, dim = 0;
  std::int64_t token = 0;
  float value = 0.0f;
};

struct LogitRows {
  std::int64_t row_begin = 0, num_rows = 0;
  int k = 0;
  const std::int32_t* top_id = nullptr;  ///< [num_rows][k]
  const float* top_logprob = nullptr;
  const float* entropy = nullptr;         ///< [num_rows] nats of the next-token distribution
  const float* target_logprob = nullptr;  ///< log-probability of the token that follows; NaN at the last row
  std::span<const float> full;            ///< [num_rows][V] when kept (row = last prompt position for `last`)
};

/// Receives one run, layer by layer, and stores it. Calls come from one thread in this order: begin, then for every
/// record begin_record, any number of write_*, end_record, and at last finish. A sink may block (back-pressure); it
/// never drops.
/// @error io (disk), cancelled never
class CaptureSink {
 public:
  virtual ~CaptureSink() = default;
  virtual void begin(const CaptureHeader& header) = 0;
  virtual void begin_record(const RecordHeader& record) = 0;
  virtual void write_rows(const LayerRows& rows) = 0;
  /// What interventions did to the rows of a recorded layer: once, after its first rows, where
  /// RecordHeader::rows_changed.
  virtual void write_row_plan(int /*index*/, const RowPlan& /*plan*/) {}
  virtual void write_columns(const LayerColumns& columns) = 0;
  virtual void write_dense(const DenseRows& rows) = 0;
  virtual void write_topk(std::span<const TopkRow> rows) = 0;
  virtual void write_hidden(const HiddenRows& rows) = 0;
  virtual void write_massive(std::span<const MassiveActivation> entries) = 0;
  virtual void write_logits(const LogitRows& rows) = 0;
  virtual void append_generated(const TokenInfo& token, float logprob) = 0;
  /// `rows_done` rows of every layer are complete; fewer than announced when the run was stopped.
  virtual void end_record(std::int64_t rows_done, const std::vector<std::pair<std::string, double>>& timing) = 0;
  /// @param complete  false: interrupted, the capture is marked partial
  virtual void finish(bool complete) = 0;
  /// A point to which the capture can be recovered after a crash: after each layer of a prompt, every few generated
  /// rows.
  virtual void flush() = 0;
};

}  // namespace headlight::capture
