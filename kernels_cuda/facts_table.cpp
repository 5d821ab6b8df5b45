#include <fmt/format.h>

#include "kernels_cuda/attention_plan.h"
#include "kernels_cuda/device_scope.h"
#include "kernels_cuda/facts_launch.h"

#include "base/error.h"

namespace headlight::cuda {
namespace {

int num_multiprocessors(int device) {
  int count = 0;
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device), "cudaDeviceGetAttribute");
  return count;
}

void hidden(Stream stream, const HiddenCall& call) {
  if (call.n == 0) return;
  const OnDevice on(stream.device);
  launch_hidden(call, handle_of(stream));
}

void median(Stream stream, const MedianCall& call) {
  if (call.count <= 0 || call.count % 4 != 0)
    throw Error(Errc::invalid_argument,
                fmt::format("median on CUDA: expected a multiple of 4 elements, found {}", call.count));
  const OnDevice on(stream.device);
  launch_median(call, num_multiprocessors(stream.device), handle_of(stream));
}

void massive(Stream stream, const MassiveCall& call) {
  if (call.n == 0) return;
  const OnDevice on(stream.device);
  launch_massive(call, handle_of(stream));
}

void head_norms(Stream stream, const HeadNormsCall& call) {
  if (call.n == 0) return;
  const OnDevice on(stream.device);
  launch_head_norms(call, handle_of(stream));
}

void gram(Stream stream, const GramCall& call) {
  const OnDevice on(stream.device);
  launch_gram(call, kernel_head_dim(call.head_dim), handle_of(stream));
}

void value_norms(Stream stream, const ValueNormsCall& call) {
  if (call.n == 0) return;
  const OnDevice on(stream.device);
  launch_value_norms(call, kernel_head_dim(call.head_dim), handle_of(stream));
}

void topk(Stream stream, const TopkCall& call) {
  if (call.num_rows == 0 || call.k <= 0) return;
  const OnDevice on(stream.device);
  launch_topk(call, handle_of(stream));
}

}  // namespace

const FactKernels* fact_kernels() {
  static const FactKernels table = {hidden,          median, median_state_bytes, massive, head_norms,
                                    kernel_head_dim, gram,   value_norms,        topk};
  return &table;
}

}  // namespace headlight::cuda
