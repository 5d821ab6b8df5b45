#include <algorithm>
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "core/capture/replay.h"
#include "core/engine/engine_impl.h"
#include "kernels/linear.h"
#include "tests/engine/golden_case.h"
#include "tests/engine/recording_sink.h"

namespace headlight::engine {
namespace {

using capture::CaptureHeader;
using capture::CaptureLevel;
using capture::MemoryCapture;
using testing_support::Golden;
using testing_support::header_of;
using testing_support::input_of;
using testing_support::largest_difference;
using testing_support::load_golden;
using testing_support::open_golden_model;
using testing_support::RecordingSink;

std::unique_ptr<MemoryCapture> capture_of(Engine& engine, const CaptureInput& input, const CaptureHeader& header) {
  auto capture = std::make_unique<MemoryCapture>();
  EXPECT_EQ(run_capture(engine, {input}, header, {}, *capture), 0);
  EXPECT_EQ(capture->complete(), capture::CompleteState::sealed);
  return capture;
}

template <class Action>
void expect_error(Errc code, const std::string& part, const Action& action) {
  try {
    action();
    ADD_FAILURE() << "no error; expected one with '" << part << "'";
  } catch (const Error& error) {
    EXPECT_EQ(to_string(error.code()), to_string(code)) << error.what();
    EXPECT_THAT(error.what(), ::testing::HasSubstr(part));
  }
}

TEST(CaptureRun, StatisticsAreThoseOfTheGoldenMaps) {
  for (const char* name : {"llama", "mistral", "gpt_oss"}) {
    const Golden golden = load_golden(name);
    Engine engine(open_golden_model(name), {});
    CaptureHeader header = header_of(engine, CaptureLevel::summary);
    header.plan.sink_size = 2;
    header.plan.local_window = 5;
    header.plan.tail_rows = 7;
    const auto capture = capture_of(engine, input_of(golden.ids), header);
    const std::size_t n = golden.ids.size(), heads = static_cast<std::size_t>(engine.spec().num_heads);
    for (int layer = 0; layer < engine.spec().num_layers; ++layer) {
      const auto statistic = [&](const char* id) { return capture->statistic(0, id, layer); };
      const auto first = statistic("first"), sink = statistic("sink"), local = statistic("local"),
                 dist1 = statistic("dist1"), off1 = statistic("off1"), pmax = statistic("pmax"),
                 entropy = statistic("entropy"), received = statistic("received"), tail = statistic("received_tail");
      for (std::size_t h = 0; h < heads; ++h) {
        const float* map = golden.attn.data() + (static_cast<std::size_t>(layer) * heads + h) * n * n;
        std::vector<double> columns(n), tails(n);
        for (std::size_t i = 0; i < n; ++i) {
          double sinks = 0, locals = 0, distance = 0, nats = 0, largest = 0, mass = 0;
          for (std::size_t j = 0; j <= i; ++j) {
            const double a = static_cast<double>(map[i * n + j]);
            mass += a;
            columns[j] += a;
            if (i >= n - 7) tails[j] += a;
            if (j < 2) sinks += a;
            if (j + 5 > i) locals += a;
            distance += a * static_cast<double>(i - j);
            if (a > 0) nats -= a * std::log(a);
            largest = std::max(largest, a);
          }
          const double null = golden.sink_mass.empty() ? 0.0 : 1.0 - mass;
          if (null > 0) nats -= null * std::log(null);
          const std::size_t at = h * n + i;
          EXPECT_NEAR(first[at], map[i * n], 1e-4);
          EXPECT_NEAR(sink[at], sinks, 1e-4);
          EXPECT_NEAR(local[at], locals, 1e-4);
          EXPECT_NEAR(dist1[at], distance, 2e-3);
          EXPECT_NEAR(pmax[at], largest, 1e-4);
          EXPECT_NEAR(entropy[at], nats, 1e-3);
          EXPECT_NEAR(off1[at], i > 0 ? map[i * n + i - 1] : 0.0f, 1e-4);
        }
        for (std::size_t j = 0; j < n; ++j) {
          EXPECT_NEAR(received[h * n + j], columns[j], 1e-3) << name << " layer " << layer << " head " << h;
          EXPECT_NEAR(tail[h * n + j], tails[j], 1e-3);
        }
      }
    }
  }
}

TEST(CaptureRun, DoesNotChangeABitOfTheLogits) {
  for (const char* name : {"llama", "gemma2", "gpt_oss"}) {
    const Golden golden = load_golden(name);
    Engine engine(open_golden_model(name), {});
    std::vector<float> plain(static_cast<std::size_t>(engine.spec().vocab_size));
    Session session(engine);
    session.forward(golden.ids, plain);
    for (const CaptureLevel level : {CaptureLevel::summary, CaptureLevel::replay, CaptureLevel::maps}) {
      const auto capture = capture_of(engine, input_of(golden.ids), header_of(engine, level));
      const Buffer<float> logits = capture->last_logits(0);
      ASSERT_EQ(logits.size(), plain.size());
      EXPECT_TRUE(std::equal(plain.begin(), plain.end(), logits.begin())) << name;
    }
  }
}

TEST(CaptureRun, ThreadsDoNotChangeABit) {
  const Golden golden = load_golden("qwen2_window");
  EngineOptions one, two;
  one.threads = 1;
  two.threads = 2;
  Engine a(open_golden_model("qwen2_window"), one), b(open_golden_model("qwen2_window"), two);
  const auto first = capture_of(a, input_of(golden.ids, 6), header_of(a, CaptureLevel::maps));
  const auto second = capture_of(b, input_of(golden.ids, 6), header_of(b, CaptureLevel::maps));
  const auto same = [](const Buffer<float>& x, const Buffer<float>& y) {
    return x.size() == y.size() && std::equal(x.begin(), x.end(), y.begin());
  };
  for (int layer = 0; layer < a.spec().num_layers; ++layer)
    for (const char* id : {"lse", "entropy", "pmax", "jmax", "first", "sink", "local", "dist1", "dist2", "off0", "off1",
                           "null_mass", "received", "received_tail"})
      EXPECT_TRUE(same(first->statistic(0, id, layer), second->statistic(0, id, layer))) << id;
  for (const char* id : {"norm_l2", "cos_first", "key_norm", "value_norm", "u_norm"})
    EXPECT_TRUE(same(first->hidden(0, id), second->hidden(0, id))) << id;
}

// The stored operands must be what was multiplied: a float64 recomputation from them finds the recorded lse. Had q and
// k been rounded after the product, lse would be off by far more.
TEST(CaptureRun, OperandsAreRoundedBeforeTheProduct) {
  const Golden golden = load_golden("llama");
  for (const DType stored : {DType::f32, DType::bf16, DType::f16}) {
    for (const DType cache : {DType::f32, DType::bf16}) {
      EngineOptions options;
      options.kv_dtype = cache;
      Engine engine(open_golden_model("llama"), options);
      CaptureHeader header = header_of(engine, CaptureLevel::replay);
      header.plan.replay_dtype = stored;
      const auto capture = capture_of(engine, input_of(golden.ids), header);
      const auto n = static_cast<std::int64_t>(golden.ids.size());
      double worst = 0.0;
      for (int layer = 0; layer < engine.spec().num_layers; ++layer)
        for (int head = 0; head < engine.spec().num_heads; ++head) {
          const auto oracle = capture::recompute_head(*capture, {0, layer, head}, 0, n, engine.pool());
          const Buffer<float> lse = capture->statistic(0, "lse", layer);
          for (std::int64_t i = 0; i < n; ++i)
            worst = std::max(worst, std::abs(oracle.lse[static_cast<std::size_t>(i)] -
                                             static_cast<double>(lse[static_cast<std::size_t>(head * n + i)])));
        }
      EXPECT_LT(worst, 1e-4) << to_string(stored) << " " << to_string(cache);
      std::vector<float> q(static_cast<std::size_t>(n * engine.spec().head_dim));
      capture->read_q(0, 1, 0, 0, n, q.data());
      for (const float value : q) {
        if (stored == DType::bf16) {
          EXPECT_EQ(value, bf16_to_f32(f32_to_bf16(value)));
        }
        if (stored == DType::f16) {
          EXPECT_EQ(value, f16_to_f32(f32_to_f16(value)));
        }
      }
    }
  }
}

TEST(CaptureRun, NormsOfKeysValuesAndWhatAHeadWrites) {
  for (const char* name : {"llama", "qwen3", "gpt2"}) {
    const Golden golden = load_golden(name);
    Engine engine(open_golden_model(name), {});
    const auto capture = capture_of(engine, input_of(golden.ids), header_of(engine, CaptureLevel::replay));
    const formats::ModelSpec& spec = engine.spec();
    const std::size_t n = golden.ids.size(), dim = static_cast<std::size_t>(spec.head_dim);
    const Buffer<float> key_norm = capture->hidden(0, "key_norm"), value_norm = capture->hidden(0, "value_norm"),
                        u_norm = capture->hidden(0, "u_norm");
    std::vector<float> k(n * dim), v(n * dim);
    for (int layer = 0; layer < spec.num_layers; ++layer) {
      const kernels::MatrixView& w = engine.impl().weights.layers[static_cast<std::size_t>(layer)].output.w;
      std::vector<float> projection(static_cast<std::size_t>(w.rows * w.cols));
      kernels::dequantize_rows(w, 0, w.rows, projection.data());
      for (int head = 0; head < spec.num_heads; ++head) {
        const int g = head * spec.num_kv_heads / spec.num_heads;
        capture->read_k(0, layer, g, 0, static_cast<std::int64_t>(n), k.data());
        capture->read_v(0, layer, g, 0, static_cast<std::int64_t>(n), v.data());
        for (std::size_t j = 0; j < n; ++j) {
          double kk = 0, vv = 0, uu = 0;
          for (std::size_t e = 0; e < dim; ++e) {
            kk += static_cast<double>(k[j * dim + e]) * static_cast<double>(k[j * dim + e]);
            vv += static_cast<double>(v[j * dim + e]) * static_cast<double>(v[j * dim + e]);
          }
          for (std::int64_t r = 0; r < w.rows; ++r) {
            double u = 0;
            for (std::size_t e = 0; e < dim; ++e)
              u += static_cast<double>(
                       projection[static_cast<std::size_t>(r * w.cols) + static_cast<std::size_t>(head) * dim + e]) *
                   static_cast<double>(v[j * dim + e]);
            uu += u * u;
          }
          const std::size_t at_g = (static_cast<std::size_t>(layer * spec.num_kv_heads + g)) * n + j;
          const std::size_t at_h = (static_cast<std::size_t>(layer * spec.num_heads + head)) * n + j;
          EXPECT_NEAR(key_norm[at_g] / std::sqrt(kk), 1.0, 1e-5);
          EXPECT_NEAR(value_norm[at_g] / std::sqrt(vv), 1.0, 1e-5);
          EXPECT_NEAR(u_norm[at_h] / std::sqrt(uu), 1.0, 1e-4);
        }
      }
    }
  }
}

// Prompt rows and generated rows form one square, the same as a prefill over all of its tokens.
TEST(CaptureRun, GeneratedRowsContinueTheSquareOfThePrompt) {
  for (const char* name : {"llama", "mistral", "gpt_oss"}) {
    const Golden golden = load_golden(name);
    Engine engine(open_golden_model(name), {});
    const std::int64_t prompt = 20, generated = 23;  // more rows than one block of the decode probe
    const std::vector<std::int32_t> ids(golden.ids.begin(), golden.ids.begin() + prompt);
    CaptureHeader header = header_of(engine, CaptureLevel::maps);
    header.plan.tail_rows = 4;
    const auto stitched = capture_of(engine, input_of(ids, generated), header);
    const capture::RecordInfo info = stitched->record(0);
    EXPECT_EQ(info.num_rows, prompt + generated - 1);
    ASSERT_EQ(info.header.tokens.size(), static_cast<std::size_t>(prompt + generated));
    EXPECT_EQ(info.num_generated, generated);
    const auto expected = generate(engine, ids, generated, {});
    std::vector<std::int32_t> all = ids;
    for (std::size_t t = 0; t < expected.size(); ++t) {
      EXPECT_EQ(info.header.tokens[static_cast<std::size_t>(prompt) + t].id, expected[t].id);
      EXPECT_FLOAT_EQ(info.generated_logprob[t], expected[t].logprob);
      all.push_back(expected[t].id);
    }
    all.pop_back();
    const auto whole = capture_of(engine, input_of(all), header);
    for (int layer = 0; layer < engine.spec().num_layers; ++layer) {
      for (const char* id :
           {"lse", "entropy", "pmax", "first", "sink", "local", "dist1", "off0", "off1", "null_mass", "received"}) {
        const auto a = stitched->statistic(0, id, layer), b = whole->statistic(0, id, layer);
        ASSERT_EQ(a.size(), b.size()) << id;
        EXPECT_LT(largest_difference(a.data(), b.data(), a.size()), 1e-3f) << name << " " << id << " layer " << layer;
      }
      for (int head = 0; head < engine.spec().num_heads; ++head) {
        const auto a = stitched->dense(0, layer, head), b = whole->dense(0, layer, head);
        EXPECT_LT(largest_difference(a.data(), b.data(), b.size()), 1e-4f);
        const auto c = stitched->block_sum(0, layer, head), d = whole->block_sum(0, layer, head);
        EXPECT_LT(largest_difference(c.data(), d.data(), d.size()), 1e-4f);
      }
    }
    for (const char* id : {"norm_l2", "cos_first", "u_norm", "key_norm"}) {
      const auto a = stitched->hidden(0, id), b = whole->hidden(0, id);
      ASSERT_EQ(a.size(), b.size());
      EXPECT_LT(largest_difference(a.data(), b.data(), b.size()), 2e-3f) << id;
    }
  }
}

TEST(CaptureRun, TopkRowsAreTheLargestEntriesOfTheirRows) {
  const Golden golden = load_golden("mistral");
  Engine engine(open_golden_model("mistral"), {});
  CaptureHeader header = header_of(engine, CaptureLevel::summary);
  header.plan.topk = 3;
  header.plan.topk_rows = 8;
  RecordingSink sink;
  run_capture(engine, {input_of(golden.ids)}, header, {}, sink);
  const auto n = static_cast<std::int64_t>(golden.ids.size());
  const auto positions = capture::topk_row_positions(header.plan, n);
  ASSERT_EQ(sink.topk.size(), positions.size() * 16);
  for (const capture::TopkRow& row : sink.topk) {
    const float* map = golden.attn.data() + ((row.layer * 4 + row.head) * n + row.query) * n;
    std::vector<float> sorted(map, map + n);
    std::sort(sorted.rbegin(), sorted.rend());
    double listed = 0.0;
    for (std::size_t e = 0; e < row.keys.size(); ++e) {
      EXPECT_NEAR(row.values[e], map[row.keys[e]], 1e-4);
      if (e > 0) {
        EXPECT_GT(row.keys[e], row.keys[e - 1]);
      }
      listed += static_cast<double>(row.values[e]);
    }
    EXPECT_NEAR(*std::min_element(row.values.begin(), row.values.end()), sorted[row.keys.size() - 1], 1e-4);
    EXPECT_NEAR(listed + static_cast<double>(row.remainder), 1.0, 1e-4);
  }
}

TEST(CaptureRun, MassesOfSegments) {
  const Golden golden = load_golden("llama");
  Engine engine(open_golden_model("llama"), {});
  CaptureInput input = input_of(golden.ids);
  input.header.segments = {{"system", 0, 6}, {"user", 6, 20}};
  for (std::size_t j = 0; j < 20; ++j) input.header.tokens[j].segment = j < 6 ? 0 : 1;  // the last four have none
  RecordingSink sink;
  run_capture(engine, {input}, header_of(engine, CaptureLevel::summary), {}, sink);
  const std::size_t n = golden.ids.size();
  ASSERT_EQ(sink.group_mass.size(), 16 * n * 2);
  for (std::size_t row = 0; row < 16 * n; ++row) {
    double system = 0, user = 0;
    for (std::size_t j = 0; j < 20; ++j) (j < 6 ? system : user) += static_cast<double>(golden.attn[row * n + j]);
    EXPECT_NEAR(sink.group_mass[row * 2], system, 1e-4);
    EXPECT_NEAR(sink.group_mass[row * 2 + 1], user, 1e-4);
  }
}

TEST(CaptureRun, LogitsOfEveryRowOfTheLastOrOfNone) {
  const Golden golden = load_golden("llama");
  Engine engine(open_golden_model("llama"), {});
  const std::size_t n = golden.ids.size(), vocab = 96;
  CaptureHeader header = header_of(engine, CaptureLevel::summary);
  header.plan.logits = capture::LogitsKept::all;
  RecordingSink all;
  run_capture(engine, {input_of(golden.ids)}, header, {}, all);
  ASSERT_EQ(all.logit_rows.size(), n);
  EXPECT_LT(largest_difference(all.full.data(), golden.logits.data(), n * vocab), 2e-3f);
  for (std::size_t i = 0; i < n; ++i) {
    const float* z = golden.logits.data() + i * vocab;
    double sum = 0;
    for (std::size_t v = 0; v < vocab; ++v) sum += std::exp(static_cast<double>(z[v]));
    EXPECT_EQ(all.best_ids[i], std::max_element(z, z + vocab) - z);
    EXPECT_NEAR(all.best_logprobs[i], static_cast<double>(z[all.best_ids[i]]) - std::log(sum), 1e-3);
    if (i + 1 < n) {
      EXPECT_NEAR(all.targets[i], static_cast<double>(z[golden.ids[i + 1]]) - std::log(sum), 1e-3);
    } else {
      EXPECT_TRUE(std::isnan(all.targets[i]));
    }
  }
  header.plan.logits = capture::LogitsKept::last;
  RecordingSink last;
  run_capture(engine, {input_of(golden.ids, 3)}, header, {}, last);
  EXPECT_EQ(last.logit_rows, (std::vector<std::int64_t>{23, 24, 25}));
  EXPECT_EQ(last.full.size(), vocab);
  for (std::size_t t = 0; t < 3; ++t) EXPECT_FLOAT_EQ(last.targets[t], last.generated_logprob[t]);
  header.plan.logits = capture::LogitsKept::none;
  RecordingSink none;
  run_capture(engine, {input_of(golden.ids, 3)}, header, {}, none);
  EXPECT_TRUE(none.logit_rows.empty());
  EXPECT_EQ(none.generated.size(), 3u);
}

TEST(CaptureRun, OnlyChosenLayersAreRecordedAndHiddenStatesOfAll) {
  const Golden golden = load_golden("llama");
  Engine engine(open_golden_model("llama"), {});
  CaptureHeader header = header_of(engine, CaptureLevel::replay);
  header.plan.layers = {1, 3};
  header.plan.heads_lh.assign(8, 1);
  header.plan.hidden_states = true;
  RecordingSink sink;
  run_capture(engine, {input_of(golden.ids)}, header, {}, sink);
  EXPECT_EQ(sink.count("rows"), 2);
  EXPECT_EQ(sink.hidden_levels, (std::vector<int>{0, 1, 2, 3, 4}));
  EXPECT_EQ(sink.states_seen, 5);
  ASSERT_EQ(sink.records[0].layers.size(), 2u);
  EXPECT_EQ(sink.records[0].layers[1].layer, 3);
  MemoryCapture part, whole;
  run_capture(engine, {input_of(golden.ids)}, header, {}, part);
  run_capture(engine, {input_of(golden.ids)}, header_of(engine, CaptureLevel::replay), {}, whole);
  const auto a = part.statistic(0, "entropy", 1), b = whole.statistic(0, "entropy", 3);
  EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin()));
}

TEST(CaptureRun, MassiveActivationsAreListedByLevelTokenAndDimension) {
  const Golden golden = load_golden("llama");
  const std::int32_t loud = golden.ids[3];
  Engine engine(
      testing_support::with_value(open_golden_model("llama"), "token_embd.weight", loud * std::int64_t{64} + 10, 3e3f),
      {});
  RecordingSink sink;
  run_capture(engine, {input_of(golden.ids)}, header_of(engine, CaptureLevel::summary), {}, sink);
  const auto times = std::count(golden.ids.begin(), golden.ids.end(), loud);
  const auto at_entry = [](const capture::MassiveActivation& entry) { return entry.level == 0; };
  ASSERT_EQ(std::count_if(sink.massive.begin(), sink.massive.end(), at_entry), times);
  for (const capture::MassiveActivation& entry : sink.massive) {
    EXPECT_EQ(golden.ids[static_cast<std::size_t>(entry.token)], loud);
    if (entry.level == 0) {
      EXPECT_EQ(entry.value, 3e3f);
    }
    EXPECT_EQ(entry.dim, 10);
  }
}

TEST(CaptureRun, CorporaSkipAndCountFailingRecords) {
  const Golden golden = load_golden("llama");
  Engine engine(open_golden_model("llama"), {});
  std::vector<std::int32_t> bad = golden.ids;
  bad[5] = 1000;
  const std::vector<CaptureInput> inputs = {input_of(golden.ids), input_of(bad), input_of({3, 4, 5}, 2),
                                            input_of(std::vector<std::int32_t>(70, 1))};
  RecordingSink sink;
  std::vector<std::int64_t> seen;
  const auto failed =
      run_capture(engine, inputs, header_of(engine, CaptureLevel::replay), {}, sink, [&](const Progress& at) {
        if (at.phase == "record") seen.push_back(at.done);
      });
  EXPECT_EQ(failed, 2);
  EXPECT_EQ(seen, (std::vector<std::int64_t>{0, 1, 2, 3}));
  EXPECT_EQ(sink.rows_done, (std::vector<std::int64_t>{24, 4}));
  EXPECT_EQ(sink.count("begin"), 1);
  EXPECT_EQ(sink.count("begin_record"), 2);
  EXPECT_EQ(sink.calls.back(), "finish");
}

TEST(CaptureRun, RecordsDoNotInfluenceEachOther) {
  const Golden golden = load_golden("gemma3");
  Engine engine(open_golden_model("gemma3"), {});
  const std::vector<std::int32_t> other = {9, 8, 7, 6, 5};
  MemoryCapture both, alone;
  const CaptureHeader header = header_of(engine, CaptureLevel::replay);
  run_capture(engine, {input_of(golden.ids), input_of(other, 5)}, header, {}, both);
  run_capture(engine, {input_of(other, 5)}, header, {}, alone);
  for (int layer = 0; layer < engine.spec().num_layers; ++layer)
    for (const char* id : {"lse", "entropy", "received", "dist1"}) {
      const auto a = both.statistic(1, id, layer), b = alone.statistic(0, id, layer);
      ASSERT_EQ(a.size(), b.size());
      EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin())) << id;
    }
}

TEST(CaptureRun, AStopInThePrefillKeepsTheLayersThatRan) {
  const Golden golden = load_golden("llama");
  Engine engine(open_golden_model("llama"), {});
  std::stop_source source;
  RecordingSink sink;
  expect_error(Errc::cancelled, "stopped", [&] {
    run_capture(
        engine, {input_of(golden.ids)}, header_of(engine, CaptureLevel::replay), {}, sink,
        [&](const Progress& at) {
          if (at.phase == "prefill" && at.done == 2) source.request_stop();
        },
        source.get_token());
  });
  EXPECT_EQ(sink.count("rows"), 2);
  EXPECT_EQ(sink.rows_done, std::vector<std::int64_t>{24});
  EXPECT_EQ(sink.calls.back(), "finish partial");
}

TEST(CaptureRun, AStopInTheGenerationKeepsWholeRows) {
  const Golden golden = load_golden("llama");
  Engine engine(open_golden_model("llama"), {});
  std::stop_source source;
  const auto progress = [&](const Progress& at) {
    if (at.phase == "decode" && at.done == 4) source.request_stop();
  };
  MemoryCapture partial, whole;
  const CaptureHeader header = header_of(engine, CaptureLevel::replay);
  expect_error(Errc::cancelled, "stopped", [&] {
    run_capture(engine, {input_of(golden.ids, 30)}, header, {}, partial, progress, source.get_token());
  });
  EXPECT_EQ(partial.complete(), capture::CompleteState::partial);
  EXPECT_EQ(partial.record(0).num_rows, 24 + 3);
  EXPECT_EQ(partial.record(0).num_generated, 4);
  run_capture(engine, {input_of(golden.ids, 4)}, header, {}, whole);
  for (int layer = 0; layer < engine.spec().num_layers; ++layer)
    for (const char* id : {"entropy", "received"}) {
      const auto a = partial.statistic(0, id, layer), b = whole.statistic(0, id, layer);
      EXPECT_TRUE(std::equal(b.begin(), b.end(), a.begin())) << id;
    }
}

TEST(CaptureRun, RefusesWhatCannotBeRecorded) {
  Engine engine(open_golden_model("llama"), {}), longrope(open_golden_model("phi3"), {});
  const auto run = [](Engine& with, const CaptureInput& input, const CaptureHeader& header) {
    RecordingSink sink;
    try {
      run_capture(with, {input}, header, {}, sink);
    } catch (...) {
      EXPECT_TRUE(sink.calls.empty());  // refused before anything is written
      throw;
    }
  };
  const CaptureHeader header = header_of(engine, CaptureLevel::summary);
  expect_error(Errc::invalid_argument, "no token", [&] { run(engine, input_of({}), header); });
  expect_error(Errc::prompt_too_long, "60 prompt and 6 new tokens do not fit the model's context of 64",
               [&] { run(engine, input_of(std::vector<std::int32_t>(60, 1), 6), header); });
  CaptureHeader bad = header;
  bad.plan.layers[3] = 4;
  expect_error(Errc::invalid_argument, "layer 4 does not exist", [&] { run(engine, input_of({1}), bad); });
  bad = header;
  bad.plan.heads_lh.pop_back();
  expect_error(Errc::invalid_argument, "16 head flags, found 15", [&] { run(engine, input_of({1}), bad); });
  CaptureInput padded = input_of({1, 2});
  padded.header.first_key = 1;
  expect_error(Errc::unsupported, "padding", [&] { run(engine, padded, header); });
  expect_error(Errc::unsupported, "rotary frequencies", [&] {
    run(longrope, input_of({1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 20), header_of(longrope, CaptureLevel::summary));
  });
  SamplingOptions sampling;
  sampling.top_p = 0.0f;
  RecordingSink sink;
  expect_error(Errc::invalid_argument, "top-p", [&] { run_capture(engine, {input_of({1})}, header, sampling, sink); });
}

}  // namespace
}  // namespace headlight::engine
