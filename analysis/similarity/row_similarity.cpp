#include "analysis/similarity/row_similarity.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <Eigen/Core>

#include "analysis/learning/ranking.h"
#include "analysis/undefined.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

double cosine(std::span<const double> a, std::span<const double> b) {
  const double ab = std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
  const double aa = std::inner_product(a.begin(), a.end(), a.begin(), 0.0);
  const double bb = std::inner_product(b.begin(), b.end(), b.begin(), 0.0);
  return aa > 0.0 && bb > 0.0 ? ab / std::sqrt(aa * bb) : kUndefined;
}

// a ln(a / m), 0 for a = 0.
double relative(double a, double m) {
  return a > 0.0 ? a * std::log(a / m) : 0.0;
}

double jensen_shannon(std::span<const double> a, std::span<const double> b) {
  double sum = 0.0, mass_a = 0.0, mass_b = 0.0;
  for (std::size_t j = 0; j < a.size(); ++j) {
    const double m = 0.5 * (a[j] + b[j]);
    sum += relative(a[j], m) + relative(b[j], m);
    mass_a += a[j];
    mass_b += b[j];
  }
  return mass_a > 0.0 && mass_b > 0.0 ? std::max(0.0, 0.5 * sum / std::log(2.0)) : kUndefined;
}

double total_variation(std::span<const double> a, std::span<const double> b) {
  double sum = 0.0, mass_a = 0.0, mass_b = 0.0;
  for (std::size_t j = 0; j < a.size(); ++j) {
    sum += std::abs(a[j] - b[j]);
    mass_a += a[j];
    mass_b += b[j];
  }
  return mass_a > 0.0 && mass_b > 0.0 ? 0.5 * sum : kUndefined;
}

// Indices of the k largest positive entries, ascending.
std::vector<std::int64_t> top_keys(std::span<const double> row_j, std::int64_t k) {
  auto keys = largest(row_j, k);
  std::erase_if(keys, [&](std::int64_t j) { return row_j[j] <= 0.0; });
  std::sort(keys.begin(), keys.end());
  return keys;
}

double top_overlap(std::span<const double> a, std::span<const double> b, std::int64_t k) {
  const auto keys_a = top_keys(a, k), keys_b = top_keys(b, k);
  std::vector<std::int64_t> common;
  std::set_intersection(keys_a.begin(), keys_a.end(), keys_b.begin(), keys_b.end(), std::back_inserter(common));
  const auto most = std::max(keys_a.size(), keys_b.size());  // fewer than k where fewer keys are visible
  return most > 0 ? static_cast<double>(common.size()) / static_cast<double>(most) : kUndefined;
}

double recovered_mass(std::span<const double> a, std::span<const double> b, std::int64_t k) {
  const double all = std::accumulate(a.begin(), a.end(), 0.0);
  double kept = 0.0;
  for (const std::int64_t j : top_keys(b, k)) kept += a[j];
  return all > 0.0 ? kept / all : kUndefined;
}

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Matrix centred(std::span<const double> x, std::int64_t dim) {
  Matrix out = Eigen::Map<const Matrix>(x.data(), std::ssize(x) / dim, dim);
  out.rowwise() -= out.colwise().mean().eval();
  return out;
}

}  // namespace

double compare_rows(RowMeasure measure, std::span<const double> a, std::span<const double> b, std::int64_t k) {
  HEADLIGHT_CHECK(a.size() == b.size());
  switch (measure) {
    case RowMeasure::cosine:
      return cosine(a, b);
    case RowMeasure::jensen_shannon:
      return jensen_shannon(a, b);
    case RowMeasure::total_variation:
      return total_variation(a, b);
    case RowMeasure::top_overlap:
      return top_overlap(a, b, k);
    case RowMeasure::recovered_mass:
      return recovered_mass(a, b, k);
  }
  return kUndefined;
}

void drop_keys(std::span<double> row_j, std::int64_t first, std::int64_t count) {
  const std::int64_t end = std::min<std::int64_t>(first + count, std::ssize(row_j));
  for (std::int64_t j = first; j < end; ++j) row_j[j] = 0.0;
  const double sum = std::accumulate(row_j.begin(), row_j.end(), 0.0);
  if (count > 0 && sum > 0.0)
    for (double& value : row_j) value /= sum;
}

double linear_cka(std::span<const double> x, std::int64_t x_dim, std::span<const double> y, std::int64_t y_dim) {
  HEADLIGHT_CHECK(x_dim > 0 && y_dim > 0 && std::ssize(x) / x_dim == std::ssize(y) / y_dim);
  const Matrix xc = centred(x, x_dim), yc = centred(y, y_dim);
  const double xy = (xc.transpose() * yc).squaredNorm();
  const double xx = (xc.transpose() * xc).norm(), yy = (yc.transpose() * yc).norm();
  return xx > 0.0 && yy > 0.0 ? std::min(1.0, xy / (xx * yy)) : kUndefined;
}

std::vector<double> linear_cka_matrix(std::span<const std::vector<double>> x_s, std::int64_t dim, ThreadPool& pool) {
  const auto sets = std::ssize(x_s);
  std::vector<Matrix> centred_s(sets);
  std::vector<double> norm_s(sets, 0.0), cka(sets * sets, kUndefined);
  pool.parallel_for(sets, [&](std::int64_t s, int) {
    if (x_s[s].empty()) return;
    centred_s[s] = centred(x_s[s], dim);
    norm_s[s] = (centred_s[s].transpose() * centred_s[s]).norm();
  });
  pool.parallel_for(sets, [&](std::int64_t a, int) {
    for (std::int64_t b = a; b < sets; ++b)
      if (norm_s[a] > 0.0 && norm_s[b] > 0.0)
        cka[a * sets + b] = cka[b * sets + a] =
            std::min(1.0, (centred_s[a].transpose() * centred_s[b]).squaredNorm() / (norm_s[a] * norm_s[b]));
  });
  return cka;
}

LayerBlock longest_similar_block(std::span<const double> similarity_lm, std::int64_t n, double threshold) {
  LayerBlock best;
  for (std::int64_t begin = 1; begin + 1 < n; ++begin) {
    std::int64_t end = begin + 1;
    while (end + 1 < n && similarity_lm[(end - 1) * n + end] >= threshold) ++end;
    if (end - begin >= 2 && end - begin > best.end - best.begin) best = {begin, end};
  }
  return best;
}

std::vector<Merge> average_linkage(std::span<const double> distance_ab, std::int64_t n) {
  HEADLIGHT_CHECK(std::ssize(distance_ab) == n * n);
  constexpr double kInf = std::numeric_limits<double>::infinity();
  std::vector<double> distance(distance_ab.begin(), distance_ab.end()), size(n, 1.0);
  for (double& value : distance)
    if (std::isnan(value)) value = kInf;
  std::vector<std::int64_t> cluster(n);  // number of the cluster in each slot; -1 = merged away
  std::iota(cluster.begin(), cluster.end(), 0);
  std::vector<Merge> merges;
  while (std::ssize(merges) + 1 < n) {
    std::int64_t a = -1, b = -1;
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = i + 1; j < n; ++j)
        if (cluster[i] >= 0 && cluster[j] >= 0 && (a < 0 || distance[i * n + j] < distance[a * n + b])) {
          a = i;
          b = j;
        }
    merges.push_back({std::min(cluster[a], cluster[b]), std::max(cluster[a], cluster[b]), distance[a * n + b]});
    for (std::int64_t j = 0; j < n; ++j) {
      const double mean = (size[a] * distance[a * n + j] + size[b] * distance[b * n + j]) / (size[a] + size[b]);
      distance[a * n + j] = distance[j * n + a] = mean;
    }
    size[a] += size[b];
    cluster[a] = n + std::ssize(merges) - 1;
    cluster[b] = -1;
  }
  return merges;
}

}  // namespace headlight::analysis
