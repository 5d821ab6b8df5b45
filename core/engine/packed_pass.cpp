#include "core/engine/packed_pass.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "core/engine/forward.h"
#include "core/engine/session_impl.h"

namespace headlight::engine {
namespace {

std::int64_t longest_of(const std::vector<std::int64_t>& tails) {
  return tails.empty() ? 0 : *std::max_element(tails.begin(), tails.end());
}

}  // namespace

std::int64_t PackedPass::rows_of(const ScoreInput& input) {
  std::int64_t rows = std::ssize(input.ids);
  for (const auto& tokens : input.continuations) rows += std::ssize(tokens) - 1;
  return rows;
}

PackedPass::PackedPass(const Engine::Impl& engine, Workspace& workspace, std::span<const ScoreInput> inputs,
                       std::stop_token stop)
    : engine_(engine),
      workspace_(workspace),
      stop_(std::move(stop)),
      cache_(engine.spec(), engine.options.kv_dtype, false) {
  lay_out(inputs);
  steps_ = std::make_unique<RowSteps>(engine_, workspace_, runs_, stop_);
  for (int t = 0; t < engine_.pool.num_threads(); ++t) lanes_.push_back(std::make_unique<Lane>());
}

void PackedPass::lay_out(std::span<const ScoreInput> inputs) {
  std::int64_t slot = 0;
  for (const ScoreInput& input : inputs) {
    Place place{.row = std::ssize(ids_), .slot = slot, .prompt = std::ssize(input.ids), .num_runs = 0, .tails = {}};
    ids_.insert(ids_.end(), input.ids.begin(), input.ids.end());
    for (const auto& tokens : input.continuations) {
      ids_.insert(ids_.end(), tokens.begin(), tokens.end() - 1);
      place.tails.push_back(std::ssize(tokens) - 1);
    }
    const std::int64_t length = place.prompt + longest_of(place.tails);
    if (rope_length_key(engine_.spec(), place.prompt) != rope_length_key(engine_.spec(), length))
      throw Error(Errc::unsupported,
                  fmt::format("rotary frequencies change between the {} tokens of a prompt and the {} with what "
                              "follows; give a longer or shorter prompt",
                              place.prompt, length));
    const std::size_t first_run = runs_.size();
    runs_.push_back({place.prompt, 0, length});
    for (const std::int64_t rows : place.tails)
      if (rows > 0) runs_.push_back({rows, place.prompt, length});
    place.num_runs = runs_.size() - first_run;
    slot += length;
    places_.push_back(std::move(place));
  }
  cache_.reserve(slot);
}

void PackedPass::run_plain(std::span<const int> kept) {
  kept_.clear();
  steps_->set_edits({});
  steps_->embed(ids_);
  const int num_layers = engine_.spec().num_layers;
  const auto size = static_cast<std::size_t>(steps_->num_rows() * engine_.spec().hidden_size);
  for (int layer = 0; layer <= num_layers; ++layer) {
    if (std::find(kept.begin(), kept.end(), layer) != kept.end())
      kept_.emplace_back(layer, std::vector<float>(steps_->x_id, steps_->x_id + size));
    if (layer < num_layers) run_layer(layer, {});
  }
}

void PackedPass::run_changed(int first, std::span<Edits> edits) {
  steps_->set_edits(edits_of_runs(edits));
  const auto found = std::find_if(kept_.begin(), kept_.end(), [&](const auto& entry) { return entry.first == first; });
  if (found != kept_.end()) {
    std::copy(found->second.begin(), found->second.end(), steps_->x_id);
  } else {
    steps_->embed(ids_);
    first = 0;
  }
  for (int layer = first; layer < engine_.spec().num_layers; ++layer) run_layer(layer, edits);
}

std::vector<Edits*> PackedPass::edits_of_runs(std::span<Edits> edits) const {
  std::vector<Edits*> edits_r;
  for (std::size_t k = 0; k < edits.size(); ++k) edits_r.insert(edits_r.end(), places_[k].num_runs, &edits[k]);
  return edits_r;
}

void PackedPass::run_layer(int number, std::span<Edits> edits) {
  throw_if_stopped(stop_);
  const LayerWeights& layer = engine_.weights.layers[static_cast<std::size_t>(number)];
  steps_->enter_layer(number);
  steps_->project_qkv(layer);
  steps_->rotate(number, layer);
  steps_->round_operands(DType::f32, cache_.dtype());
  const auto edits_of = [&](std::int64_t k) { return edits.empty() ? nullptr : &edits[static_cast<std::size_t>(k)]; };
  const std::int64_t count = std::ssize(places_);
  // A thread for each prompt, or all of them for one prompt after the other: the same bits.
  if (count >= engine_.pool.num_threads()) {
    engine_.pool.parallel_for(count, [&](std::int64_t k, int worker) {
      Lane& lane = *lanes_[static_cast<std::size_t>(worker)];
      attend(number, places_[static_cast<std::size_t>(k)], edits_of(k), lane.pool, lane.attention);
    });
  } else {
    for (std::int64_t k = 0; k < count; ++k)
      attend(number, places_[static_cast<std::size_t>(k)], edits_of(k), engine_.pool, workspace_.attention);
  }
  steps_->finish_layer(number, layer);
  steps_->check([&] { return fmt::format("the residual stream after layer {} of {} prompts", number, count); });
}

void PackedPass::attend(int number, const Place& place, Edits* edits, ThreadPool& pool,
                        kernels::AttentionWorkspace& workspace) {
  attend_rows(number, place, place.row, 0, place.prompt, edits, pool, workspace);
  std::int64_t row = place.row + place.prompt;
  for (const std::int64_t rows : place.tails) {
    // The keys of the continuation before are dead: this one takes their place.
    if (rows > 0) attend_rows(number, place, row, place.prompt, rows, edits, pool, workspace);
    row += rows;
  }
}

void PackedPass::attend_rows(int number, const Place& place, std::int64_t row, std::int64_t start, std::int64_t n,
                             Edits* edits, ThreadPool& pool, kernels::AttentionWorkspace& workspace) {
  const std::int64_t q_size = steps_->q_size(), kv_size = steps_->kv_size();
  cache_.store(pool, number, place.slot + start, n, steps_->k_igd + row * kv_size, steps_->v_igd + row * kv_size,
               kv_size);
  kernels::AttentionInputs in =
      attention_inputs(engine_, cache_, number, start, n, steps_->q_ihd + row * q_size, q_size);
  const std::int64_t offset = place.slot * in.head_dim * static_cast<std::int64_t>(size_of(in.kv_dtype));
  in.k_gjd = static_cast<const std::byte*>(in.k_gjd) + offset;
  in.v_gjd = static_cast<const std::byte*>(in.v_gjd) + offset;
  float* out = steps_->attn_ihd + row * q_size;
  if (edits != nullptr) {
    if (start == 0) edits->find_keys(pool, workspace, number, in, out, q_size);
    in.program_h = edits->rows(number);
  }
  kernels::attention(pool, workspace, in, out, q_size, nullptr, nullptr);
  if (edits != nullptr) edits->head_outputs(pool, number, start, n, out, q_size);
}

std::vector<float> PackedPass::final_rows() const {
  const std::int64_t d = engine_.spec().hidden_size;
  std::vector<float> rows;
  for (const Place& place : places_) {
    std::int64_t end = place.row + place.prompt;
    for (const std::int64_t tail : place.tails) end += tail;
    rows.insert(rows.end(), steps_->x_id + (place.row + place.prompt - 1) * d, steps_->x_id + end * d);
  }
  return rows;
}

}  // namespace headlight::engine
