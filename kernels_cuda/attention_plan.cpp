#include "kernels_cuda/attention_plan.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "base/error.h"

namespace headlight::cuda {
namespace {

[[noreturn]] void refuse(const std::string& sentence) {
  throw Error(Errc::invalid_argument, "attention on CUDA: " + sentence);
}

void check_sizes(const AttentionInputs& in) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max() / 2;
  if (in.num_queries < 1 || in.num_keys < 1 || in.num_keys > kMost || in.query_start < 0 ||
      in.query_start + in.num_queries > kMost)
    refuse(fmt::format("expected 1 to {} queries and keys, found {} and {}", kMost, in.num_queries, in.num_keys));
  if (in.num_kv_heads < 1 || in.num_heads < in.num_kv_heads || in.num_heads > 65535)
    refuse(fmt::format("expected at most 65535 heads and 1 to as many KV heads, found {} and {}", in.num_heads,
                       in.num_kv_heads));
  if (!(in.scale > 0.0f)) refuse(fmt::format("expected a positive scale, found {}", in.scale));
  if (in.dtype != DType::bf16 && in.dtype != DType::f16)
    refuse(fmt::format("expected operands in bf16 or f16, found {}", to_string(in.dtype)));
}

void check_layout(const AttentionInputs& in) {
  const std::pair<const char*, std::int64_t> strides[] = {
      {"q_stride", in.q_stride}, {"kv_stride", in.kv_stride}, {"kv_row_stride", in.kv_row_stride}};
  for (const auto& [name, stride] : strides)
    if (stride % 8 != 0) refuse(fmt::format("expected {} to be a multiple of 8, found {}", name, stride));
  for (const void* pointer : {in.q_ihd, in.k_gjd, in.v_gjd})
    if (pointer == nullptr || reinterpret_cast<std::uintptr_t>(pointer) % 16 != 0)
      refuse("q, k and v must be aligned to 16 bytes");
}

void check_plan(const kernels::AttentionStatisticsPlan& plan, const kernels::AttentionStatistics* statistics) {
  if (statistics == nullptr || plan.tap != nullptr) refuse("a plan needs statistics and takes no tap");
  if (plan.num_groups < 0 || plan.num_groups > kMaxGroups)
    refuse(fmt::format("expected at most {} groups, found {}", kMaxGroups, plan.num_groups));
  const bool power_of_two = (plan.block_edge & (plan.block_edge - 1)) == 0;
  if (plan.block_edge < 0 || plan.block_edge > (1 << 20) || !power_of_two)
    refuse(fmt::format("expected blocks with an edge that is a power of two, found {}", plan.block_edge));
}

}  // namespace

int kernel_head_dim(int head_dim) {
  if (head_dim > 0 && head_dim % 8 == 0)
    for (const int size : {64, 80, 96, 128, 256})
      if (head_dim <= size) return size;
  refuse(fmt::format("expected head_dim to be a multiple of 8 up to 256, found {}", head_dim));
}

AttentionParams make_params(const AttentionInputs& in, const kernels::AttentionStatisticsPlan* plan,
                            const kernels::AttentionStatistics* statistics) {
  check_sizes(in);
  kernel_head_dim(in.head_dim);
  check_layout(in);
  AttentionParams p{};
  p.q = in.q_ihd;
  p.k = in.k_gjd;
  p.v = in.v_gjd;
  p.q_stride = in.q_stride;
  p.kv_stride = in.kv_stride;
  p.kv_row_stride = in.kv_row_stride;
  p.num_queries = static_cast<int>(in.num_queries);
  p.num_keys = static_cast<int>(in.num_keys);
  p.num_heads = in.num_heads;
  p.num_kv_heads = in.num_kv_heads;
  p.head_dim = in.head_dim;
  p.query_start = static_cast<int>(in.query_start);
  const auto clamped = [](std::int64_t x) {
    return static_cast<int>(std::clamp<std::int64_t>(x, 0, std::numeric_limits<std::int32_t>::max() / 2));
  };
  p.first_key = clamped(in.mask.first_key);
  p.window = clamped(in.mask.window);
  p.causal = in.mask.causal;
  p.unit_log2 = in.scale * kLog2e;
  if (in.soft_cap > 0.0f) {
    p.cap_log2 = in.soft_cap * kLog2e;
    p.cap_inner = in.scale / in.soft_cap;
    p.unit_log2 = 1.0f;
  }
  p.null_logit = in.null_logit_h;
  if (plan == nullptr) return p;
  check_plan(*plan, statistics);
  p.to = *statistics;
  p.sink_size = clamped(plan->sink_size);
  p.local_window = clamped(plan->local_window);
  p.num_groups = plan->num_groups;
  p.tail_begin = clamped(plan->tail_rows.begin);
  p.tail_end = clamped(plan->tail_rows.end);
  p.group_of_key = plan->group_of_key_j;
  p.block_edge = static_cast<int>(plan->block_edge);
  return p;
}

void set_output(AttentionParams& p, void* out_ihd, std::int64_t out_stride) {
  if (out_ihd == nullptr || reinterpret_cast<std::uintptr_t>(out_ihd) % 4 != 0)
    refuse("the output must be aligned to 4 bytes");
  const std::int64_t width = std::int64_t{p.num_heads} * p.head_dim;
  if (out_stride % 2 != 0 || out_stride < width)
    refuse(fmt::format("expected an even out_stride of at least {}, found {}", width, out_stride));
  p.out = out_ihd;
  p.out_stride = out_stride;
}

bool takes_hopper(const AttentionParams& p, AttentionPass pass, AttentionTier tier, int major) {
  const bool blocks_fit = pass == AttentionPass::rows || p.block_edge == 0 || p.block_edge >= 16;
  const bool covered = major == 9 && (p.head_dim == 64 || p.head_dim == 128) && blocks_fit;
  if (tier == AttentionTier::hopper && !covered)
    throw Error(
        Errc::unsupported,
        fmt::format("attention on CUDA: the Hopper kernels take compute capability 9.x, head_dim 64 or 128 and no "
                    "block edge below 16, found {}.x, {} and {}",
                    major, p.head_dim, p.block_edge));
  return tier != AttentionTier::portable && covered;
}

std::size_t workspace_bytes(const AttentionInputs& in, const kernels::AttentionStatisticsPlan& plan) {
  if (plan.block_edge <= kColumnTileKeys) return 0;
  const std::int64_t last = std::max(in.num_keys, in.query_start + in.num_queries);
  const std::int64_t rows = (last + plan.block_edge - 1) / plan.block_edge;
  const std::int64_t tiles = (in.num_keys + kColumnTileKeys - 1) / kColumnTileKeys;
  return static_cast<std::size_t>(2 * in.num_heads * rows * tiles) * sizeof(float);
}

}  // namespace headlight::cuda
