#include <fmt/format.h>

#include "kernels_cuda/dense_launch.h"
#include "kernels_cuda/device_scope.h"
#include "kernels_cuda/matmul.h"

#include "base/error.h"

namespace headlight::cuda {
namespace {

void require_multiple_of_8(const char* call, const char* field, std::int64_t value) {
  if (value <= 0 || value % 8 != 0)
    throw Error(Errc::invalid_argument,
                fmt::format("{} on CUDA: expected {} to be a multiple of 8, found {}", call, field, value));
}

void normalize(Stream stream, const NormCall& call) {
  require_multiple_of_8("norm", "d", call.d);
  if (call.n == 0) return;
  const OnDevice on(stream.device);
  launch_normalize(call, handle_of(stream));
}

void operands(Stream stream, const OperandsCall& call) {
  require_multiple_of_8("operands of attention", "head_dim", call.head_dim);
  if (call.head_dim > 256 || call.rotary_dim > call.head_dim)
    throw Error(Errc::invalid_argument,
                fmt::format("operands of attention on CUDA: expected head_dim up to 256 and rotary_dim up to head_dim, "
                            "found {} and {}",
                            call.head_dim, call.rotary_dim));
  if (call.n == 0) return;
  const OnDevice on(stream.device);
  launch_operands(call, handle_of(stream));
}

void activate(Stream stream, const ActivationCall& call) {
  require_multiple_of_8("activation", "width", call.width);
  if (call.n == 0) return;
  const OnDevice on(stream.device);
  launch_activate(call, handle_of(stream));
}

void embed(Stream stream, const EmbeddingCall& call) {
  if (call.n == 0) return;
  const OnDevice on(stream.device);
  launch_embed(call, handle_of(stream));
}

void narrow(Stream stream, DType dtype, const float* x, std::int64_t count, void* y) {
  if (count == 0) return;
  const OnDevice on(stream.device);
  launch_narrow(dtype, x, count, y, handle_of(stream));
}

void soft_cap(Stream stream, float* x, float cap, std::int64_t count) {
  if (count == 0) return;
  const OnDevice on(stream.device);
  launch_soft_cap(x, cap, count, handle_of(stream));
}

void find_nonfinite(Stream stream, const float* x, std::int64_t n, std::int64_t d, std::int64_t start, int* first_bad) {
  if (n == 0) return;
  const OnDevice on(stream.device);
  launch_find_nonfinite(x, n, d, start, first_bad, handle_of(stream));
}

}  // namespace

const DenseKernels* dense_kernels() {
  static const DenseKernels table = {open_matmul, close_matmul, run_matmul, normalize, operands,
                                     activate,    embed,        narrow,     soft_cap,  find_nonfinite};
  return &table;
}

}  // namespace headlight::cuda
