#include "tests/capture_hdf5/compare_views.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include <gtest/gtest.h>

#include "base/error.h"

namespace headlight::capture {
namespace {

void expect_same_values(const Buffer<float>& expected, const Buffer<float>& found, const std::string& what,
                        float relative = 0.0f, float absolute = 0.0f) {
  ASSERT_EQ(expected.size(), found.size()) << what;
  int reported = 0;
  for (std::size_t i = 0; i < expected.size() && reported < 5; ++i) {
    const bool same = std::isnan(expected[i])
                          ? std::isnan(found[i])
                          : std::fabs(expected[i] - found[i]) <= relative * std::fabs(expected[i]) + absolute ||
                                expected[i] == found[i];
    if (!same) {
      ADD_FAILURE() << what << " [" << i << "]: expected " << expected[i] << ", found " << found[i];
      ++reported;
    }
  }
}

void expect_same_header(const RecordInfo& a, const RecordInfo& b) {
  EXPECT_EQ(a.header.record_id, b.header.record_id);
  EXPECT_EQ(a.header.text, b.header.text);
  EXPECT_EQ(a.header.source_line, b.header.source_line);
  EXPECT_EQ(a.header.label, b.header.label);
  EXPECT_EQ(a.header.num_prompt_tokens, b.header.num_prompt_tokens);
  EXPECT_EQ(a.header.bos_present, b.header.bos_present);
  EXPECT_EQ(a.header.first_key, b.header.first_key);
  EXPECT_EQ(a.num_rows, b.num_rows);
  EXPECT_EQ(a.num_generated, b.num_generated);
  EXPECT_EQ(a.generated_logprob, b.generated_logprob);
  ASSERT_EQ(a.header.tokens.size(), b.header.tokens.size());
  for (std::size_t i = 0; i < a.header.tokens.size(); ++i) {
    const TokenInfo &x = a.header.tokens[i], &y = b.header.tokens[i];
    EXPECT_TRUE(x.id == y.id && x.kind == y.kind && x.byte_begin == y.byte_begin && x.byte_end == y.byte_end &&
                x.char_begin == y.char_begin && x.char_end == y.char_end && x.segment == y.segment &&
                x.piece == y.piece)
        << "token " << i;
  }
  ASSERT_EQ(a.header.segments.size(), b.header.segments.size());
  for (std::size_t s = 0; s < a.header.segments.size(); ++s) {
    EXPECT_EQ(a.header.segments[s].name, b.header.segments[s].name);
    EXPECT_EQ(a.header.segments[s].begin, b.header.segments[s].begin);
    EXPECT_EQ(a.header.segments[s].end, b.header.segments[s].end);
  }
  ASSERT_EQ(a.header.layers.size(), b.header.layers.size());
  for (std::size_t l = 0; l < a.header.layers.size(); ++l) {
    const LayerParameters &x = a.header.layers[l], &y = b.header.layers[l];
    EXPECT_TRUE(x.layer == y.layer && x.scale == y.scale && x.soft_cap == y.soft_cap && x.window == y.window &&
                x.causal == y.causal && x.null_logit_h == y.null_logit_h)
        << "layer " << l;
  }
}

void expect_same_operands(const CaptureView& a, const CaptureView& b, std::int64_t r, const RecordInfo& info) {
  const auto& header = a.header();
  const auto dim = static_cast<std::size_t>(header.model.head_dim);
  for (int l = 0; l < static_cast<int>(header.plan.layers.size()); ++l) {
    for (int h = 0; h < header.model.num_heads; ++h) {
      ASSERT_EQ(a.head_recorded(r, l, h), b.head_recorded(r, l, h));
      if (!a.head_recorded(r, l, h)) continue;
      const std::int64_t begin = info.replay_row_begin, end = info.replay_row_end;
      Buffer<float> x(static_cast<std::size_t>(end - begin) * dim), y(x.size());
      a.read_q(r, l, h, begin, end, x.data());
      b.read_q(r, l, h, begin, end, y.data());
      expect_same_values(x, y, "q");
    }
    for (int g = 0; g < header.model.num_kv_heads; ++g) {
      // A part in the middle, so that offsets matter.
      const std::int64_t begin = info.num_rows / 3, end = info.num_rows;
      Buffer<float> x(static_cast<std::size_t>(end - begin) * dim), y(x.size());
      a.read_k(r, l, g, begin, end, x.data());
      b.read_k(r, l, g, begin, end, y.data());
      expect_same_values(x, y, "k");
      if (!info.has_values) continue;
      a.read_v(r, l, g, begin, end, x.data());
      b.read_v(r, l, g, begin, end, y.data());
      expect_same_values(x, y, "v");
    }
  }
}

}  // namespace

void expect_same_record(const CaptureView& expected, const CaptureView& found, std::int64_t r,
                        const CompareOptions& options) {
  const RecordInfo info = expected.record(r), other = found.record(r);
  expect_same_header(info, other);
  const auto& header = expected.header();
  for (const std::string& id : expected.available_statistics(r)) {
    if (id != "jmax" && !id.starts_with("group_mass"))
      expect_same_values(expected.head_statistic(r, id), found.head_statistic(r, id), "head value of " + id);
    if (!options.row_data || id == "received0" || id == "received_mean_max" || id == "distance") continue;
    for (int l = 0; l < static_cast<int>(header.plan.layers.size()); ++l)
      expect_same_values(expected.statistic(r, id, l), found.statistic(r, id, l), id);
  }
  if (!options.row_data) return;
  EXPECT_EQ(expected.available_statistics(r), found.available_statistics(r));
  EXPECT_EQ(info.has_replay, other.has_replay);
  EXPECT_EQ(info.has_values, other.has_values);
  EXPECT_EQ(info.has_columns, other.has_columns);
  EXPECT_EQ(info.has_overview, other.has_overview);
  EXPECT_EQ(info.has_dense, other.has_dense);
  EXPECT_EQ(info.has_topk, other.has_topk);
  EXPECT_EQ(info.block_edge, other.block_edge);
  EXPECT_EQ(info.block_count, other.block_count);
  EXPECT_EQ(info.replay_row_begin, other.replay_row_begin);
  EXPECT_EQ(info.replay_row_end, other.replay_row_end);
  if (info.has_replay) expect_same_operands(expected, found, r, info);
  for (int l = 0; l < static_cast<int>(header.plan.layers.size()); ++l)
    for (int h = 0; h < header.model.num_heads; ++h) {
      if (info.has_overview) {
        expect_same_values(expected.block_sum(r, l, h), found.block_sum(r, l, h), "block_sum", 1.0f / 2048, 3.0e-8f);
        // The code's half step, and 0 below 2^-16.
        const Buffer<float> x = expected.block_max(r, l, h), y = found.block_max(r, l, h);
        ASSERT_EQ(x.size(), y.size());
        for (std::size_t i = 0; i < x.size(); ++i)
          EXPECT_LE(std::fabs(x[i] - y[i]), 0.0224f * x[i] + 1.6e-5f) << "block_max " << i;
      }
      if (info.has_dense && expected.head_recorded(r, l, h))
        expect_same_values(expected.dense(r, l, h), found.dense(r, l, h), "dense");
      if (info.has_topk) {
        const auto x = expected.topk(r, l, h), y = found.topk(r, l, h);
        ASSERT_EQ(x.size(), y.size());
        for (std::size_t i = 0; i < x.size(); ++i)
          EXPECT_TRUE(x[i].layer == y[i].layer && x[i].query == y[i].query && x[i].keys == y[i].keys &&
                      x[i].values == y[i].values && x[i].remainder == y[i].remainder)
              << "topk row " << i;
      }
    }
  for (const char* id : {"norm_l2", "absmax", "mean", "rms", "cos_first", "key_norm", "value_norm", "u_norm"})
    expect_same_values(expected.hidden(r, id), found.hidden(r, id), id);
  ASSERT_EQ(info.has_hidden_states, other.has_hidden_states);
  const std::int64_t begin = info.num_rows / 3, width = header.model.hidden_size;
  Buffer<float> x(static_cast<std::size_t>((info.num_rows - begin) * width)), y(x.size());
  for (int level = 0; level <= header.model.num_layers && info.has_hidden_states; ++level) {
    expected.read_states(r, level, begin, info.num_rows, x.data());
    found.read_states(r, level, begin, info.num_rows, y.data());
    expect_same_values(x, y, "states");
  }
  const auto massive = expected.massive(r), others = found.massive(r);
  ASSERT_EQ(massive.size(), others.size());
  for (std::size_t n = 0; n < massive.size(); ++n)
    EXPECT_TRUE(massive[n].level == others[n].level && massive[n].dim == others[n].dim &&
                massive[n].token == others[n].token && massive[n].value == others[n].value)
        << "massive activation " << n;
  if (header.plan.logits != LogitsKept::none)
    expect_same_values(expected.last_logits(r), found.last_logits(r), "last_logits");
}

}  // namespace headlight::capture
