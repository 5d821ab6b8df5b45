#include "core/capture/memory_capture.h"

#include <cctype>
#include <cmath>
#include <string>

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/capture/dense_reference.h"

namespace headlight::capture {
namespace {

CaptureHeader small_header() {
  CaptureHeader header;
  header.model.num_layers = 2;
  header.model.num_heads = 2;
  header.model.num_kv_heads = 1;
  header.model.head_dim = 2;
  header.model.vocab_size = 3;
  header.plan.layers = {0, 1};
  header.plan.heads_lh = {1, 1, 1, 1};
  return header;
}

RecordHeader small_record(std::int64_t rows) {
  RecordHeader record;
  record.num_rows = rows;
  record.num_prompt_tokens = 2;
  record.tokens.resize(2);
  record.segments = {{"system", 0, 1}, {"user", 1, 2}};
  record.layers.resize(2);
  record.layers[1].layer = 1;
  return record;
}

// Rows [begin, begin + count) of layer `index`, every value = 100 * head + row.
void write_block(MemoryCapture& capture, int index, std::int64_t begin, std::int64_t count) {
  const std::int64_t stride = count + 3;
  std::vector<float> value_hi(static_cast<std::size_t>(2 * stride), -1.0f), group(static_cast<std::size_t>(4 * stride));
  std::vector<float> q_ihd(static_cast<std::size_t>(count * 4)), k_igd(static_cast<std::size_t>(count * 2));
  std::vector<std::int32_t> jmax(static_cast<std::size_t>(2 * stride), -5);
  for (std::int64_t h = 0; h < 2; ++h)
    for (std::int64_t i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(h * stride + i);
      value_hi[at] = static_cast<float>(100 * h + begin + i);
      jmax[at] = static_cast<std::int32_t>(begin + i);
      group[at * 2] = value_hi[at];
      group[at * 2 + 1] = value_hi[at] + 0.5f;
      q_ihd[static_cast<std::size_t>((i * 2 + h) * 2)] = value_hi[at];
      k_igd[static_cast<std::size_t>(i * 2)] = static_cast<float>(begin + i);
    }
  LayerRows rows;
  rows.index = index;
  rows.row_begin = begin;
  rows.num_rows = count;
  rows.row_stride = stride;
  rows.lse = rows.entropy = rows.u_norm_hi = value_hi.data();
  rows.key_norm_gi = value_hi.data();
  rows.jmax = jmax.data();
  rows.group_mass = group.data();
  rows.q_ihd = q_ihd.data();
  rows.q_stride = 4;
  rows.k_igd = rows.v_igd = k_igd.data();
  rows.kv_stride = 2;
  capture.write_rows(rows);
}

TEST(MemoryCapture, RowsArriveInBlocks) {
  MemoryCapture capture;
  capture.begin(small_header());
  capture.begin_record(small_record(4));
  write_block(capture, 0, 0, 2);
  EXPECT_EQ(capture.record(0).num_rows, 0);  // layer 1 is still missing
  write_block(capture, 1, 0, 2);
  EXPECT_EQ(capture.record(0).num_rows, 2);
  EXPECT_EQ(capture.complete(), CompleteState::writing);
  for (int row = 2; row < 7; ++row)  // more than announced: the arrays grow
    for (int layer = 0; layer < 2; ++layer) write_block(capture, layer, row, 1);
  EXPECT_EQ(capture.record(0).num_rows, 7);
  capture.append_generated({.id = 9, .piece = "x"}, -0.25f);
  capture.end_record(6, {});
  capture.finish(false);

  const RecordInfo info = capture.record(0);
  EXPECT_EQ(info.num_rows, 6);
  EXPECT_EQ(info.num_generated, 1);
  EXPECT_EQ(info.generated_logprob, std::vector<float>{-0.25f});
  ASSERT_EQ(info.header.tokens.size(), 3u);
  EXPECT_EQ(info.header.tokens[2].id, 9);
  EXPECT_TRUE(info.has_replay && info.has_values);
  EXPECT_FALSE(info.has_columns || info.has_overview || info.has_dense || info.has_topk);
  EXPECT_EQ(capture.complete(), CompleteState::partial);

  const Buffer<float> entropy = capture.statistic(0, "entropy", 1);
  ASSERT_EQ(entropy.size(), 12u);
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(entropy[i], static_cast<float>(i));
    EXPECT_EQ(entropy[6 + i], 100.0f + static_cast<float>(i));
    EXPECT_EQ(capture.statistic(0, "jmax", 0)[6 + i], static_cast<float>(i));
    EXPECT_EQ(capture.statistic(0, "group_mass:1", 0)[6 + i], 100.5f + static_cast<float>(i));
  }
  float q[4] = {}, k[2] = {};
  capture.read_q(0, 1, 1, 4, 6, q);
  EXPECT_EQ(q[0], 104.0f);
  EXPECT_EQ(q[2], 105.0f);
  capture.read_k(0, 1, 0, 5, 6, k);
  EXPECT_EQ(k[0], 5.0f);
  capture.read_v(0, 1, 0, 3, 4, k);
  EXPECT_EQ(k[0], 3.0f);
  EXPECT_EQ(capture.hidden(0, "u_norm").size(), 2u * 2u * 6u);
  EXPECT_EQ(capture.hidden(0, "key_norm").size(), 2u * 1u * 6u);
}

TEST(MemoryCapture, MissingDataIsAnError) {
  MemoryCapture capture;
  capture.begin(small_header());
  capture.begin_record(small_record(2));
  write_block(capture, 0, 0, 2);
  write_block(capture, 1, 0, 2);
  capture.end_record(2, {});
  float out[8];
  EXPECT_THROW(capture.statistic(0, "pmax", 0), Error);
  EXPECT_THROW(capture.statistic(0, "received", 0), Error);
  EXPECT_THROW(capture.statistic(0, "group_mass", 0), Error);
  EXPECT_THROW(capture.statistic(0, "group_mass:2", 0), Error);
  EXPECT_THROW(capture.read_q(0, 0, 0, 0, 3, out), Error);
  EXPECT_THROW(capture.read_k(0, 0, 1, 0, 1, out), Error);
  EXPECT_THROW(capture.read_k(0, 0, 0, -1, 1, out), Error);
  EXPECT_THROW(capture.dense(0, 0, 0), Error);
  EXPECT_THROW(capture.topk(0, 0, 0), Error);
  EXPECT_THROW(capture.block_max(0, 0, 0), Error);
  EXPECT_THROW(capture.hidden(0, "norm_l2"), Error);
  EXPECT_THROW(capture.hidden(0, "entropy"), Error);
  EXPECT_THROW(capture.last_logits(0), Error);
  EXPECT_THROW(capture.record(1), Error);
  EXPECT_THROW(capture.record(-1), Error);
}

TEST(MemoryCapture, KeepsMapsTopkHiddenFactsAndLogits) {
  MemoryCapture capture;
  capture.begin(small_header());
  capture.begin_record(small_record(3));
  for (int layer = 0; layer < 2; ++layer) write_block(capture, layer, 0, 3);
  const float prompt[] = {1, 0, 0.25f, 0.75f}, decoded[] = {0.5f, 0.25f, 0.25f};
  capture.write_dense({.index = 1, .head = 1, .row_begin = 0, .num_rows = 2, .num_keys = 2, .attn_ij = prompt});
  capture.write_dense({.index = 1, .head = 1, .row_begin = 2, .num_rows = 1, .num_keys = 3, .attn_ij = decoded});
  const TopkRow rows[] = {
      {.layer = 1, .head = 0, .query = 2, .keys = {0, 2}, .values = {0.5f, 0.25f}, .remainder = 0.25f},
      {.layer = 0, .head = 0, .query = 1, .keys = {}, .values = {}}};
  capture.write_topk(rows);
  const float norms[] = {1, 2, 3}, logits[] = {0, 1, 2, 3, 4, 5};
  capture.write_hidden({.level = 2, .row_begin = 0, .num_rows = 3, .norm_l2 = norms});
  capture.write_logits({.row_begin = 0, .num_rows = 2, .full = logits});
  capture.end_record(3, {});

  const Buffer<float> map = capture.dense(0, 1, 1);
  const std::vector<float> expected = {1, 0, 0, 0.25f, 0.75f, 0, 0.5f, 0.25f, 0.25f};
  EXPECT_EQ(std::vector<float>(map.begin(), map.end()), expected);
  ASSERT_EQ(capture.topk(0, 1, 0).size(), 1u);
  EXPECT_EQ(capture.topk(0, 1, 0)[0].keys[1], 2);
  const Buffer<float> norm = capture.hidden(0, "norm_l2");
  ASSERT_EQ(norm.size(), 9u);
  EXPECT_TRUE(std::isnan(norm[0]));  // level 0 was not written
  EXPECT_EQ(norm[8], 3.0f);
  const Buffer<float> last = capture.last_logits(0);
  EXPECT_EQ(std::vector<float>(last.begin(), last.end()), (std::vector<float>{3, 4, 5}));
}

TEST(MemoryCapture, UuidIsRandomVersion4) {
  const MemoryCapture a, b;
  EXPECT_NE(a.uuid(), b.uuid());
  const std::string uuid = a.uuid();
  ASSERT_EQ(uuid.size(), 36u);
  for (std::size_t n = 0; n < uuid.size(); ++n) {
    const bool dash = n == 8 || n == 13 || n == 18 || n == 23;
    EXPECT_TRUE(dash ? uuid[n] == '-' : std::isxdigit(static_cast<unsigned char>(uuid[n])) != 0) << uuid;
  }
  EXPECT_EQ(uuid[14], '4') << uuid;
  EXPECT_NE(std::string("89ab").find(uuid[19]), std::string::npos) << uuid;
}

}  // namespace
}  // namespace headlight::capture
