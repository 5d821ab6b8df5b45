#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "kernels_cuda/attention_decode.h"
#include "kernels_cuda/attention_plan.h"
#include "kernels_cuda/device_scope.h"
#include "kernels_cuda/devices.h"

#include "base/error.h"

namespace headlight::cuda {

template <int kDim>
void launch_rows_of(const AttentionParams& p, DType dtype, bool statistics, cudaStream_t stream);
template <int kDim>
void launch_columns_of(const AttentionParams& p, DType dtype, cudaStream_t stream);

void launch_rows_hopper(const AttentionParams& p, DType dtype, bool statistics, cudaStream_t stream);
void launch_columns_hopper(const AttentionParams& p, DType dtype, cudaStream_t stream);

void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess)
    throw Error(Errc::failed, fmt::format("CUDA: {} failed: {}", what, cudaGetErrorString(status)));
}

void check_launch(const char* kernel) {
  check(cudaGetLastError(), kernel);
}

namespace {

const DriverTable kDriver = {
    [](int* version) { return static_cast<int>(cudaDriverGetVersion(version)); },
    [](int* version) { return static_cast<int>(cudaRuntimeGetVersion(version)); },
    [](int* count) { return static_cast<int>(cudaGetDeviceCount(count)); },
    [](int device, DeviceInfo* info) {
      cudaDeviceProp properties;
      if (const cudaError_t status = cudaGetDeviceProperties(&properties, device); status != cudaSuccess)
        return static_cast<int>(status);
      info->index = device;
      info->name = properties.name;
      info->major = properties.major;
      info->minor = properties.minor;
      info->num_multiprocessors = properties.multiProcessorCount;
      info->total_bytes = properties.totalGlobalMem;
      return 0;
    },
    [](int status) { return std::string(cudaGetErrorString(static_cast<cudaError_t>(status))); },
};

std::uint64_t free_bytes_of(int device) {
  const OnDevice on(device);
  std::size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return free;
}

std::vector<DeviceInfo> devices(std::string& why) {
  auto found = usable_devices(kDriver, why);
  for (DeviceInfo& device : found) device.free_bytes = free_bytes_of(device.index);
  return found;
}

cudaMemPool_t pool_of(int device) {
  cudaMemPool_t pool = nullptr;
  check(cudaDeviceGetDefaultMemPool(&pool, device), "cudaDeviceGetDefaultMemPool");
  return pool;
}

std::uint64_t peak_bytes(int device) {
  const OnDevice on(device);
  std::uint64_t bytes = 0;
  check(cudaMemPoolGetAttribute(pool_of(device), cudaMemPoolAttrUsedMemHigh, &bytes), "cudaMemPoolGetAttribute");
  return bytes;
}

Stream open_stream(int device) {
  const int major = require_device(kDriver, device).major;
  const OnDevice on(device);
  // What is freed stays with the process: the next layer or sequence wants it back.
  const std::uint64_t keep = std::numeric_limits<std::uint64_t>::max();
  check(cudaMemPoolSetAttribute(pool_of(device), cudaMemPoolAttrReleaseThreshold, const_cast<std::uint64_t*>(&keep)),
        "cudaMemPoolSetAttribute");
  cudaStream_t handle = nullptr;
  check(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking), "cudaStreamCreate");
  return {device, major, handle};
}

void close_stream(Stream stream) {
  cudaStreamDestroy(handle_of(stream));
}

void synchronize(Stream stream) {
  check(cudaStreamSynchronize(handle_of(stream)), "work on the device");
}

void* allocate(Stream stream, std::size_t bytes) {
  const OnDevice on(stream.device);
  void* memory = nullptr;
  const cudaError_t status = cudaMallocAsync(&memory, std::max<std::size_t>(bytes, 1), handle_of(stream));
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // it does not stick
    throw Error(Errc::out_of_memory, fmt::format("device {} has no room for {:.1f} MB more, {:.1f} MB are free",
                                                 stream.device, static_cast<double>(bytes) * 1e-6,
                                                 static_cast<double>(free_bytes_of(stream.device)) * 1e-6));
  }
  check(status, "cudaMallocAsync");
  return memory;
}

void release(Stream stream, void* memory) {
  if (memory != nullptr) cudaFreeAsync(memory, handle_of(stream));
}

void copy_in(Stream stream, void* device, const void* host, std::size_t bytes) {
  check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, handle_of(stream)), "copy to the device");
}

void copy_out(Stream stream, void* host, const void* device, std::size_t bytes) {
  check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, handle_of(stream)), "copy from the device");
}

void copy_within(Stream stream, void* to, const void* from, std::size_t bytes) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, handle_of(stream)), "copy on the device");
}

void fill(Stream stream, void* device, int byte, std::size_t bytes) {
  check(cudaMemsetAsync(device, byte, bytes, handle_of(stream)), "cudaMemset");
}

void* allocate_pinned(std::size_t bytes) {
  void* memory = nullptr;
  const cudaError_t status = cudaMallocHost(&memory, std::max<std::size_t>(bytes, 1));
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // it does not stick
    throw Error(Errc::out_of_memory, fmt::format("no room for {:.1f} MB of host memory for copies from the device",
                                                 static_cast<double>(bytes) * 1e-6));
  }
  check(status, "cudaMallocHost");
  return memory;
}

void release_pinned(void* memory) {
  cudaFreeHost(memory);
}

void* open_event(int device) {
  const OnDevice on(device);
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate");
  return event;
}

void close_event(void* event) {
  cudaEventDestroy(static_cast<cudaEvent_t>(event));
}

void record(Stream stream, void* event) {
  check(cudaEventRecord(static_cast<cudaEvent_t>(event), handle_of(stream)), "cudaEventRecord");
}

void wait_for(Stream stream, void* event) {
  check(cudaStreamWaitEvent(handle_of(stream), static_cast<cudaEvent_t>(event), 0), "cudaStreamWaitEvent");
}

void await(void* event) {
  check(cudaEventSynchronize(static_cast<cudaEvent_t>(event)), "work on the device");
}

void launch_rows(const AttentionParams& p, DType dtype, bool statistics, cudaStream_t stream) {
  switch (kernel_head_dim(p.head_dim)) {
    case 64:
      return launch_rows_of<64>(p, dtype, statistics, stream);
    case 80:
      return launch_rows_of<80>(p, dtype, statistics, stream);
    case 96:
      return launch_rows_of<96>(p, dtype, statistics, stream);
    case 128:
      return launch_rows_of<128>(p, dtype, statistics, stream);
    default:
      return launch_rows_of<256>(p, dtype, statistics, stream);
  }
}

void launch_columns(const AttentionParams& p, DType dtype, cudaStream_t stream) {
  switch (kernel_head_dim(p.head_dim)) {
    case 64:
      return launch_columns_of<64>(p, dtype, stream);
    case 80:
      return launch_columns_of<80>(p, dtype, stream);
    case 96:
      return launch_columns_of<96>(p, dtype, stream);
    case 128:
      return launch_columns_of<128>(p, dtype, stream);
    default:
      return launch_columns_of<256>(p, dtype, stream);
  }
}

void run_rows(Stream stream, const AttentionParams& p, DType dtype, bool statistics, AttentionTier tier) {
  if (takes_hopper(p, AttentionPass::rows, tier, stream.major))
    launch_rows_hopper(p, dtype, statistics, handle_of(stream));
  else
    launch_rows(p, dtype, statistics, handle_of(stream));
}

void run_columns(Stream stream, AttentionParams p, DType dtype, void* workspace, std::size_t bytes,
                 AttentionTier tier) {
  if (bytes > 0) {
    HEADLIGHT_CHECK(workspace != nullptr);
    p.partial_sum = static_cast<float*>(workspace);
    p.partial_max = p.partial_sum + bytes / sizeof(float) / 2;
    fill(stream, workspace, 0, bytes);
  }
  if (takes_hopper(p, AttentionPass::columns, tier, stream.major))
    launch_columns_hopper(p, dtype, handle_of(stream));
  else
    launch_columns(p, dtype, handle_of(stream));
  if (bytes > 0) launch_reduce_blocks(p, handle_of(stream));
}

void attention(Stream stream, const AttentionInputs& in, void* out_ihd, std::int64_t out_stride,
               const kernels::AttentionStatisticsPlan* plan, const kernels::AttentionStatistics* statistics,
               void* workspace, AttentionTier tier) {
  AttentionParams p = make_params(in, plan, statistics);
  set_output(p, out_ihd, out_stride);
  const OnDevice on(stream.device);
  if (is_decode(p)) {
    void* scratch = allocate(stream, decode_scratch_bytes(p, plan != nullptr));
    launch_decode(p, in.dtype, plan != nullptr, scratch, handle_of(stream));
    return release(stream, scratch);
  }
  run_rows(stream, p, in.dtype, plan != nullptr, tier);
  if (plan != nullptr) run_columns(stream, p, in.dtype, workspace, workspace_bytes(in, *plan), tier);
}

void attention_rows(Stream stream, const AttentionInputs& in, void* out_ihd, std::int64_t out_stride,
                    const kernels::AttentionStatisticsPlan& plan, const kernels::AttentionStatistics& statistics,
                    AttentionTier tier) {
  AttentionParams p = make_params(in, &plan, &statistics);
  set_output(p, out_ihd, out_stride);
  const OnDevice on(stream.device);
  run_rows(stream, p, in.dtype, true, tier);
}

void attention_columns(Stream stream, const AttentionInputs& in, const kernels::AttentionStatisticsPlan& plan,
                       const kernels::AttentionStatistics& statistics, void* workspace, AttentionTier tier) {
  const AttentionParams p = make_params(in, &plan, &statistics);
  const OnDevice on(stream.device);
  run_columns(stream, p, in.dtype, workspace, workspace_bytes(in, plan), tier);
}

void attention_map_rows(Stream stream, const AttentionInputs& in, const MapRow* rows, std::int64_t num_rows,
                        float* attn) {
  if (num_rows == 0) return;
  const AttentionParams p = make_params(in, nullptr, nullptr);
  const OnDevice on(stream.device);
  launch_map_rows(p, in.dtype, rows, num_rows, attn, handle_of(stream));
}

}  // namespace

const CudaKernels* cuda_kernels() {
  static const CudaKernels table = {devices,
                                    open_stream,
                                    close_stream,
                                    synchronize,
                                    allocate,
                                    release,
                                    peak_bytes,
                                    copy_in,
                                    copy_out,
                                    copy_within,
                                    fill,
                                    allocate_pinned,
                                    release_pinned,
                                    open_event,
                                    close_event,
                                    record,
                                    wait_for,
                                    await,
                                    attention,
                                    workspace_bytes,
                                    attention_rows,
                                    attention_columns,
                                    attention_map_rows};
  return &table;
}

}  // namespace headlight::cuda
