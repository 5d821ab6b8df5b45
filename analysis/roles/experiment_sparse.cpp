// Which sparse mask recovers a head's attention on one long text.

#include <algorithm>

#include "analysis/roles/model_maps.h"
#include "analysis/roles/sparse_pattern.h"
#include "analysis/roles/text_prompt.h"

namespace headlight::analysis {
namespace {

constexpr std::int64_t kSparseTokens = 2048, kSparseShortest = 512;
constexpr double kSparseShare = 0.1;

std::int64_t sparse_length(const capture::ModelInfo& model) {
  return std::min(kSparseTokens, model.context_length);
}

std::vector<ExperimentItem> sparse_items(const RoleInputs& inputs, const capture::ModelInfo& model) {
  if (sparse_length(model) < kSparseShortest || inputs.pool.eligible.empty()) return {};
  return {{"0", std::to_string(sparse_length(model))}};
}

HeadSample run_sparse(const ExperimentContext& context, std::size_t) {
  const capture::ModelInfo& model = context.runner.model();
  const std::int64_t n = sparse_length(model), first = n / 2;
  const auto result = record_prompt(context, {.ids = text_prompt(context.inputs, 0, 1, n)});
  const capture::CaptureView& view = *result.capture;
  const std::int64_t head_dim = model.head_dim;
  std::vector<float> q(static_cast<std::size_t>(n * head_dim)), k(q.size());
  HeadValues a_shape, vertical_slash, block_sparse, best;
  for_each_map(context, view, first, n, [&](std::size_t index, std::span<const float> attn_ij) {
    const int layer = static_cast<int>(index) / model.num_heads, head = static_cast<int>(index) % model.num_heads;
    view.read_q(0, layer, head, 0, n, q.data());
    view.read_k(0, layer, head * model.num_kv_heads / model.num_heads, 0, n, k.data());
    const SparsePattern pattern = sparse_pattern({.n = n, .first_row = first, .rows = n - first, .attn_ij = attn_ij}, q,
                                                 k, head_dim, kSparseShare);
    a_shape.push_back(pattern.a_shape);
    vertical_slash.push_back(pattern.vertical_slash);
    block_sparse.push_back(pattern.block_sparse);
    best.push_back(static_cast<double>(pattern.best));
  });
  HeadSample sample{.group = std::to_string(n), .counted = true, .scores = {}, .facts = {{"tokens", n}}};
  sample.scores = {{"recovered-a-shape", a_shape},
                   {"recovered-vertical-slash", vertical_slash},
                   {"recovered-block-sparse", block_sparse},
                   {"sparse-class", best}};
  return sample;
}

}  // namespace

Experiment sparse_experiment() {
  return {.id = "sparse",
          .title = "Sparse masks",
          .source = "MInference 1.0: Accelerating Pre-filling for Long-Context LLMs via Dynamic Sparse Attention",
          .scores = {{"recovered-a-shape", "mass inside 30 columns and a band, 10 % of the keys", GroupReduce::mean},
                     {"recovered-vertical-slash", "mass inside chosen columns and diagonals, 10 % of the keys",
                      GroupReduce::mean},
                     {"recovered-block-sparse", "mass inside chosen blocks of 32, 10 % of the keys", GroupReduce::mean},
                     {"sparse-class", "0 a-shape, 1 vertical-slash, 2 block-sparse, 3 dense (none recovers 0.9)"}},
          .derived = {},
          .params = [](const RoleInputs&, const capture::ModelInfo& model) -> Json {
            return {{"tokens", sparse_length(model)}, {"share", kSparseShare}, {"rows", "second half"}};
          },
          .items = sparse_items,
          .run = run_sparse,
          .derive = {}};
}

}  // namespace headlight::analysis
