#include "kernels_cuda/matmul.h"

#include <map>
#include <memory>
#include <tuple>

#include <cublasLt.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include "kernels_cuda/device_scope.h"

#include "base/error.h"

namespace headlight::cuda {
namespace {

constexpr std::size_t kWorkspaceBytes = 32 << 20;  // what the library's documentation advises for compute capability 9
constexpr const char* kLibrary = "libcublasLt.so.13";

// The functions of the library that are used, by their own types.
struct Library {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtDestroy) destroy;
  decltype(&cublasLtMatmul) matmul;
  decltype(&cublasLtMatmulDescInit_internal) desc_init;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set;
  decltype(&cublasLtMatrixLayoutInit_internal) layout_init;
  decltype(&cublasLtMatmulPreferenceInit_internal) preference_init;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&cublasLtGetStatusString) status_text;
};

Library load_library() {
  void* handle = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr)
    throw Error(
        Errc::unsupported, fmt::format("matrix products on CUDA need {}: {}", kLibrary, ::dlerror()),
        {.file = {}, .field = {}, .offset = {}, .hint = "install cuBLAS 13, or name its folder in LD_LIBRARY_PATH"});
  Library library;
  const auto find = [&](auto& function, const char* name) {
    void* symbol = ::dlsym(handle, name);
    if (symbol == nullptr) throw Error(Errc::unsupported, fmt::format("{} has no function {}", kLibrary, name));
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(symbol);
  };
  find(library.create, "cublasLtCreate");
  find(library.destroy, "cublasLtDestroy");
  find(library.matmul, "cublasLtMatmul");
  find(library.desc_init, "cublasLtMatmulDescInit_internal");
  find(library.desc_set, "cublasLtMatmulDescSetAttribute");
  find(library.layout_init, "cublasLtMatrixLayoutInit_internal");
  find(library.preference_init, "cublasLtMatmulPreferenceInit_internal");
  find(library.preference_set, "cublasLtMatmulPreferenceSetAttribute");
  find(library.heuristic, "cublasLtMatmulAlgoGetHeuristic");
  find(library.status_text, "cublasLtGetStatusString");
  return library;
}

/// Loaded once; stays loaded.
const Library& library() {
  static const Library loaded = load_library();
  return loaded;
}

void check_blas(cublasStatus_t status, const MatmulCall& call) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw Error(Errc::failed, fmt::format("cuBLASLt: product of [{}][{}] weights with {} rows failed: {}", call.rows,
                                          call.cols, call.n, library().status_text(status)));
}

cudaDataType_t data_type(DType dtype) {
  return dtype == DType::f32 ? CUDA_R_32F : dtype == DType::f16 ? CUDA_R_16F : CUDA_R_16BF;
}

void check_call(const MatmulCall& call) {
  const bool wide = call.y_dtype == DType::f32;
  if (call.dtype == DType::f32 || (!wide && call.y_dtype != call.dtype))
    throw Error(Errc::invalid_argument, fmt::format("product on CUDA: expected 16-bit operands and a result in f32 or "
                                                    "their type, found {} and {}",
                                                    to_string(call.dtype), to_string(call.y_dtype)));
  if (!wide && (call.bias != nullptr || call.accumulate))
    throw Error(Errc::invalid_argument, "product on CUDA: a bias or a sum needs a result in f32");
}

/// Everything that an algorithm is chosen by.
using Shape = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t, DType, DType, bool>;

/// The library counts in columns: y^T [rows x n] = (W^T)^T x^T.
struct Product {
  cublasLtMatmulDescOpaque_t desc;
  cublasLtMatrixLayoutOpaque_t w, x, y;
  cublasLtMatmulAlgo_t algorithm;
};

}  // namespace

struct Matmul {
  Stream stream;
  cublasLtHandle_t handle = nullptr;
  void* workspace = nullptr;
  std::map<Shape, Product> products;

  explicit Matmul(Stream on) : stream(on) {
    const OnDevice scope(stream.device);
    if (library().create(&handle) != CUBLAS_STATUS_SUCCESS)
      throw Error(Errc::failed, "cuBLASLt: cannot be started on this device");
    workspace = cuda_kernels()->allocate(stream, kWorkspaceBytes);
  }
  Matmul(const Matmul&) = delete;
  Matmul& operator=(const Matmul&) = delete;
  ~Matmul() {
    cudaFreeAsync(workspace, handle_of(stream));
    library().destroy(handle);
  }

  const Product& product_of(const MatmulCall& call) {
    const Shape shape{call.n,        call.rows,  call.cols,    call.x_stride,
                      call.y_stride, call.dtype, call.y_dtype, call.bias != nullptr};
    if (const auto known = products.find(shape); known != products.end()) return known->second;
    return products.emplace(shape, plan(call)).first->second;
  }

 private:
  Product plan(const MatmulCall& call) const {
    const Library& blas = library();
    const auto require = [&](cublasStatus_t status) { check_blas(status, call); };
    Product out;
    require(blas.desc_init(&out.desc, sizeof out.desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    const cublasOperation_t transposed = CUBLAS_OP_T;
    require(blas.desc_set(&out.desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed));
    if (call.bias != nullptr) {
      const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
      require(blas.desc_set(&out.desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue));
      const cudaDataType_t bias_type = CUDA_R_32F;
      require(blas.desc_set(&out.desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &bias_type, sizeof bias_type));
    }
    const auto layout = [&](cublasLtMatrixLayoutOpaque_t& matrix, DType dtype, std::int64_t rows, std::int64_t cols,
                            std::int64_t stride) {
      require(blas.layout_init(&matrix, sizeof matrix, data_type(dtype), static_cast<std::uint64_t>(rows),
                               static_cast<std::uint64_t>(cols), stride));
    };
    layout(out.w, call.dtype, call.cols, call.rows, call.cols);
    layout(out.x, call.dtype, call.cols, call.n, call.x_stride);
    layout(out.y, call.y_dtype, call.rows, call.n, call.y_stride);
    cublasLtMatmulPreferenceOpaque_t preference;
    require(blas.preference_init(&preference, sizeof preference));
    require(blas.preference_set(&preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &kWorkspaceBytes,
                                sizeof kWorkspaceBytes));
    cublasLtMatmulHeuristicResult_t best;
    int found = 0;
    require(blas.heuristic(handle, &out.desc, &out.w, &out.x, &out.y, &out.y, &preference, 1, &best, &found));
    if (found == 0) require(CUBLAS_STATUS_NOT_SUPPORTED);
    out.algorithm = best.algo;
    return out;
  }
};

Matmul* open_matmul(Stream stream) {
  return new Matmul(stream);
}

void close_matmul(Matmul* matmul) {
  delete matmul;
}

void run_matmul(Matmul* matmul, const MatmulCall& call) {
  check_call(call);
  const OnDevice scope(matmul->stream.device);
  Product product = matmul->product_of(call);
  if (call.bias != nullptr)
    check_blas(library().desc_set(&product.desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &call.bias, sizeof call.bias),
               call);
  const float one = 1.0f, kept = call.accumulate ? 1.0f : 0.0f;
  check_blas(library().matmul(matmul->handle, &product.desc, &one, call.w, &product.w, call.x, &product.x, &kept,
                              call.y, &product.y, call.y, &product.y, &product.algorithm, matmul->workspace,
                              kWorkspaceBytes, handle_of(matmul->stream)),
             call);
}

}  // namespace headlight::cuda
