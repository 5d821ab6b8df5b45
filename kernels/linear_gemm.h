#pragma once

#include <cstdint>

namespace headlight::kernels {

/// C = A B^T (+ C when `accumulate`), all row-major f32: A [m][lda], B [n][ldb], C [m][ldc], k the common length.
/// Runs on the calling thread alone; the same shapes give the same bits.
void gemm_nt(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t lda, const float* b,
             std::int64_t ldb, float* c, std::int64_t ldc, bool accumulate);

/// C = A B (+ C when `accumulate`): A [m][lda], B [k][ldb], C [m][ldc].
void gemm_nn(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t lda, const float* b,
             std::int64_t ldb, float* c, std::int64_t ldc, bool accumulate);

/// C = A^T B (+ C when `accumulate`): A [k][lda], B [k][ldb], C [m][ldc].
void gemm_tn(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t lda, const float* b,
             std::int64_t ldb, float* c, std::int64_t ldc, bool accumulate);

}  // namespace headlight::kernels
