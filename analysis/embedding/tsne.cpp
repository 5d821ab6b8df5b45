#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "analysis/embedding/joint_embedding.h"
#include "analysis/learning/random.h"
#include "analysis/record_shape.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

constexpr std::int64_t kMaxPoints = 4096;
constexpr int kExaggerated = 100;  // steps in which attraction is multiplied by 12

// Squared Euclidean distances, of unit vectors when `cosine`.
std::vector<double> squared_distances(std::span<const double> x_nd, std::int64_t n, std::int64_t dim, bool cosine,
                                      ThreadPool& pool) {
  std::vector<double> x(x_nd.begin(), x_nd.end());
  for (std::int64_t i = 0; cosine && i < n; ++i) {
    double square = 0.0;
    for (std::int64_t d = 0; d < dim; ++d) square += x[i * dim + d] * x[i * dim + d];
    for (std::int64_t d = 0; d < dim; ++d) x[i * dim + d] /= std::sqrt(std::max(square, 1e-300));
  }
  std::vector<double> distance(n * n, 0.0);
  pool.parallel_for(n, [&](std::int64_t i, int) {
    for (std::int64_t j = 0; j < n; ++j)
      for (std::int64_t d = 0; d < dim; ++d) distance[i * n + j] += std::pow(x[i * dim + d] - x[j * dim + d], 2);
  });
  return distance;
}

// Conditional probabilities of one point whose entropy is ln(perplexity), by bisection of the precision.
void conditional_row(std::span<const double> distance_j, std::int64_t self, double perplexity, std::span<double> p_j) {
  double low = 0.0, high = std::numeric_limits<double>::infinity(), precision = 1.0;
  double nearest = std::numeric_limits<double>::infinity();
  for (std::int64_t j = 0; j < std::ssize(distance_j); ++j)
    if (j != self) nearest = std::min(nearest, distance_j[j]);
  for (int step = 0; step < 100; ++step) {
    double sum = 0.0, weighted = 0.0;
    for (std::int64_t j = 0; j < std::ssize(distance_j); ++j) {
      p_j[j] = j == self ? 0.0 : std::exp(-precision * (distance_j[j] - nearest));
      sum += p_j[j];
      weighted += p_j[j] * (distance_j[j] - nearest);
    }
    const double entropy = std::log(sum) + precision * weighted / sum;
    for (double& p : p_j) p /= sum;
    if (std::abs(entropy - std::log(perplexity)) < 1e-6) return;
    if (entropy > std::log(perplexity))
      low = precision;
    else
      high = precision;
    precision = std::isinf(high) ? precision * 2.0 : 0.5 * (low + high);
  }
}

std::vector<double> joint_probabilities(std::span<const double> distance, std::int64_t n, double perplexity,
                                        ThreadPool& pool) {
  std::vector<double> conditional(n * n);
  pool.parallel_for(n, [&](std::int64_t i, int) {
    conditional_row(distance.subspan(i * n, n), i, perplexity, std::span(conditional).subspan(i * n, n));
  });
  std::vector<double> p(n * n);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < n; ++j)
      p[i * n + j] =
          std::max((conditional[i * n + j] + conditional[j * n + i]) / (2.0 * static_cast<double>(n)), 1e-12);
  return p;
}

// Gradient of the Kullback-Leibler divergence; partial sums per point, so threads do not matter.
void gradient_of(const std::vector<double>& p, const std::vector<double>& y, std::int64_t n, double exaggeration,
                 ThreadPool& pool, std::vector<double>& gradient) {
  std::vector<double> sum_i(n, 0.0);
  const auto kernel = [&](std::int64_t i, std::int64_t j) {
    const double dx = y[2 * i] - y[2 * j], dy = y[2 * i + 1] - y[2 * j + 1];
    return 1.0 / (1.0 + dx * dx + dy * dy);
  };
  pool.parallel_for(n, [&](std::int64_t i, int) {
    for (std::int64_t j = 0; j < n; ++j)
      if (j != i) sum_i[i] += kernel(i, j);
  });
  double total = 0.0;
  for (const double sum : sum_i) total += sum;
  pool.parallel_for(n, [&](std::int64_t i, int) {
    double gx = 0.0, gy = 0.0;
    for (std::int64_t j = 0; j < n; ++j) {
      if (j == i) continue;
      const double k = kernel(i, j), force = 4.0 * (exaggeration * p[i * n + j] - k / total) * k;
      gx += force * (y[2 * i] - y[2 * j]);
      gy += force * (y[2 * i + 1] - y[2 * j + 1]);
    }
    gradient[2 * i] = gx;
    gradient[2 * i + 1] = gy;
  });
}

}  // namespace

Projection tsne(std::span<const double> x_nd, std::int64_t dim, const TsneOptions& options, ThreadPool& pool,
                std::stop_token stop) {
  const std::int64_t n = std::ssize(x_nd) / dim;
  if (n > kMaxPoints)
    throw Error(Errc::invalid_argument, fmt::format("exact t-SNE takes at most {} points, found {}", kMaxPoints, n));
  if (static_cast<double>(n) < 3.0 * options.perplexity)
    throw Error(
        Errc::invalid_argument,
        fmt::format("t-SNE needs 3 points per unit of perplexity: {} points, perplexity {}", n, options.perplexity));
  const auto p =
      joint_probabilities(squared_distances(x_nd, n, dim, options.cosine, pool), n, options.perplexity, pool);
  Projection out = principal_components(x_nd, dim);
  out.explained.clear();
  double largest = 0.0;
  for (const double value : out.xy_n2) largest = std::max(largest, std::abs(value));
  Random random(options.seed);  // equal points would stay together for ever
  for (double& value : out.xy_n2) value = 1e-4 * (value / std::max(largest, 1e-300) + 0.01 * random.normal());
  std::vector<double> step(2 * n, 0.0), gain(2 * n, 1.0), gradient(2 * n, 0.0);
  const double rate =
      options.learning_rate > 0.0 ? options.learning_rate : std::max(static_cast<double>(n) / 48.0, 50.0);
  for (int iteration = 0; iteration < options.iterations; ++iteration) {
    check_stop(stop);
    gradient_of(p, out.xy_n2, n, iteration < kExaggerated ? 12.0 : 1.0, pool, gradient);
    const double momentum = iteration < kExaggerated ? 0.5 : 0.8;
    for (std::int64_t at = 0; at < 2 * n; ++at) {
      gain[at] = std::max((gradient[at] > 0.0) != (step[at] > 0.0) ? gain[at] + 0.2 : gain[at] * 0.8, 0.01);
      step[at] = momentum * step[at] - rate * gain[at] * gradient[at];
      out.xy_n2[at] += step[at];
    }
  }
  return out;
}

}  // namespace headlight::analysis
