#include "kernels_cuda/tile_map.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "base/error.h"

namespace headlight::cuda {
namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

// From the driver that is there: the program does not link to it.
Encode find_encode() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
  if (found != cudaDriverEntryPointSuccess || function == nullptr)
    throw Error(Errc::unsupported, "the driver cannot describe tiles to the copy engine (CUDA 12.0 or later does)");
  return reinterpret_cast<Encode>(function);
}

}  // namespace

CUtensorMap tile_map(DType dtype, const HeadMatrices& m, int tile_rows) {
  static const Encode encode = find_encode();
  const cuuint64_t size[] = {static_cast<cuuint64_t>(m.cols), static_cast<cuuint64_t>(m.rows),
                             static_cast<cuuint64_t>(m.heads)};
  const cuuint64_t stride_bytes[] = {static_cast<cuuint64_t>(m.row_stride) * 2,
                                     static_cast<cuuint64_t>(m.head_stride) * 2};
  const cuuint32_t box[] = {64, static_cast<cuuint32_t>(tile_rows), 1}, step[] = {1, 1, 1};
  CUtensorMap map;
  const CUresult result =
      encode(&map, dtype == DType::bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 3,
             const_cast<void*>(m.data), size, stride_bytes, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE,
             CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS)
    throw Error(Errc::failed, fmt::format("the driver refused a map of tiles: error {}", static_cast<int>(result)));
  return map;
}

}  // namespace headlight::cuda
