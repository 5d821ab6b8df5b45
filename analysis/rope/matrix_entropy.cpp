#include "analysis/rope/matrix_entropy.h"

#include <algorithm>
#include <cmath>

#include <Eigen/Eigenvalues>

#include "analysis/analysis.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

double minus_x_ln_x(double x) {
  return x > 0.0 ? -x * std::log(x) : 0.0;
}

}  // namespace

std::vector<double> plane_entropies(std::span<const float> x_jd, int head_dim) {
  const auto half = static_cast<std::size_t>(head_dim / 2), width = static_cast<std::size_t>(head_dim);
  std::vector<double> entropy;
  for (std::size_t f = 0; f < half; ++f) {
    double a = 0.0, b = 0.0, c = 0.0;  // [[a, c], [c, b]]
    for (std::size_t begin = 0; begin < x_jd.size(); begin += width) {
      const double x = x_jd[begin + f], y = x_jd[begin + f + half];
      a += x * x;
      b += y * y;
      c += x * y;
    }
    const double root = std::sqrt((a - b) * (a - b) + 4.0 * c * c) / (a + b);
    entropy.push_back(a + b > 0.0 ? minus_x_ln_x(0.5 * (1.0 + root)) + minus_x_ln_x(std::max(0.0, 0.5 * (1.0 - root)))
                                  : kUndefined);
  }
  return entropy;
}

std::vector<double> gram_eigenvalues(std::span<const float> x_jd, int head_dim) {
  using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  constexpr Eigen::Index kBlock = 256;  // products in double on blocks, so that no second copy of all rows is made
  const auto rows = static_cast<Eigen::Index>(x_jd.size()) / head_dim;
  const Eigen::Map<const Rows> x(x_jd.data(), rows, head_dim);
  Eigen::MatrixXd gram = Eigen::MatrixXd::Zero(head_dim, head_dim);
  for (Eigen::Index begin = 0; begin < rows; begin += kBlock) {
    const Eigen::MatrixXd block = x.middleRows(begin, std::min(kBlock, rows - begin)).cast<double>();
    gram.selfadjointView<Eigen::Lower>().rankUpdate(block.transpose());
  }
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(gram, Eigen::EigenvaluesOnly);
  if (solver.info() != Eigen::Success) throw Error(Errc::failed, "the eigenvalues of a Gram matrix did not converge");
  std::vector<double> eigenvalues(solver.eigenvalues().data(), solver.eigenvalues().data() + head_dim);
  for (double& value : eigenvalues) value = std::max(0.0, value);
  std::reverse(eigenvalues.begin(), eigenvalues.end());
  return eigenvalues;
}

double effective_rank(std::span<const double> eigenvalues, int r, RankNorm norm) {
  const std::size_t count = r <= 0 ? eigenvalues.size() : std::min(eigenvalues.size(), static_cast<std::size_t>(r));
  double top = 0.0, all = 0.0, entropy = 0.0;
  for (std::size_t i = 0; i < eigenvalues.size(); ++i) {
    all += eigenvalues[i];
    if (i < count) top += eigenvalues[i];
  }
  const double total = norm == RankNorm::top_r ? top : all;
  if (!(total > 0.0)) return kUndefined;
  for (std::size_t i = 0; i < count; ++i) entropy += minus_x_ln_x(eigenvalues[i] / total);
  return std::exp(entropy);
}

}  // namespace headlight::analysis
