// The whole suite on models whose heads have known roles.

#include <cmath>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "analysis/attention_rows.h"
#include "analysis/roles/attention_influence.h"
#include "analysis/roles/gate_gradient.h"
#include "analysis/roles/logit_attribution.h"
#include "analysis/roles/model_maps.h"
#include "analysis/roles/needle_scores.h"
#include "analysis/roles/needle_task.h"
#include "analysis/roles/pattern_scores.h"
#include "analysis/roles/role_report.h"
#include "analysis/roles/sentence_suppression.h"
#include "app/cli/role_inputs.h"
#include "core/engine/model_runner.h"
#include "core/planted/planted_model.h"
#include "tests/support/synthetic_model.h"
#include "tests/support/temp_folder.h"

namespace headlight::analysis {
namespace {

using planted::PlantedOptions;
using planted::Variant;

/// A planted model ready to run.
struct Planted {
  testing_support::TempFolder folder;
  std::unique_ptr<engine::Engine> engine;
  std::unique_ptr<ModelRunner> runner;
  RoleInputs inputs;

  explicit Planted(const PlantedOptions& options = {}) {
    planted::write_planted_model(planted::planted_model(options), folder.path(), true);
    engine = std::make_unique<engine::Engine>(formats::open_model(folder.path()), engine::EngineOptions{.threads = 2});
    runner = engine::make_model_runner(*engine);
    inputs = cli::make_role_inputs(engine->model(), 0);
  }
  ExperimentContext context() { return {*runner, inputs, {}}; }

  std::vector<double> windows() const {
    std::vector<double> windows;
    for (int l = 0; l < 2; ++l)
      windows.insert(windows.end(), 8, static_cast<double>(engine->layer_parameters(l).window));
    return windows;
  }

  /// @param most_items  of every experiment; the shorter needles come first
  heads::Headplan plan(std::string_view suite, std::size_t most_items = 1000) {
    std::vector<ExperimentSamples> found;
    for (const Experiment* experiment : select_experiments(suite)) {
      ExperimentSamples part{.experiment = experiment, .samples = {}, .seconds = 0};
      const auto items = experiment->items(inputs, runner->model());
      for (std::size_t k = 0; k < std::min(items.size(), most_items); ++k)
        part.samples.push_back(experiment->run(context(), k));
      found.push_back(std::move(part));
    }
    heads::Headplan plan;
    plan.model.grid = {2, 8, engine->spec().num_kv_heads};
    add_roles(plan, found, inputs, runner->model(), windows());
    return plan;
  }
};

std::vector<std::string> expected_roles() {
  std::vector<std::string> roles;
  for (const auto& layer : planted::planted_roles()) roles.insert(roles.end(), layer.begin(), layer.end());
  return roles;
}

std::vector<std::int32_t> repeated(std::int32_t m) {
  std::vector<std::int32_t> ids = {0};
  for (int copy = 0; copy < 2; ++copy)
    for (std::int32_t k = 0; k < m; ++k) ids.push_back(2 + k);
  return ids;
}

TEST(PlantedRoles, EveryPrimaryRoleIsFound) {
  Planted model;
  const auto plan = model.plan("repeats,needles,text");
  EXPECT_EQ(plan.primary_lh, expected_roles());
  // Secondary labels: what is exact at a role is near, too; the two halves of the model that write are not dead.
  const auto labels = [&](int layer, int head) { return plan.labels_lh[static_cast<std::size_t>(8 * layer + head)]; };
  EXPECT_THAT(labels(0, 0), ::testing::ElementsAre("previous", "local"));
  EXPECT_THAT(labels(0, 4), ::testing::ElementsAre("current", "local", "dead"));
  EXPECT_THAT(labels(0, 5), ::testing::ElementsAre("positional", "local", "dead"));
  // Half of its rows rest on the first token, a rounding below the 0.5 of a sink.
  EXPECT_THAT(labels(1, 0), ::testing::ElementsAre("retrieval", "induction", "semantic-retrieval"));
  EXPECT_THAT(labels(1, 1), ::testing::ElementsAre("sink", "dead"));
  // One reader that retrieves makes its KV head worth keeping, though the other one rests on the first token.
  EXPECT_EQ(plan.other["policy"][1][0], "full");
  for (int kv = 1; kv < 4; ++kv) EXPECT_EQ(plan.other["policy"][1][static_cast<std::size_t>(kv)], "stream");
  EXPECT_EQ(plan.other["experiments"]["needles"]["counted"], plan.other["experiments"]["needles"]["samples"]);
  EXPECT_DOUBLE_EQ(plan.roles_other["thresholds"]["retrieval"].get<double>(), 0.1875);
}

TEST(PlantedRoles, ScoresOnARepeat) {
  struct Row {
    int layer, head;
    double previous, current, first, duplicate_mass, duplicate_stripe, induction_mass, induction, broad, distance;
  };
  const Row table[] = {
      {0, 0, 1.0000, 0, 0.0208, 0, 0, 0, 0, 0.000, 1.00},
      {0, 1, 0, 1.0000, 0, 0, 0, 0, 0, 0.000, 0.00},
      {0, 2, 0.0208, 0, 1.0000, 0, 0, 0, 0, 0.000, 24.50},
      {0, 3, 0, 0.7500, 0, 1.0000, 0.5000, 0, 0, 0.096, 6.00},
      {0, 4, 0.1372, 0.8611, 0.0029, 0, 0, 0, 0, 0.155, 0.14},
      {0, 5, 0.0208, 0, 0.0417, 0, 0, 0, 0, 0.000, 1.98},
      {0, 6, 0.0725, 0.0725, 0.0725, 0.0149, 0.0276, 0.0135, 0.0276, 1.000, 12.25},
      {1, 0, 0.0208, 0, 0.5000, 0, 0, 0.4898, 1.0000, 0.000, 17.75},
      {1, 1, 0.0208, 0, 1.0000, 0, 0, 0, 0, 0.000, 24.50},
      {1, 6, 0.0725, 0.0725, 0.0725, 0.0149, 0.0276, 0.0135, 0.0276, 1.000, 12.25},
  };
  for (const Variant variant : {Variant::roles, Variant::gpt2}) {
    Planted model({.variant = variant});
    const auto ids = repeated(24);
    const auto result = record_prompt(model.context(), {.ids = ids});
    std::vector<PatternScores> scores;
    for_each_map(model.context(), *result.capture, 0, 49, [&](std::size_t, std::span<const float> attn_ij) {
      scores.push_back(pattern_scores({49, attn_ij}, pattern_targets(ids)));
    });
    for (const Row& row : table) {
      SCOPED_TRACE(testing::Message() << to_string(variant) << " head " << row.layer << "." << row.head);
      const PatternScores& s = scores[static_cast<std::size_t>(8 * row.layer + row.head)];
      EXPECT_NEAR(s.previous, row.previous, 1e-3);
      EXPECT_NEAR(s.current, row.current, 1e-3);
      EXPECT_NEAR(s.first, row.first, 1e-3);
      EXPECT_NEAR(s.duplicate_mass, row.duplicate_mass, 1e-3);
      EXPECT_NEAR(s.duplicate_stripe, row.duplicate_stripe, 1e-3);
      EXPECT_NEAR(s.induction_mass, row.induction_mass, 1e-3);
      EXPECT_NEAR(s.induction, row.induction, 1e-3);
      EXPECT_NEAR(s.broad, row.broad, 1e-3);
      EXPECT_NEAR(s.distance, row.distance, 6e-3);
    }
    EXPECT_EQ(scores[5].positional_offset, 2);
  }
}

TEST(PlantedRoles, ScoresOnANeedle) {
  for (const Variant variant : {Variant::roles, Variant::gpt2}) {
    SCOPED_TRACE(to_string(variant));
    Planted model({.variant = variant});
    const auto items = needles_experiment().items(model.inputs, model.runner->model());
    ASSERT_EQ(items.size(), 40u);
    for (const std::size_t item : {0u, 13u, 39u}) {
      const HeadSample sample = needles_experiment().run(model.context(), item);
      ASSERT_TRUE(sample.counted);
      EXPECT_EQ(sample.facts["recall"], 1.0);
      std::map<std::string, HeadValues> s(sample.scores.begin(), sample.scores.end());
      for (std::size_t h = 0; h < 16; ++h) {
        if (h == 7) continue;  // its eight span weights tie: the largest is on an arbitrary needle token
        EXPECT_NEAR(s["retrieval"][h], h == 8 ? 1.0 : 0.0, 1e-9) << h;
      }
      EXPECT_LE(s["retrieval"][7], 0.125 + 1e-9);
      EXPECT_NEAR(s["semantic-retrieval-sum"][8], 8.0, 1e-3);
      EXPECT_NEAR(s["semantic-retrieval-sum"][7], 5.8030, 1e-3);
      EXPECT_NEAR(s["semantic-retrieval-sum"][3], 3.5, 1e-3);
      EXPECT_NEAR(s["semantic-retrieval"][8], 1.0, 1e-3);
      EXPECT_NEAR(s["semantic-retrieval"][7], 0.7254, 1e-3);
      EXPECT_NEAR(s["semantic-retrieval"][3], 0.4375, 1e-3);
      EXPECT_LT(s["semantic-retrieval"][6], 0.05);
      EXPECT_NEAR(s["retrieval-reasoning"][8], 1.0, 1e-3);
      EXPECT_NEAR(s["retrieval-reasoning"][3], 0.4375, 1e-3);
    }
  }
}

// The last four tokens of the needle stand in the haystack too, with other successors. The copying head gives both
// places half of its attention; which successor wins is a matter of rounding, so that is not asserted.
TEST(PlantedRoles, ANeedleOfWhichHalfIsAmbiguous) {
  const std::vector<std::int32_t> ids = {0,  5,  24, 9,  25, 4,  26, 3, 27, 8, 17, 20,
                                         21, 22, 23, 24, 25, 26, 27, 1, 7,  6, 16, 17};
  const TokenSpan needle{11, 19};
  for (const Variant variant : {Variant::roles, Variant::gpt2}) {
    SCOPED_TRACE(to_string(variant));
    Planted model({.variant = variant});
    const auto result = record_prompt(model.context(), {.ids = ids, .generate = 8});
    const auto& output = result.outputs[0].generated;
    const std::int64_t first = std::ssize(ids) - 1, last = first + std::ssize(output);
    std::vector<float> copying;
    for_each_map(model.context(), *result.capture, first, last, [&](std::size_t index, std::span<const float> attn_ij) {
      if (index == 8) copying.assign(attn_ij.begin(), attn_ij.end());
    });
    std::vector<DecodeRow> steps;
    const auto width = static_cast<std::size_t>(last);
    for (std::size_t t = 0; t < output.size(); ++t)
      steps.push_back({std::span<const float>(copying).subspan(t * width, width), output[t]});
    for (std::size_t t = 0; t < 5; ++t) {  // 20 .. 24 have one place each
      EXPECT_EQ(output[t], 20 + static_cast<std::int32_t>(t));
      EXPECT_NEAR(steps[t].attn_j[11 + t], 1.0, 1e-3);
    }
    EXPECT_NEAR(steps[5].attn_j[3], 0.5, 1e-3);   // 9, behind the 24 of the haystack
    EXPECT_NEAR(steps[5].attn_j[16], 0.5, 1e-3);  // 25, behind that of the needle
    EXPECT_THAT(output[5], ::testing::AnyOf(9, 25));
    const NeedleScores scores = needle_scores(steps, ids, needle);
    EXPECT_GE(scores.retrieval, 0.625 - 1e-9);
    EXPECT_LE(scores.retrieval, 1.0 + 1e-9);
    EXPECT_LT(scores.semantic_share, 0.9);
  }
}

TEST(PlantedRoles, OnlyTwoHeadsMatter) {
  Planted model;
  const auto ids = repeated(24);
  const auto losses = [&](const std::vector<heads::HeadId>& removed) {
    RunRequest request;
    request.inputs.push_back({.ids = ids, .generate = 0, .targets = next_token_targets(ids, 25), .logit_rows = {}});
    if (!removed.empty()) request.interventions = {intervention::ablate_heads(removed)};
    request.plan.layers = {};
    return model.runner->run(request).outputs[0].target_logprob;
  };
  std::vector<heads::HeadId> others;
  for (int l = 0; l < 2; ++l)
    for (int h = 1; h < 8; ++h) others.push_back({l, h});
  EXPECT_EQ(losses(others), losses({}));
  for (const heads::HeadId needed : {heads::HeadId{0, 0}, heads::HeadId{1, 0}}) {
    const auto loss = losses({needed});
    for (const float logprob : loss) EXPECT_LT(logprob, -1.0f);
  }
  for (const float logprob : losses({})) EXPECT_GT(logprob, -1e-3f);
}

TEST(PlantedRoles, OneKvHeadMustNotStream) {
  Planted model;
  const Experiment streaming = streaming_experiment();
  HeadValues error(16, 0.0);
  for (std::size_t item : {0u, 2u}) {  // layer 0, layer 1
    const HeadSample sample = streaming.run(model.context(), item);
    const HeadValues& values = sample.scores[0].second;
    for (std::size_t h = 0; h < 16; ++h)
      if (!std::isnan(values[h])) error[h] = values[h];
  }
  for (std::size_t h = 0; h < 16; ++h) EXPECT_NEAR(error[h], h / 2 == 4 ? 0.26794 : 0.0, 1e-4) << h;
}

TEST(PlantedRoles, TheInductionHeadIsActiveOnRepeatsOnly) {
  Planted model;
  const auto plan = model.plan("domains");
  const auto& contrast = plan.find_score("domain-contrast")->value;
  const auto& switches = plan.find_score("active-dormant")->value;
  EXPECT_NEAR(contrast[8], 1.0, 1e-3);
  EXPECT_EQ(switches[8], 1.0);
  EXPECT_EQ(switches[9], 0.0);  // rests always
  EXPECT_EQ(switches[0], 0.0);
}

TEST(PlantedRoles, RepeatsNeedTheInductionHead) {
  Planted model;
  const std::vector<std::vector<std::int32_t>> texts = {repeated(24), {0, 2, 3, 4, 5, 6, 7, 8}};
  const std::vector<heads::HeadId> induction = {{1, 0}}, sinks = {{1, 1}, {1, 2}};
  const auto none = attention_influence(model.context(), {}, texts);
  EXPECT_EQ(none[0].influence, 0.0);
  EXPECT_NEAR(attention_influence(model.context(), sinks, texts)[0].influence, 0.0, 1e-6);  // they write nothing
  const auto found = attention_influence(model.context(), induction, texts);
  EXPECT_GT(found[0].influence, 0.3);
  EXPECT_NEAR(found[0].influence, (found[0].loss_masked - found[0].loss) / found[0].loss, 1e-12);
}

// Three "sentences": what is repeated, something else, the repetition. Only hiding the first changes the last.
TEST(PlantedRoles, HidingTheSourceOfARepetition) {
  Planted model;
  // A token between sentences: the row after a hidden one has lost its previous token.
  const std::vector<std::int32_t> ids = {0, 20, 21, 22, 23, 24, 2, 3, 4, 5, 6, 7, 20, 21, 22, 23, 24};
  const std::vector<TokenSpan> sentences = {{1, 6}, {7, 11}, {12, 17}};
  const auto effect = suppress_sentences(model.context(), ids, sentences);
  EXPECT_GT(effect[6], -1.0);             // of sentence 0 on 2: ln KL
  const double nothing = std::log(1e-8);  // ln(KL + 1e-9), and what float32 leaves of a KL of 0
  EXPECT_LT(effect[7], nothing);          // of sentence 1 on 2
  EXPECT_LT(effect[3], nothing);          // of sentence 0 on 1
  for (const std::size_t k : {0u, 1u, 2u, 4u, 5u, 8u}) EXPECT_TRUE(std::isnan(effect[k]));
}

TEST(PlantedRoles, VariantsKeepTheirRoles) {
  for (const Variant variant : {Variant::mha, Variant::mqa, Variant::gpt2}) {
    Planted model({.variant = variant});
    EXPECT_EQ(model.plan("repeats,needles,text", 4).primary_lh, expected_roles()) << to_string(variant);
  }
  Planted weak({.variant = Variant::weak});
  const auto plan = weak.plan("needles", 4);
  EXPECT_NEAR(plan.find_score("retrieval")->value[8], 1.0, 1e-9);
  // Of a row, e / (e + 1) = 0.731 would go to the match; the rotation of its plane takes some of it, more at a
  // distance.
  EXPECT_GT(plan.find_score("semantic-retrieval")->value[8], 0.68);
  EXPECT_LT(plan.find_score("semantic-retrieval")->value[8], 0.731);
}

TEST(PlantedRoles, LittleNoiseKeepsThemMuchNoiseIsReported) {
  for (const std::uint64_t seed : {1, 2}) {
    Planted noisy({.variant = Variant::noise, .sigma = 0.005, .seed = seed});
    EXPECT_EQ(noisy.plan("repeats,needles,text", 12).primary_lh, expected_roles()) << seed;
  }
  int lost = 0;
  for (const std::uint64_t seed : {1, 2, 3}) {
    Planted broken({.variant = Variant::noise, .sigma = 0.02, .seed = seed});
    const auto plan = broken.plan("needles", 6);
    const auto* retrieval = plan.find_score("retrieval");
    lost += retrieval == nullptr || !(retrieval->value[8] >= 0.9);
  }
  EXPECT_GE(lost, 2);
}

TEST(PlantedRoles, BeyondAWindowNothingIsRetrieved) {
  Planted model({.variant = Variant::windowed});
  const auto plan = model.plan("repeats,needles", 12);
  const Json& groups = plan.other["experiments"]["needles"]["groups"];
  EXPECT_EQ(groups["512"]["counted"], 0);  // out of sight
  EXPECT_GE(groups["256"]["counted"], 2);  // the deepest ones are near enough
  EXPECT_LE(groups["256"]["counted"], 3);
  EXPECT_NEAR(plan.find_score("retrieval")->value[8], 1.0, 1e-9);
  EXPECT_THAT(plan.labels_lh[8], ::testing::IsSupersetOf({"retrieval", "induction", "windowed"}));
  EXPECT_THAT(plan.labels_lh[0], ::testing::Not(::testing::Contains("windowed")));
}

// Only L1H0 writes what the output head reads, 10 times the copied token; the final norm multiplies it by
// sqrt(d / |x|^2), |x|^2 = 4 of 128 dimensions, and 12 of 160 pairs in the GPT-2.
TEST(PlantedRoles, TheCopyingHeadIsANameMover) {
  for (const auto& [variant, expected] :
       {std::pair(Variant::roles, 10 * std::sqrt(128 / 4.0)), std::pair(Variant::gpt2, 10 * std::sqrt(160 / 12.0))}) {
    SCOPED_TRACE(to_string(variant));
    Planted model({.variant = variant});
    const Experiment names = names_experiment();
    const HeadSample prompt = names.run(model.context(), 3);
    EXPECT_TRUE(prompt.counted);
    EXPECT_NEAR(prompt.facts["logit_difference"].get<double>(), expected, 1e-2);
    const HeadSample copying = names.run(model.context(), 32);
    for (std::size_t h = 0; h < 16; ++h) {
      EXPECT_NEAR(prompt.scores[0].second[h], h == 8 ? expected : 0.0, 1e-2) << h;
      EXPECT_NEAR(copying.scores[0].second[h], h == 8 ? 1.0 : 5.0 / 30.0, 1e-9) << h;  // ties: the first five
    }
    EXPECT_EQ(prompt.scores[1].second[8], 1.0);
    const auto plan = model.plan("name-movers");
    EXPECT_THAT(plan.labels_lh[8], ::testing::Contains("name-mover"));
    for (std::size_t h = 0; h < 16; ++h) {
      EXPECT_EQ(plan.find_score("name-mover")->value[h], h == 8 ? 1.0 : 0.0) << h;
      EXPECT_EQ(plan.find_score("negative-name-mover")->value[h], 0.0) << h;
    }
  }
}

// One row copies and is wrong: its loss is the logit z(g) = 10 g sqrt(128 / (3 + g^2)) of the copy, g the head's gate.
TEST(PlantedRoles, TheGateOfACopyingHead) {
  Planted model;
  const std::vector<std::int32_t> ids = {0, 2, 3, 4, 2, 5};
  const auto z = [](double g) { return 10 * g * std::sqrt(128 / (3 + g * g)); };
  const auto upper = gate_gradients(model.context(), ids, 1);
  EXPECT_NEAR(upper[0], (z(1) - z(0.95)) / 0.05 / 5, 1e-3);
  for (std::size_t h = 1; h < 8; ++h) EXPECT_NEAR(upper[h], 0.0, 1e-9) << h;
  const auto lower = gate_gradients(model.context(), ids, 0);
  for (std::size_t h = 1; h < 8; ++h) EXPECT_NEAR(lower[h], 0.0, 1e-9) << h;
  const auto plan = model.plan("importance");
  EXPECT_NEAR(plan.find_score("gate-importance")->value[8], 1.0, 1e-9);
  EXPECT_NEAR(plan.find_score("confidence")->value[1], 1.0, 1e-3);  // the current token
  EXPECT_NEAR(plan.find_score("confidence")->value[9], 0.0, 1e-3);  // the first token only
}

// Sampled rows are those of the map, with what interventions did.
TEST(RowReplay, HasWhatInterventionsDid) {
  Planted model;
  RecordedPrompt prompt{.ids = repeated(24)};
  prompt.interventions = {intervention::mask_keys(3, 9, {{0, 6}, {1, 0}})};
  const auto result = record_prompt(model.context(), prompt);
  const std::vector<std::int64_t> rows = {1, 12, 30, 48};
  for (const heads::HeadId id : {heads::HeadId{0, 6}, heads::HeadId{0, 7}, heads::HeadId{1, 0}}) {
    const capture::HeadRef head{.record = 0, .layer = id.layer, .head = id.head};
    std::vector<float> map(49 * 49);
    capture::replay_tile(*result.capture, head, {0, 49, 0, 49}, model.runner->pool(), map);
    const auto found = attention_rows(*result.capture, head, rows, model.runner->pool());
    for (std::size_t r = 0; r < rows.size(); ++r)
      for (std::size_t j = 0; j < 49; ++j)
        EXPECT_EQ(found[r * 49 + j], map[static_cast<std::size_t>(rows[r]) * 49 + j]) << heads::to_string(id) << r << j;
    if (id.head != 7) {
      EXPECT_EQ(map[12 * 49 + 5], 0.0f);
    }
  }
}

// Without feed-forward parts and biases the residual stream is the embedding and what heads write: their attributions
// add up to the difference of logits.
TEST(LogitAttribution, PartsAddUpToTheDifference) {
  for (const std::string name : {"llama", "qwen3", "mistral"}) {
    SCOPED_TRACE(name);
    testing_support::TempFolder folder;
    testing_support::write_safetensors(testing_support::golden_model(name), folder.path());
    engine::Engine engine(formats::open_model(folder.path()), engine::EngineOptions{.threads = 1});
    const auto runner = engine::make_model_runner(engine);
    const RoleInputs inputs = cli::make_role_inputs(engine.model(), 0);
    const LogitReader& reader = *inputs.logit_reader;
    const auto& model = runner->model();
    RunRequest request;
    request.plan = capture::plan_of_all_heads(model.num_layers, model.num_heads, capture::CaptureLevel::replay);
    request.plan.hidden_states = true;
    request.interventions.emplace_back();
    request.interventions[0].method = "block-scale";
    request.interventions[0].params = {{"block", "feed_forward"}, {"scale", 0.0}};
    request.inputs.push_back({.ids = {1, 5, 9, 13, 2, 7}, .generate = 0, .targets = {}, .logit_rows = {-1}});
    const RunResult result = runner->run(request);
    std::vector<std::vector<float>> attn_hj;
    for_each_map({*runner, inputs, {}}, *result.capture, 5, 6,
                 [&](std::size_t, std::span<const float> row) { attn_hj.emplace_back(row.begin(), row.end()); });
    std::vector<float> embedded(static_cast<std::size_t>(model.hidden_size)), final_state = embedded;
    result.capture->read_states(0, 0, 5, 6, embedded.data());
    result.capture->read_states(0, model.num_layers, 5, 6, final_state.data());
    const std::vector<std::int32_t> foils = {3, 11};
    const auto direction = reader.direction(8, foils);
    const double scale = reader.norm_scale(final_state);
    double sum = 0;
    for (std::size_t e = 0; e < embedded.size(); ++e) sum += direction[e] * embedded[e] / scale;
    double of_heads = 0;
    for (const double part : logit_attribution(*result.capture, 0, reader, direction, scale, attn_hj)) of_heads += part;
    const auto& logits = result.outputs[0].logits;
    EXPECT_NEAR(sum + of_heads, logits[8] - 0.5 * (logits[3] + logits[11]), 1e-4);
    EXPECT_GT(std::abs(of_heads), 1e-3);
  }
}

TEST(PlantedRoles, ThreadsAndRepetitionChangeNothing) {
  Planted model;
  const HeadSample once = needles_experiment().run(model.context(), 3),
                   again = needles_experiment().run(model.context(), 3);
  EXPECT_EQ(to_json(once), to_json(again));
  engine::Engine single(formats::open_model(model.folder.path()), engine::EngineOptions{.threads = 1});
  const auto runner = engine::make_model_runner(single);
  EXPECT_EQ(to_json(needles_experiment().run({*runner, model.inputs, {}}, 3)), to_json(once));
}

}  // namespace
}  // namespace headlight::analysis
