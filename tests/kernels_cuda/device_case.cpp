#include "tests/kernels_cuda/device_case.h"

#include <memory>

#include <gtest/gtest.h>

namespace headlight::cuda::testing {
namespace {

using kernels::testing::AttentionCase;
using kernels::testing::AttentionOutputs;

std::uint16_t narrow(DType dtype, float x) {
  return dtype == DType::bf16 ? f32_to_bf16(x) : f32_to_f16(x);
}
float widen(DType dtype, std::uint16_t bits) {
  return dtype == DType::bf16 ? bf16_to_f32(bits) : f16_to_f32(bits);
}

std::vector<std::uint16_t> narrowed(DType dtype, const std::vector<float>& values) {
  std::vector<std::uint16_t> out;
  for (const float x : values) out.push_back(narrow(dtype, x));
  return out;
}

/// Operands of a case in device memory; q is packed again, because its stride must be a multiple of 8.
struct Operands {
  DeviceMemory q, k, v, null_logits, groups;
  AttentionInputs in;

  Operands(Stream stream, const AttentionCase& c, DType dtype, const std::vector<std::uint16_t>& packed_q)
      : q(stream, packed_q.data(), packed_q.size() * 2),
        k(stream, narrowed(dtype, c.k).data(), c.k.size() * 2),
        v(stream, narrowed(dtype, c.v).data(), c.v.size() * 2),
        null_logits(stream, c.null_logits.data(), c.null_logits.size() * sizeof(float)),
        groups(stream, c.groups.data(), c.groups.size()) {
    in.num_queries = c.in.num_queries;
    in.query_start = c.in.query_start;
    in.num_keys = c.in.num_keys;
    in.num_heads = c.in.num_heads;
    in.num_kv_heads = c.in.num_kv_heads;
    in.head_dim = c.in.head_dim;
    in.dtype = dtype;
    in.q_ihd = q.as<void>();
    in.k_gjd = k.as<void>();
    in.v_gjd = v.as<void>();
    in.q_stride = std::int64_t{c.in.num_heads} * c.in.head_dim + 8;
    in.kv_stride = c.in.kv_stride;
    in.kv_row_stride = c.in.head_dim;
    in.scale = c.in.scale;
    in.soft_cap = c.in.soft_cap;
    in.null_logit_h = c.null_logits.empty() ? nullptr : null_logits.as<float>();
    in.mask = c.in.mask;
  }
};

std::vector<std::uint16_t> pack_queries(const AttentionCase& c, DType dtype) {
  const std::int64_t width = std::int64_t{c.in.num_heads} * c.in.head_dim;
  std::vector<std::uint16_t> out;
  for (std::int64_t i = 0; i < c.in.num_queries; ++i) {
    for (std::int64_t d = 0; d < width; ++d)
      out.push_back(narrow(dtype, c.q[static_cast<std::size_t>(i * c.in.q_stride + d)]));
    out.insert(out.end(), 8, 0xFFFF);  // between the rows: NaN
  }
  return out;
}

std::vector<float> download_output(const DeviceMemory& out, std::size_t count, DType dtype) {
  std::vector<std::uint16_t> bits(count);
  out.read(bits.data(), count * 2);
  std::vector<float> values;
  for (const std::uint16_t b : bits) values.push_back(widen(dtype, b));
  return values;
}

}  // namespace

const CudaKernels* usable_table(std::string& why) {
  const CudaKernels* table = cuda_kernels();
  return table == nullptr || table->devices(why).empty() ? nullptr : table;
}

DeviceMemory::DeviceMemory(Stream stream, const void* host, std::size_t bytes)
    : stream_(stream), memory_(cuda_kernels()->allocate(stream, bytes)) {
  cuda_kernels()->copy_in(stream, memory_, host, bytes);
  cuda_kernels()->synchronize(stream);
}
DeviceMemory::DeviceMemory(Stream stream, std::size_t bytes, int fill)
    : stream_(stream), memory_(cuda_kernels()->allocate(stream, bytes)) {
  cuda_kernels()->fill(stream, memory_, fill, bytes);
}
DeviceMemory::~DeviceMemory() {
  cuda_kernels()->release(stream_, memory_);
}
void DeviceMemory::read(void* host, std::size_t bytes) const {
  cuda_kernels()->copy_out(stream_, host, memory_, bytes);
  cuda_kernels()->synchronize(stream_);
}

DeviceCase::DeviceCase(AttentionCase c, DType type) : host(std::move(c)), dtype(type) {
  for (auto* values : {&host.q, &host.k, &host.v})
    for (float& x : *values) x = widen(dtype, narrow(dtype, x));
  host.attach();
}

AttentionOutputs DeviceCase::run(Stream stream) const {
  const CudaKernels& table = *cuda_kernels();
  const Operands operands(stream, host, dtype, pack_queries(host, dtype));
  AttentionOutputs got(host, host.in.num_queries);
  kernels::AttentionStatistics to = got.statistics(host, 0, host.in.num_queries);
  // Every array of the host gets one on the device with the same content: poison, or 0 where the kernel adds.
  std::vector<std::pair<std::vector<float>*, std::unique_ptr<DeviceMemory>>> arrays;
  const auto place = [&](std::vector<float>& values, float*& target) {
    arrays.emplace_back(&values, std::make_unique<DeviceMemory>(stream, values.data(), values.size() * sizeof(float)));
    target = arrays.back().second->as<float>();
  };
  place(got.lse, to.lse_hi);
  place(got.entropy, to.entropy_hi);
  place(got.pmax, to.pmax_hi);
  place(got.first, to.first_hi);
  place(got.sink, to.sink_hi);
  place(got.local, to.local_hi);
  place(got.dist1, to.dist1_hi);
  place(got.dist2, to.dist2_hi);
  place(got.off0, to.off0_hi);
  place(got.off1, to.off1_hi);
  place(got.null_mass, to.null_mass_hi);
  place(got.group_mass, to.group_mass_hig);
  place(got.received, to.received_hj);
  place(got.received_tail, to.received_tail_hj);
  place(got.block_sum, to.block_sum);
  place(got.block_max, to.block_max);
  const DeviceMemory jmax(stream, got.jmax.size() * sizeof(std::int32_t), 0x80);
  to.jmax_hi = jmax.as<std::int32_t>();
  kernels::AttentionStatisticsPlan plan = host.plan;
  plan.group_of_key_j = operands.groups.as<std::uint8_t>();
  const DeviceMemory out(stream, got.out_ihd.size() * 2, 0xFF);
  const DeviceMemory workspace(stream, table.attention_workspace_bytes(operands.in, plan), 0xFF);
  table.attention(stream, operands.in, out.as<void>(), std::int64_t{host.in.num_heads} * host.in.head_dim, &plan, &to,
                  workspace.as<void>(), tier);
  for (auto& [values, memory] : arrays) memory->read(values->data(), values->size() * sizeof(float));
  jmax.read(got.jmax.data(), got.jmax.size() * sizeof(std::int32_t));
  got.out_ihd = download_output(out, got.out_ihd.size(), dtype);
  return got;
}

std::vector<float> DeviceCase::run_plain(Stream stream) const {
  const Operands operands(stream, host, dtype, pack_queries(host, dtype));
  const std::int64_t stride = std::int64_t{host.in.num_heads} * host.in.head_dim;
  const auto count = static_cast<std::size_t>(host.in.num_queries * stride);
  const DeviceMemory out(stream, count * 2, 0xFF);
  cuda_kernels()->attention(stream, operands.in, out.as<void>(), stride, nullptr, nullptr, nullptr, tier);
  return download_output(out, count, dtype);
}

std::vector<float> DeviceCase::map_rows(Stream stream, const std::vector<MapRow>& rows) const {
  const Operands operands(stream, host, dtype, pack_queries(host, dtype));
  const DeviceMemory list(stream, rows.data(), rows.size() * sizeof(MapRow));
  std::vector<float> attn(rows.size() * static_cast<std::size_t>(host.in.num_keys));
  const DeviceMemory out(stream, attn.size() * sizeof(float), 0xFF);
  cuda_kernels()->attention_map_rows(stream, operands.in, list.as<MapRow>(), std::ssize(rows), out.as<float>());
  out.read(attn.data(), attn.size() * sizeof(float));
  return attn;
}

void DeviceCase::check(Stream stream) const {
  const auto reference = kernels::attention_reference(host.in, &host.plan);
  kernels::testing::expect_close(host, run(stream), reference, dtype == DType::bf16 ? 4e-3 : 6e-4);
}

}  // namespace headlight::cuda::testing
