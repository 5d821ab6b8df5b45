#include "core/engine/continuation_scores.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>

#include "base/error.h"
#include "core/engine/logit_recorder.h"
#include "core/engine/logits.h"
#include "core/engine/packed_pass.h"
#include "core/engine/runner.h"
#include "core/engine/session_impl.h"

namespace headlight::engine {
namespace {

/// Rows that go through the weights together: as many as a block of the projections holds.
constexpr std::int64_t kBatchRows = kRowBlock;

void check_inputs(const formats::ModelSpec& spec, std::span<const ScoreInput> inputs) {
  for (std::size_t k = 0; k < inputs.size(); ++k) {
    const auto refuse = [&](const std::string& text) {
      throw Error(Errc::invalid_argument, fmt::format("input {}: {}", k, text));
    };
    check_tokens(spec, inputs[k].ids, 0);
    for (const auto& tokens : inputs[k].continuations) {
      if (tokens.empty()) refuse("a continuation without tokens");
      check_tokens(spec, tokens, std::ssize(inputs[k].ids) - 1);  // the last token is not evaluated
    }
  }
}

/// Consecutive inputs of at most kBatchRows rows in all; a longer one is alone. [begin, end) of each batch.
std::vector<std::pair<std::size_t, std::size_t>> batches_of(std::span<const ScoreInput> inputs) {
  std::vector<std::pair<std::size_t, std::size_t>> batches;
  std::int64_t rows = 0;
  for (std::size_t k = 0; k < inputs.size(); ++k) {
    const std::int64_t more = PackedPass::rows_of(inputs[k]);
    if (batches.empty() || rows + more > kBatchRows) {
      batches.emplace_back(k, k);
      rows = 0;
    }
    rows += more;
    batches.back().second = k + 1;
  }
  return batches;
}

/// The row of logits that a token of a continuation is read from, counted from that of the prompt's last token.
struct Wanted {
  std::size_t input = 0, continuation = 0;
  std::int64_t row = 0;
  std::int32_t id = 0;
};

/// In ascending order of rows.
std::vector<Wanted> wanted_of(std::span<const ScoreInput> inputs) {
  std::vector<Wanted> wanted;
  std::int64_t row = 0;
  for (std::size_t k = 0; k < inputs.size(); ++k) {
    const std::int64_t prompt_row = row++;
    for (std::size_t c = 0; c < inputs[k].continuations.size(); ++c) {
      const auto& tokens = inputs[k].continuations[c];
      wanted.push_back({k, c, prompt_row, tokens[0]});
      for (std::size_t t = 1; t < tokens.size(); ++t) wanted.push_back({k, c, row++, tokens[t]});
    }
  }
  return wanted;
}

double divergence_of(std::span<const float> base_logprob, std::span<const float> logits, const LogitFacts& facts) {
  double sum = 0.0;
  for (std::size_t v = 0; v < logits.size(); ++v) {
    const double p = static_cast<double>(base_logprob[v]);
    if (p > -100.0) sum += std::exp(p) * (p - (static_cast<double>(logits[v]) - facts.log_sum));
  }
  return std::max(0.0, sum);
}

/// One batch of inputs under all variants.
class BatchScorer {
 public:
  BatchScorer(const Engine::Impl& engine, Workspace& workspace, std::span<const ScoreInput> inputs,
              std::size_t first_input, std::stop_token stop)
      : engine_(engine),
        workspace_(workspace),
        inputs_(inputs),
        first_input_(first_input),
        pass_(engine, workspace, inputs, std::move(stop)) {
    std::int64_t row = 0;
    for (const ScoreInput& input : inputs) {
      prompt_rows_.push_back(row);
      for (const auto& tokens : input.continuations) row += std::ssize(tokens) - 1;
      ++row;
    }
  }

  /// [variant][input of the batch]
  std::vector<std::vector<ScoreOutput>> run(std::span<const ScoreVariant> variants) {
    std::vector<std::vector<Edits>> edits;
    std::set<int> starts;
    for (const ScoreVariant& variant : variants) {
      edits.push_back(edits_of(variant));
      starts.insert(first_layer(edits.back()));
    }
    const int num_layers = engine_.spec().num_layers;
    // The plain pass serves variants that change nothing below their first layer; one alone needs it only if it is
    // plain.
    if (starts.contains(num_layers) || (variants.size() > 1 && *starts.rbegin() > 0)) {
      starts.insert(num_layers);
      starts.erase(0);
      pass_.run_plain(std::vector<int>(starts.begin(), starts.end()));
    }
    std::vector<std::vector<ScoreOutput>> outputs;
    for (std::vector<Edits>& changed : edits) {
      pass_.run_changed(first_layer(changed), changed);
      outputs.push_back(read(outputs.empty()));
    }
    return outputs;
  }

 private:
  std::vector<Edits> edits_of(const ScoreVariant& variant) const {
    std::vector<Edits> edits;
    if (variant.stacks.empty()) return edits;
    for (std::size_t k = 0; k < inputs_.size(); ++k) {
      edits.emplace_back(engine_.spec(), variant.stacks[variant.stacks.size() == 1 ? 0 : first_input_ + k]);
      try {
        edits.back().begin(std::ssize(inputs_[k].ids));
      } catch (const Error& error) {
        throw Error(error.code(), fmt::format("input {}: {}", first_input_ + k, error.message()), error.context());
      }
    }
    return edits;
  }
  int first_layer(std::span<const Edits> edits) const {
    int first = engine_.spec().num_layers;
    for (const Edits& edit : edits) first = std::min(first, edit.first_layer());
    return first;
  }

  std::vector<ScoreOutput> read(bool is_first) {
    const auto vocab = static_cast<std::size_t>(engine_.spec().vocab_size);
    const std::int64_t d = engine_.spec().hidden_size;
    const std::vector<float> x_rd = pass_.final_rows();
    const std::int64_t rows = std::ssize(x_rd) / d, most = logit_block_rows(engine_.spec().vocab_size);
    const std::vector<Wanted> wanted = wanted_of(inputs_);
    std::vector<ScoreOutput> outputs(inputs_.size());
    for (std::size_t k = 0; k < inputs_.size(); ++k) outputs[k].logprob.resize(inputs_[k].continuations.size());
    if (is_first) base_logprob_.assign(inputs_.size() * vocab, 0.0f);
    std::vector<float> logprob_w(wanted.size());
    for (std::int64_t first = 0; first < rows; first += most) {
      const std::int64_t n = std::min(most, rows - first);
      float* logits = ensure(logits_, n * engine_.spec().vocab_size);
      output_logits(engine_, workspace_, x_rd.data() + first * d, n, first, logits);
      facts_.resize(static_cast<std::size_t>(n));
      engine_.pool.parallel_for(n, [&](std::int64_t r, int) {
        facts_[static_cast<std::size_t>(r)] = logit_facts({logits + static_cast<std::size_t>(r) * vocab, vocab});
      });
      for (std::size_t w = 0; w < wanted.size(); ++w) {
        const std::int64_t r = wanted[w].row - first;
        if (r >= 0 && r < n)
          logprob_w[w] = logprob_of({logits + static_cast<std::size_t>(r) * vocab, vocab},
                                    facts_[static_cast<std::size_t>(r)], wanted[w].id);
      }
      read_prompt_rows(first, n, logits, is_first, outputs);
    }
    for (std::size_t w = 0; w < wanted.size(); ++w)
      outputs[wanted[w].input].logprob[wanted[w].continuation].push_back(logprob_w[w]);
    return outputs;
  }

  void read_prompt_rows(std::int64_t first, std::int64_t n, const float* logits, bool is_first,
                        std::vector<ScoreOutput>& outputs) {
    const auto vocab = static_cast<std::size_t>(engine_.spec().vocab_size);
    engine_.pool.parallel_for(std::ssize(inputs_), [&](std::int64_t k, int) {
      const auto input = static_cast<std::size_t>(k);
      const std::int64_t r = prompt_rows_[input] - first;
      if (r < 0 || r >= n) return;
      const std::span<const float> row{logits + static_cast<std::size_t>(r) * vocab, vocab};
      const LogitFacts& facts = facts_[static_cast<std::size_t>(r)];
      const std::span<float> base{base_logprob_.data() + input * vocab, vocab};
      outputs[input].entropy = facts.entropy;
      if (is_first) {
        for (std::size_t v = 0; v < vocab; ++v) base[v] = logprob_of(row, facts, static_cast<std::int32_t>(v));
      } else {
        outputs[input].divergence = static_cast<float>(divergence_of(base, row, facts));
      }
    });
  }

  const Engine::Impl& engine_;
  Workspace& workspace_;
  std::span<const ScoreInput> inputs_;
  std::size_t first_input_;
  PackedPass pass_;
  std::vector<std::int64_t> prompt_rows_;  // of the final rows, for each input
  Buffer<float> logits_;
  std::vector<LogitFacts> facts_;
  std::vector<float> base_logprob_;  // [inputs][V] of the first variant
};

}  // namespace

std::vector<std::vector<ScoreOutput>> score_continuations(const Engine::Impl& engine,
                                                          std::span<const ScoreInput> inputs,
                                                          std::span<const ScoreVariant> variants,
                                                          std::stop_token stop) {
  require_cpu(engine, "scores of continuations");
  check_inputs(engine.spec(), inputs);
  std::vector<ScoreVariant> filled(variants.begin(), variants.end());
  for (ScoreVariant& variant : filled) {
    if (variant.stacks.size() > 1 && variant.stacks.size() != inputs.size())
      throw Error(Errc::invalid_argument, fmt::format("a variant needs one stack of interventions or {}, found {}",
                                                      inputs.size(), variant.stacks.size()));
    for (intervention::Stack& stack : variant.stacks) run_sources(engine, stack);
  }
  std::vector<std::vector<ScoreOutput>> outputs(variants.size());
  Workspace workspace;
  for (const auto& [begin, end] : batches_of(inputs)) {
    throw_if_stopped(stop);
    const auto found = BatchScorer(engine, workspace, inputs.subspan(begin, end - begin), begin, stop).run(filled);
    for (std::size_t v = 0; v < found.size(); ++v)
      outputs[v].insert(outputs[v].end(), found[v].begin(), found[v].end());
  }
  return outputs;
}

}  // namespace headlight::engine
