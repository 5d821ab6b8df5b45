#include "analysis/detection/structure.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "analysis/learning/random.h"
#include "analysis/learning/ranking.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

constexpr int kShuffles = 100;

// Shares of node attention at 0, 1, 2 and more hops, for the pairs that a causal text can see.
std::vector<double> shares_by_hop(std::span<const double> node_ab, std::int64_t nodes, const std::vector<int>& hop_ab) {
  std::vector<double> share(4, 0.0);
  double all = 0.0;
  for (std::int64_t a = 0; a < nodes; ++a)
    for (std::int64_t b = 0; b <= a; ++b) {
      const int hop = hop_ab[a * nodes + b];
      share[hop < 0 || hop > 2 ? 3 : hop] += node_ab[a * nodes + b];
      all += node_ab[a * nodes + b];
    }
  if (all > 0.0)
    for (double& value : share) value /= all;
  return share;
}

std::vector<double> layer_normalised(std::span<const double> x_d) {
  std::vector<double> out(x_d.begin(), x_d.end());
  const auto n = static_cast<double>(out.size());
  const double mean = std::accumulate(out.begin(), out.end(), 0.0) / n;
  double square = 0.0;
  for (double& x : out) {
    x -= mean;
    square += x * x;
  }
  const double deviation = std::sqrt(square / n + 1e-12);
  for (double& x : out) x /= deviation;
  return out;
}

}  // namespace

BracketStructure bracket_structure(std::span<const int> kind_j) {
  BracketStructure out;
  out.partner_j.assign(kind_j.size(), -1);
  std::vector<std::int64_t> open;
  int depth = 0;
  for (std::int64_t j = 0; j < std::ssize(kind_j); ++j) {
    if (kind_j[j] > 0) {
      ++depth;
      open.push_back(j);
    }
    out.depth_j.push_back(depth);
    if (kind_j[j] >= 0) continue;
    --depth;
    if (open.empty()) continue;
    out.partner_j[j] = open.back();
    out.partner_j[open.back()] = j;
    open.pop_back();
  }
  return out;
}

HierarchicalAttention hierarchical_attention(std::span<const float> attn_ij, const BracketStructure& structure) {
  const auto n = std::ssize(structure.depth_j);
  HEADLIGHT_CHECK(std::ssize(attn_ij) == n * n);
  HierarchicalAttention out;
  double closing = 0.0;
  for (std::int64_t i = 0; i < n; ++i) {
    double same = 0.0, same_count = 0.0, violating = 0.0;
    for (std::int64_t j = 0; j <= i; ++j) {
      const double attn = attn_ij[i * n + j];
      if (structure.depth_j[j] == structure.depth_j[i]) {
        same += attn;
        ++same_count;
      }
      // A closing bracket at depth 0 brings the running depth below 0.
      if (structure.depth_j[j] < 0 || (structure.depth_j[j] == 0 && structure.partner_j[j] < 0)) violating += attn;
    }
    out.depth_matching += same * static_cast<double>(i + 1) / same_count / static_cast<double>(n);
    out.violation_mass += violating / static_cast<double>(n);
    const std::int64_t partner = structure.partner_j[i];
    if (partner < 0 || partner > i) continue;
    out.partner_mass += attn_ij[i * n + partner];
    ++closing;
  }
  out.partner_mass = closing > 0 ? out.partner_mass / closing : std::numeric_limits<double>::quiet_NaN();
  return out;
}

std::vector<double> node_attention(std::span<const float> attn_ij, std::int64_t num_rows,
                                   std::span<const TokenSpan> nodes) {
  HEADLIGHT_CHECK(std::ssize(attn_ij) == num_rows * num_rows);
  std::vector<double> node_ab;
  for (const TokenSpan& a : nodes)
    for (const TokenSpan& b : nodes) {
      double sum = 0.0;
      for (std::int64_t i = a.begin; i < a.end; ++i)
        for (std::int64_t j = b.begin; j < b.end; ++j) sum += attn_ij[i * num_rows + j];
      node_ab.push_back(sum / static_cast<double>(a.size()));
    }
  return node_ab;
}

std::vector<int> hop_distances(std::int64_t nodes, std::span<const Edge> edges) {
  std::vector<int> hop_ab(nodes * nodes, -1);
  for (std::int64_t start = 0; start < nodes; ++start) {
    int* hop_b = hop_ab.data() + start * nodes;
    hop_b[start] = 0;
    std::vector<std::int64_t> queue = {start};
    for (std::size_t n = 0; n < queue.size(); ++n)
      for (const auto& [a, b] : edges)
        for (const auto& [from, to] : {Edge{a, b}, Edge{b, a}})
          if (from == queue[n] && hop_b[to] < 0) {
            hop_b[to] = hop_b[from] + 1;
            queue.push_back(to);
          }
  }
  return hop_ab;
}

GraphAttention graph_attention(std::span<const double> node_ab, std::int64_t nodes, std::span<const Edge> edges,
                               std::uint64_t seed) {
  HEADLIGHT_CHECK(std::ssize(node_ab) == nodes * nodes);
  for (const auto& [a, b] : edges)
    if (a < 0 || b < 0 || a >= nodes || b >= nodes)
      throw Error(Errc::invalid_argument, "an edge names a node that is not there");
  const auto hop_ab = hop_distances(nodes, edges);
  GraphAttention out;
  out.share_by_hop = shares_by_hop(node_ab, nodes, hop_ab);
  std::vector<double> attention, closeness, received(nodes, 0.0), degree(nodes, 0.0);
  for (std::int64_t a = 0; a < nodes; ++a)
    for (std::int64_t b = 0; b < a; ++b) {
      const int hop = hop_ab[a * nodes + b];
      attention.push_back(node_ab[a * nodes + b]);
      closeness.push_back(hop < 0 ? 0.0 : 1.0 / (1.0 + hop));
      received[b] += node_ab[a * nodes + b];
    }
  for (const auto& [a, b] : edges) {
    ++degree[a];
    ++degree[b];
  }
  out.hop_correlation = spearman(attention, closeness);
  out.degree_correlation = spearman(received, degree);
  Random random(seed);
  for (int round = 0; round < kShuffles; ++round) {
    std::vector<std::int64_t> name(nodes);
    std::iota(name.begin(), name.end(), 0);
    random.shuffle(name);
    std::vector<Edge> renamed;
    for (const auto& [a, b] : edges) renamed.emplace_back(name[a], name[b]);
    out.shuffled_one_hop += shares_by_hop(node_ab, nodes, hop_distances(nodes, renamed))[1] / kShuffles;
  }
  return out;
}

std::vector<double> hop_profile(std::span<const float> attn_ij, std::int64_t num_rows, std::int64_t first,
                                std::int64_t rows, std::int64_t cols) {
  const std::int64_t patches = rows * cols;
  if (rows < 1 || cols < 1 || first < 0 || first + patches > num_rows)
    throw Error(Errc::invalid_argument, "the grid of patches does not fit the record");
  const std::int64_t hops = std::max(rows, cols);
  std::vector<double> profile(hops, 0.0), counted(hops, 0.0);
  for (std::int64_t i = 0; i < patches; ++i) {
    std::vector<double> sum(hops, 0.0), count(hops, 0.0);
    for (std::int64_t j = 0; j < patches; ++j) {
      const std::int64_t hop = std::max(std::abs(i / cols - j / cols), std::abs(i % cols - j % cols));
      sum[hop] += attn_ij[(first + i) * num_rows + first + j];
      ++count[hop];
    }
    for (std::int64_t k = 0; k < hops; ++k)
      if (count[k] > 0) {
        profile[k] += sum[k] / count[k];
        ++counted[k];
      }
  }
  for (std::int64_t k = 0; k < hops; ++k) profile[k] /= std::max(counted[k], 1.0);
  return profile;
}

SimilarityMap similarity_map(std::span<const double> text_d, std::span<const double> patch_pd, double temperature) {
  const auto width = std::ssize(text_d);
  HEADLIGHT_CHECK(width > 0 && std::ssize(patch_pd) % width == 0);
  const auto text = layer_normalised(text_d);
  const double text_norm = std::sqrt(std::inner_product(text.begin(), text.end(), text.begin(), 0.0));
  SimilarityMap map;
  for (std::int64_t at = 0; at < std::ssize(patch_pd); at += width) {
    const auto patch = layer_normalised(patch_pd.subspan(at, width));
    const double norm = std::sqrt(std::inner_product(patch.begin(), patch.end(), patch.begin(), 0.0));
    const double product = std::inner_product(patch.begin(), patch.end(), text.begin(), 0.0);
    const double cosine = norm > 0.0 && text_norm > 0.0 ? product / (norm * text_norm) : 0.0;
    map.logit_p.push_back(cosine / temperature);
    map.probability_p.push_back(1.0 / (1.0 + std::exp(-map.logit_p.back())));
  }
  return map;
}

std::vector<double> enlarge(std::span<const double> map_yx, std::int64_t rows, std::int64_t cols, std::int64_t out_rows,
                            std::int64_t out_cols) {
  HEADLIGHT_CHECK(std::ssize(map_yx) == rows * cols);
  struct Place {
    std::int64_t low, high;
    double share;
  };
  const auto place = [](std::int64_t at, std::int64_t from, std::int64_t to) {
    const double x = (static_cast<double>(at) + 0.5) * static_cast<double>(from) / static_cast<double>(to) - 0.5;
    const double held = std::clamp(x, 0.0, static_cast<double>(from - 1));
    const auto low = static_cast<std::int64_t>(held);
    return Place{low, std::min(low + 1, from - 1), held - static_cast<double>(low)};
  };
  std::vector<double> out;
  for (std::int64_t y = 0; y < out_rows; ++y)
    for (std::int64_t x = 0; x < out_cols; ++x) {
      const Place v = place(y, rows, out_rows), h = place(x, cols, out_cols);
      const auto line = [&](std::int64_t row) {
        return map_yx[row * cols + h.low] * (1.0 - h.share) + map_yx[row * cols + h.high] * h.share;
      };
      out.push_back(line(v.low) * (1.0 - v.share) + line(v.high) * v.share);
    }
  return out;
}

double dice(std::span<const double> map, std::span<const int> mask, double threshold) {
  HEADLIGHT_CHECK(map.size() == mask.size());
  double both = 0.0, sizes = 0.0;
  for (std::size_t n = 0; n < map.size(); ++n) {
    const bool chosen = map[n] >= threshold, wanted = mask[n] != 0;
    both += chosen && wanted;
    sizes += chosen + wanted;
  }
  return sizes > 0.0 ? 2.0 * both / sizes : 1.0;
}

RegressionPatterns regression_patterns(std::span<const double> kq_dd, std::span<const double> ov_dd, std::int64_t d) {
  HEADLIGHT_CHECK(d > 0 && std::ssize(kq_dd) == d * d && std::ssize(ov_dd) == d * d);
  const auto norm = [](std::span<const double> m) {
    return std::sqrt(std::inner_product(m.begin(), m.end(), m.begin(), 0.0));
  };
  double square = 0.0, mean = 0.0, spread = 0.0;
  for (std::int64_t e = 0; e < d; ++e) {
    square += kq_dd[e * d + e] * kq_dd[e * d + e];
    mean += std::abs(kq_dd[e * d + e]) / static_cast<double>(d);
  }
  for (std::int64_t e = 0; e < d; ++e)
    spread += std::pow(std::abs(kq_dd[e * d + e]) - mean, 2) / static_cast<double>(d);
  RegressionPatterns out;
  out.diagonality = norm(kq_dd) > 0.0 ? std::sqrt(square) / norm(kq_dd) : 0.0;
  out.homogeneity = mean > 0.0 ? std::sqrt(spread) / mean : 0.0;
  out.last_entry = norm(ov_dd) > 0.0 ? std::abs(ov_dd[d * d - 1]) / norm(ov_dd) : 0.0;
  return out;
}

}  // namespace headlight::analysis
