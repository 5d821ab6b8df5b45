#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "kernels/attention_ref.h"
#include "kernels/cpu_tier.h"

namespace headlight::kernels::testing {

/// One attention problem with the memory of its operands. `capacity` keys are stored per KV head, num_keys are visible.
struct AttentionCase {
  AttentionInputs in;
  AttentionStatisticsPlan plan;
  std::vector<float> q, k, v, null_logits;
  std::vector<std::uint16_t> k_bf16, v_bf16;
  std::vector<std::uint8_t> groups;
  std::string name;

  /// Points `in` and `plan` at the vectors above: call after every change of them or a copy of the case.
  void attach();
  void store_as_bf16();
  /// The same problem restricted to call rows [begin, end), keys up to the last of them when causal.
  AttentionInputs rows(std::int64_t begin, std::int64_t end) const;
};

struct CaseShape {
  std::int64_t num_queries = 1, num_keys = 1;
  int num_heads = 1, num_kv_heads = 1, head_dim = 16;
  float spread = 1.0f;  ///< standard deviation of q: about that of the scores
};

/// Random normal operands, queries at the end of the keys, 1/sqrt(D), groups in runs, tail = last 5 rows.
AttentionCase random_case(const CaseShape& shape, std::uint32_t seed);

/// Outputs, poisoned before the call (columns and blocks zeroed as the contract asks).
struct AttentionOutputs {
  std::vector<float> out_ihd;
  std::vector<float> lse, entropy, pmax, first, sink, local, dist1, dist2, off0, off1, null_mass, group_mass;
  std::vector<std::int32_t> jmax;
  std::vector<float> received, received_tail, block_sum, block_max;
  std::int64_t block_count = 0;

  /// Arrays for `num_rows` rows and the keys of the case.
  AttentionOutputs(const AttentionCase& c, std::int64_t num_rows);
  AttentionStatistics statistics(const AttentionCase& c, std::int64_t first_row, std::int64_t num_rows);
  bool same_bits(const AttentionOutputs& other) const;
  const std::vector<const std::vector<float>*> float_rows() const {
    return {&lse, &entropy, &pmax, &first, &sink, &local, &dist1, &dist2, &off0, &off1, &null_mass};
  }
};

AttentionOutputs run_attention(const AttentionCase& c, int num_threads);
std::vector<float> run_plain(const AttentionCase& c, int num_threads);

/// Fails the running test where `got` leaves the limits around `want`.
/// Limits, with f = 1 + max|s| / 64: output 2e-6 f relative per head (rounded up for 16-bit inputs it is the same: the
/// twin reads the same bits), lse 5e-5 f, entropy 1e-4 f, masses 2e-5 f, pmax 1e-4 f relative, distances 1e-4 f
/// relative, columns and blocks 2e-4 f relative + 1e-6.
/// @param output_limit  relative Frobenius norm of a head's output, before f
void expect_close(const AttentionCase& c, const AttentionOutputs& got, const AttentionReference& want,
                  double output_limit = 2e-6);

}  // namespace headlight::kernels::testing
