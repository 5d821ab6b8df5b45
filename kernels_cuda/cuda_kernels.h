#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "kernels/attention.h"

// Entry points of the CUDA build, in plain C++: callers need no CUDA headers. Every pointer in a call on a stream is
// device memory of the stream's device unless it says host. Calls on a stream return before the work is done.
namespace headlight::cuda {

struct DeviceInfo {
  int index = 0;
  std::string name;
  int major = 0, minor = 0;  ///< compute capability
  int num_multiprocessors = 0;
  std::uint64_t total_bytes = 0, free_bytes = 0;
};

/// A queue of work on one device.
struct Stream {
  int device = 0;
  int major = 0;  ///< compute capability of the device
  void* handle = nullptr;
};

/// One layer of attention as in kernels::AttentionInputs, for 16-bit operands in device memory.
struct AttentionInputs {
  std::int64_t num_queries = 0;  ///< rows of this call
  std::int64_t query_start = 0;  ///< absolute position of row 0
  std::int64_t num_keys = 0;     ///< keys stored so far, including those of this call
  int num_heads = 0, num_kv_heads = 0;
  int head_dim = 0;             ///< a multiple of 8, at most 256
  DType dtype = DType::bf16;    ///< of q, k, v and the output: bf16 or f16
  const void* q_ihd = nullptr;  ///< element (i, h, d) at q_ihd[i * q_stride + h * head_dim + d]; 16-byte aligned
  std::int64_t q_stride = 0;    ///< a multiple of 8
  const void* k_gjd = nullptr;  ///< element (g, j, d) at [g * kv_stride + j * kv_row_stride + d]
  const void* v_gjd = nullptr;
  std::int64_t kv_stride = 0;      ///< elements between KV heads, a multiple of 8
  std::int64_t kv_row_stride = 0;  ///< elements between keys, a multiple of 8
  float scale = 1.0f;
  float soft_cap = 0.0f;                ///< 0 = off
  const float* null_logit_h = nullptr;  ///< [H] learned sink logits, or nullptr
  kernels::AttentionMask mask;
};

/// Which code runs. `automatic` takes the fastest that covers the call.
enum class AttentionTier {
  automatic,
  portable,  ///< mma.sync, compute capability 8.0 and later, every shape
  hopper,    ///< wgmma, compute capability 9.0; head_dim 64 or 128, block edges of 16 and more. @error unsupported
};

/// A row whose weights are wanted as numbers.
struct MapRow {
  std::int32_t head = 0;
  std::int32_t row = 0;  ///< row of the call
};

/// One table of everything that the CUDA build offers.
struct CudaKernels {
  /// Devices that can run these kernels; empty where there is none. @param why  set to one sentence when it is empty
  std::vector<DeviceInfo> (*devices)(std::string& why);

  /// @error unsupported (no such device, too old, driver too old)
  Stream (*open_stream)(int device);
  void (*close_stream)(Stream stream);
  /// Waits for the work of the stream. @error failed (what the device reported)
  void (*synchronize)(Stream stream);

  /// @error out_of_memory, with what was asked for and what is free
  void* (*allocate)(Stream stream, std::size_t bytes);
  /// Errors of earlier work are synchronize()'s to report: this never throws.
  void (*release)(Stream stream, void* memory);
  /// Most that was allocated at a time so far, without what the driver takes for itself.
  std::uint64_t (*peak_bytes)(int device);
  void (*copy_in)(Stream stream, void* device, const void* host, std::size_t bytes);
  void (*copy_out)(Stream stream, void* host, const void* device, std::size_t bytes);
  void (*copy_within)(Stream stream, void* to, const void* from, std::size_t bytes);
  void (*fill)(Stream stream, void* device, int byte, std::size_t bytes);

  /// Host memory that copies reach without the CPU. @error out_of_memory
  void* (*allocate_pinned)(std::size_t bytes);
  void (*release_pinned)(void* memory);

  void* (*open_event)(int device);
  void (*close_event)(void* event);
  void (*record)(Stream stream, void* event);    ///< the event happens when the work so far is done
  void (*wait_for)(Stream stream, void* event);  ///< work that follows on the stream waits for the event
  /// The caller waits for the event. @error failed (what the device reported)
  void (*await)(void* event);

  /// Attention of one layer: the output [num_queries][out_stride] in the type of the operands, and optionally what
  /// kernels::attention() measures, in O(N) memory. Same definitions; column arrays and block maps are added to.
  /// Bitwise the same on every run of the same device model. plan->tap must be null.
  /// @param plan, statistics  both null = plain attention
  /// @param workspace  attention_workspace_bytes() of device memory, or null where that is 0
  /// @error invalid_argument  shapes or strides that the kernels do not take
  void (*attention)(Stream stream, const AttentionInputs& in, void* out_ihd, std::int64_t out_stride,
                    const kernels::AttentionStatisticsPlan* plan, const kernels::AttentionStatistics* statistics,
                    void* workspace, AttentionTier tier);
  std::size_t (*attention_workspace_bytes)(const AttentionInputs& in, const kernels::AttentionStatisticsPlan& plan);

  /// Only the first pass: output and row statistics; column arrays and block maps are not touched.
  void (*attention_rows)(Stream stream, const AttentionInputs& in, void* out_ihd, std::int64_t out_stride,
                         const kernels::AttentionStatisticsPlan& plan, const kernels::AttentionStatistics& statistics,
                         AttentionTier tier);

  /// Only the second pass: columns and block maps from an lse that is there (interactive work on some heads).
  void (*attention_columns)(Stream stream, const AttentionInputs& in, const kernels::AttentionStatisticsPlan& plan,
                            const kernels::AttentionStatistics& statistics, void* workspace, AttentionTier tier);

  /// Exact rows of the map: attn [num_rows][num_keys] f32, 0 where invisible. @param rows  device memory
  void (*attention_map_rows)(Stream stream, const AttentionInputs& in, const MapRow* rows, std::int64_t num_rows,
                             float* attn);
};

/// The table, or nullptr when Headlight was built without CUDA.
const CudaKernels* cuda_kernels();

}  // namespace headlight::cuda
