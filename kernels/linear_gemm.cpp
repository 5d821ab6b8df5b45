#include "kernels/linear_gemm.h"

#include <oneapi/dnnl/dnnl.h>

#include "base/error.h"

// oneDNN runs its loops through GNU OpenMP. Declared here instead of including <omp.h>, which other compilers replace
// by that of their own runtime.
extern "C" {
int omp_get_max_threads();
void omp_set_num_threads(int);
}

namespace headlight::kernels {
namespace {

/// Our pool splits the work: the library stays on this thread. The setting belongs to the calling thread only.
class OneOpenMpThread {
 public:
  OneOpenMpThread() : saved_(omp_get_max_threads()) { omp_set_num_threads(1); }
  OneOpenMpThread(const OneOpenMpThread&) = delete;
  OneOpenMpThread& operator=(const OneOpenMpThread&) = delete;
  ~OneOpenMpThread() { omp_set_num_threads(saved_); }

 private:
  int saved_;
};

void gemm(char transpose_a, char transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const float* a,
          std::int64_t lda, const float* b, std::int64_t ldb, float* c, std::int64_t ldc, bool accumulate) {
  if (m <= 0 || n <= 0) return;
  const OneOpenMpThread one_thread;
  const auto status =
      dnnl_sgemm(transpose_a, transpose_b, m, n, k, 1.0f, a, lda, b, ldb, accumulate ? 1.0f : 0.0f, c, ldc);
  if (status == dnnl_out_of_memory) throw Error(Errc::out_of_memory, "a matrix product found no memory to pack into");
  HEADLIGHT_CHECK(status == dnnl_success);
}

}  // namespace

void gemm_nt(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t lda, const float* b,
             std::int64_t ldb, float* c, std::int64_t ldc, bool accumulate) {
  gemm('N', 'T', m, n, k, a, lda, b, ldb, c, ldc, accumulate);
}

void gemm_nn(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t lda, const float* b,
             std::int64_t ldb, float* c, std::int64_t ldc, bool accumulate) {
  gemm('N', 'N', m, n, k, a, lda, b, ldb, c, ldc, accumulate);
}

void gemm_tn(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t lda, const float* b,
             std::int64_t ldb, float* c, std::int64_t ldc, bool accumulate) {
  gemm('T', 'N', m, n, k, a, lda, b, ldb, c, ldc, accumulate);
}

}  // namespace headlight::kernels
