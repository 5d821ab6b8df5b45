#include "analysis/embedding/joint_embedding.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <Eigen/Eigenvalues>

#include "analysis/attention_rows.h"
#include "analysis/learning/ranking.h"
#include "analysis/record_shape.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using MatrixMap = Eigen::Map<const Matrix>;

constexpr int kScaleSteps = 33;

MatrixMap matrix_of(std::span<const double> x_nd, std::int64_t dim) {
  return {x_nd.data(), std::ssize(x_nd) / dim, dim};
}

std::vector<double> values_of(const Matrix& matrix) {
  return {matrix.data(), matrix.data() + matrix.size()};
}

// Cosine similarity of every row of q with every row of k.
Matrix cosines(const Matrix& q, const Matrix& k) {
  const auto unit = [](const Matrix& m) {
    return Matrix(m.array().colwise() / m.rowwise().norm().array().max(1e-300));
  };
  return unit(q) * unit(k).transpose();
}

double weighted_correlation(const Matrix& a, const Matrix& b, const Matrix& weight) {
  const double sum = weight.sum();
  const double mean_a = (weight.array() * a.array()).sum() / sum, mean_b = (weight.array() * b.array()).sum() / sum;
  const auto centred_a = a.array() - mean_a, centred_b = b.array() - mean_b;
  const double ab = (weight.array() * centred_a * centred_b).sum();
  const double aa = (weight.array() * centred_a.square()).sum(), bb = (weight.array() * centred_b.square()).sum();
  return aa > 0.0 && bb > 0.0 ? ab / std::sqrt(aa * bb) : 0.0;
}

}  // namespace

JointVectors normalise_jointly(std::span<const double> q_nd, std::span<const double> k_nd, std::int64_t dim,
                               std::span<const double> weight_ij) {
  Matrix q = matrix_of(q_nd, dim), k = matrix_of(k_nd, dim);
  HEADLIGHT_CHECK(q.rows() > 0 && k.rows() > 0);
  Matrix weight = Matrix::Ones(q.rows(), k.rows());
  if (!weight_ij.empty()) weight = MatrixMap(weight_ij.data(), q.rows(), k.rows());
  const Eigen::RowVectorXd shift = q.colwise().mean() - k.colwise().mean();
  k.rowwise() += shift;
  const Matrix dot = q * k.transpose();
  // Scores do not depend on c, and neither does the cosine of c q and k / c: c moves distances, so cosine distance is
  // taken around the common centre of the scaled points.
  double best = -std::numeric_limits<double>::infinity(), chosen = 1.0;
  for (int step = 0; step < kScaleSteps; ++step) {
    const double c = std::exp2(-4.0 + 8.0 * step / (kScaleSteps - 1));
    const Eigen::RowVectorXd centre =
        (q.colwise().sum() * c + k.colwise().sum() / c) / static_cast<double>(q.rows() + k.rows());
    const double value =
        weighted_correlation(dot, cosines((q * c).rowwise() - centre, (k / c).rowwise() - centre), weight);
    if (value > best + 1e-12) {
      best = value;
      chosen = c;
    }
  }
  JointVectors out;
  out.dim = dim;
  out.scale = chosen;
  out.shift_d.assign(shift.data(), shift.data() + shift.size());
  out.q_nd = values_of(q * chosen);
  out.k_nd = values_of(k / chosen);
  return out;
}

double distance_quality(const JointVectors& vectors, std::span<const double> weight_ij) {
  Matrix q = matrix_of(vectors.q_nd, vectors.dim), k = matrix_of(vectors.k_nd, vectors.dim);
  const Matrix dot = q * k.transpose();
  const Eigen::RowVectorXd centre = (q.colwise().sum() + k.colwise().sum()) / static_cast<double>(q.rows() + k.rows());
  const Matrix similarity = cosines(q.rowwise() - centre, k.rowwise() - centre);
  std::vector<double> distance, score;
  for (std::int64_t at = 0; at < dot.size(); ++at) {
    if (!weight_ij.empty() && !(weight_ij[at] > 0.0)) continue;
    distance.push_back(1.0 - similarity.data()[at]);
    score.push_back(dot.data()[at]);
  }
  return spearman(distance, score);
}

Projection principal_components(std::span<const double> x_nd, std::int64_t dim) {
  Matrix x = matrix_of(x_nd, dim);
  x.rowwise() -= x.colwise().mean().eval();
  const Eigen::MatrixXd covariance = x.transpose() * x / static_cast<double>(std::max<std::int64_t>(x.rows() - 1, 1));
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(covariance);
  Matrix axes = Matrix::Zero(dim, 2);
  Projection out;
  const double all = covariance.trace();
  for (std::int64_t n = 0; n < std::min<std::int64_t>(2, dim); ++n) {
    Eigen::VectorXd axis = solver.eigenvectors().col(dim - 1 - n);
    Eigen::Index largest_at = 0;
    axis.cwiseAbs().maxCoeff(&largest_at);
    if (axis[largest_at] < 0.0) axis = -axis;
    axes.col(n) = axis;
    out.explained.push_back(all > 0.0 ? std::max(solver.eigenvalues()[dim - 1 - n], 0.0) / all : 0.0);
  }
  out.xy_n2 = values_of(x * axes);
  return out;
}

HeadEmbedding embed_head(const capture::CaptureView& view, std::int64_t record, int layer, int kv_head,
                         std::int64_t points, ThreadPool& pool, std::stop_token stop) {
  const RecordShape shape = record_shape(view, record);
  HeadEmbedding out;
  for (const int h : recorded_heads(view, record, layer))
    if (shape.kv_head(h) == kv_head) out.query_heads.push_back(h);
  if (out.query_heads.empty()) throw Error(Errc::invalid_argument, "no head of the group is recorded for replay");
  out.positions = sample_rows(shape.first_key, shape.num_rows, points, 0);
  const std::int64_t n = std::ssize(out.positions), dim = shape.head_dim;
  std::vector<float> row_d(dim);
  std::vector<double> q_nd, k_nd, weight_ij;
  const double scale = view.record(record).header.layers[layer].scale;
  for (const std::int64_t j : out.positions) {
    view.read_k(record, layer, kv_head, j, j + 1, row_d.data());
    k_nd.insert(k_nd.end(), row_d.begin(), row_d.end());
  }
  for (const int h : out.query_heads) {
    for (const std::int64_t i : out.positions) {
      view.read_q(record, layer, h, i, i + 1, row_d.data());
      for (const float q : row_d) q_nd.push_back(scale * q);  // so that q . k is the score
    }
    const auto attn_nj = attention_rows(view, {record, layer, h}, out.positions, pool, stop);
    for (std::int64_t i = 0; i < n; ++i)
      for (const std::int64_t j : out.positions) weight_ij.push_back(attn_nj[i * shape.num_rows + j]);
  }
  const MatrixMap q = matrix_of(q_nd, dim), k = matrix_of(k_nd, dim);
  out.norm_gap = q.rowwise().norm().mean() / scale - k.rowwise().norm().mean();
  out.vectors = normalise_jointly(q_nd, k_nd, dim, weight_ij);
  out.quality = distance_quality(out.vectors, weight_ij);
  return out;
}

}  // namespace headlight::analysis
