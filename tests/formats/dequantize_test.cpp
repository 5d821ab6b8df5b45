// Blocks with byte i = (37 i + 11) & 255 and the scales overwritten by d = 0.5, m = 0.25. The expected numbers were
// computed by an independent implementation of the format.
#include "kernels/dequantize.h"

#include <array>
#include <bit>
#include <limits>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/dtype.h"

namespace headlight::kernels {
namespace {

struct Golden {
  TensorType type;
  int d_at, m_at;  // byte offsets of the half fields; -1 = none
  std::array<int, 4> index;
  std::array<float, 4> value;
  double sum, sum_of_squares;
};

constexpr std::array<int, 4> kSmall{0, 1, 16, 31}, kLarge{0, 1, 100, 255};

const std::vector<Golden> kGoldens{
    {TensorType::q4_0, 0, -1, kSmall, {-1.5f, 1, -1.5f, 0}, -10.5, 161.25},
    {TensorType::q4_1, 0, 2, kSmall, {7.75f, 2.25f, 4.75f, 6.25f}, 130.5, 695},
    {TensorType::q5_0, 0, -1, kSmall, {4.5f, -1, 7, 0.5f}, 7.5, 656.75},
    {TensorType::q5_1, 0, 2, kSmall, {9.75f, 12.25f, 9.75f, 2.75f}, 260.5, 2824.5},
    {TensorType::q8_0, 0, -1, kSmall, {42.5f, 61, -45.5f, -24}, -88, 47564},
    {TensorType::iq4_nl, 0, -1, kSmall, {-17.5f, 12.5f, -17.5f, 0.5f}, -128.5, 33573.25},
    {TensorType::q2_k, 80, 82, kLarge, {16.5f, 0, 10, 2.25f}, 1029.5, 13619},
    {TensorType::q3_k, 108, -1, kLarge, {40.5f, -54, 0, 21}, 479, 142176.5},
    {TensorType::q4_k, 0, 2, kLarge, {157.75f, -12.75f, 47.5f, 24.25f}, 27220, 6041305},
    {TensorType::q5_k, 0, 2, kLarge, {405.75f, -12.75f, 117.5f, 54.25f}, 58108, 25707205},
    {TensorType::q6_k, 208, -1, kLarge, {-715.5f, 848, 1261.5f, -30}, 2306, 118475065},
    {TensorType::iq4_xs, 0, -1, kLarge, {32.5f, -0.5f, 20, -8}, -5502.5, 60747839.25},
};

std::vector<std::byte> golden_block(const Golden& golden) {
  std::vector<std::byte> block(info(golden.type).block_bytes);
  for (std::size_t i = 0; i < block.size(); ++i) block[i] = static_cast<std::byte>((37 * i + 11) & 255);
  const auto put_half = [&](int at, float value) {
    const std::uint16_t half = f32_to_f16(value);
    block[at] = static_cast<std::byte>(half & 255);
    block[at + 1] = static_cast<std::byte>(half >> 8);
  };
  put_half(golden.d_at, 0.5f);
  if (golden.m_at >= 0) put_half(golden.m_at, 0.25f);
  return block;
}

TEST(Dequantize, GoldenBlocksOfEveryQuantisedType) {
  for (const auto& golden : kGoldens) {
    SCOPED_TRACE(info(golden.type).name);
    const auto block = golden_block(golden);
    std::vector<float> y(info(golden.type).block_size);
    dequantize_row(golden.type, block.data(), y);
    double sum = 0, squares = 0;
    for (const float v : y) {
      sum += v;
      squares += static_cast<double>(v) * v;
    }
    EXPECT_EQ(sum, golden.sum);
    EXPECT_EQ(squares, golden.sum_of_squares);
    for (int k = 0; k < 4; ++k) EXPECT_EQ(y[golden.index[k]], golden.value[k]) << "element " << golden.index[k];
  }
}

TEST(Dequantize, EveryTypeHasAGoldenOrIsAFloat) {
  int quantised = 0;
  for (std::uint32_t id = 0; id < 64; ++id) {
    const auto type = tensor_type_from_ggml(id);
    if (!type) continue;
    EXPECT_EQ(info(*type).name, ggml_type_name(id));
    if (info(*type).block_size > 1) ++quantised;
  }
  EXPECT_EQ(quantised, static_cast<int>(kGoldens.size()));
}

TEST(Dequantize, BlocksFollowEachOther) {
  for (const auto& golden : kGoldens) {
    SCOPED_TRACE(info(golden.type).name);
    const auto block = golden_block(golden);
    const std::size_t n = info(golden.type).block_size;
    std::vector<std::byte> row(1);  // rows may start at any address
    for (int k = 0; k < 3; ++k) row.insert(row.end(), block.begin(), block.end());
    std::vector<float> one(n), three(3 * n);
    dequantize_row(golden.type, block.data(), one);
    dequantize_row(golden.type, row.data() + 1, three);
    for (std::size_t i = 0; i < 3 * n; ++i) ASSERT_EQ(three[i], one[i % n]) << i;
  }
}

TEST(Dequantize, FloatTypesAreExact) {
  const std::array<std::uint16_t, 7> halves{0x0000, 0x8000, 0x0001, 0x03ff, 0x3c00, 0x7bff, 0x7c00};
  const std::array<float, 7> expected{
      0.0f, -0.0f, 0x1p-24f, 0x3ffp-24f, 1.0f, 65504.0f, std::numeric_limits<float>::infinity()};
  std::array<float, 7> y{};
  dequantize_row(TensorType::f16, reinterpret_cast<const std::byte*>(halves.data()), y);
  for (int i = 0; i < 7; ++i)
    EXPECT_EQ(std::bit_cast<std::uint32_t>(y[i]), std::bit_cast<std::uint32_t>(expected[i])) << i;
  const std::array<std::uint16_t, 2> brains{0x3f80, 0xc2f7};
  std::array<float, 2> z{};
  dequantize_row(TensorType::bf16, reinterpret_cast<const std::byte*>(brains.data()), z);
  EXPECT_THAT(z, testing::ElementsAre(1.0f, -123.5f));
  const std::array<float, 2> floats{1.25f, -3.0f};
  dequantize_row(TensorType::f32, reinterpret_cast<const std::byte*>(floats.data()), z);
  EXPECT_THAT(z, testing::ElementsAre(1.25f, -3.0f));
}

TEST(TensorTypes, NamesOfUnsupportedAndUnknownIds) {
  EXPECT_EQ(ggml_type_name(39), "MXFP4");
  EXPECT_FALSE(tensor_type_from_ggml(39));
  EXPECT_EQ(ggml_type_name(16), "IQ2_XXS");
  EXPECT_EQ(ggml_type_name(9), "Q8_1");
  EXPECT_EQ(ggml_type_name(99), "unknown");
  EXPECT_EQ(row_bytes(TensorType::q4_k, 512), 288u);
}

}  // namespace
}  // namespace headlight::kernels
