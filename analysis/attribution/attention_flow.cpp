#include "analysis/attribution/attention_flow.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "base/error.h"

namespace headlight::analysis {
namespace {

constexpr std::int64_t kMaxRows = 256;

// Dinic's algorithm on a graph that is built once and copied per source token.
struct FlowGraph {
  struct Edge {
    std::int32_t to;
    std::int64_t capacity;  // edge e and its reverse e ^ 1 stand together
  };
  std::vector<Edge> edges;
  std::vector<std::vector<std::int32_t>> edges_of;
  std::vector<std::int32_t> level, next;

  explicit FlowGraph(std::int64_t nodes) : edges_of(nodes), level(nodes), next(nodes) {}

  void connect(std::int64_t from, std::int64_t to, std::int64_t capacity) {
    edges_of[from].push_back(static_cast<std::int32_t>(edges.size()));
    edges.push_back({static_cast<std::int32_t>(to), capacity});
    edges_of[to].push_back(static_cast<std::int32_t>(edges.size()));
    edges.push_back({static_cast<std::int32_t>(from), 0});
  }

  bool find_levels(std::int64_t source, std::int64_t sink) {
    std::fill(level.begin(), level.end(), -1);
    std::vector<std::int32_t> queue = {static_cast<std::int32_t>(source)};
    level[source] = 0;
    for (std::size_t n = 0; n < queue.size() && level[sink] < 0; ++n)
      for (const std::int32_t e : edges_of[queue[n]])
        if (edges[e].capacity > 0 && level[edges[e].to] < 0) {
          level[edges[e].to] = level[queue[n]] + 1;
          queue.push_back(edges[e].to);
        }
    return level[sink] >= 0;
  }

  // Pushes at most `wanted` from `node` along rising levels; depth is the number of layers.
  std::int64_t push(std::int64_t node, std::int64_t sink, std::int64_t wanted) {
    if (node == sink) return wanted;
    std::int64_t pushed = 0;
    for (auto& at = next[node]; at < std::ssize(edges_of[node]); ++at) {
      const std::int32_t e = edges_of[node][at];
      if (edges[e].capacity <= 0 || level[edges[e].to] != level[node] + 1) continue;
      const std::int64_t flow = push(edges[e].to, sink, std::min(wanted - pushed, edges[e].capacity));
      edges[e].capacity -= flow;
      edges[e ^ 1].capacity += flow;
      pushed += flow;
      if (pushed == wanted) break;
    }
    return pushed;
  }

  std::int64_t maximum_flow(std::int64_t source, std::int64_t sink, std::int64_t limit) {
    std::int64_t flow = 0;
    while (find_levels(source, sink)) {
      std::fill(next.begin(), next.end(), 0);
      flow += push(source, sink, limit - flow);
    }
    return flow;
  }
};

}  // namespace

std::vector<double> attention_flow(std::span<const std::vector<double>> maps, std::int64_t num_rows,
                                   const FlowOptions& options, ThreadPool& pool, std::stop_token stop) {
  if (num_rows > kMaxRows)
    throw Error(Errc::invalid_argument,
                fmt::format("attention flow takes at most {} rows, the record has {}", kMaxRows, num_rows));
  const std::int64_t layers = std::ssize(maps), n = num_rows;
  const std::int64_t target = options.target < 0 ? n - 1 : options.target;
  if (target >= n)
    throw Error(Errc::invalid_argument, fmt::format("row {} is outside the record's {} rows", target, n));
  FlowGraph graph((layers + 1) * n);
  for (std::int64_t l = 0; l < layers; ++l) {
    HEADLIGHT_CHECK(std::ssize(maps[l]) == n * n);
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < n; ++j)
        if (const double capacity = maps[l][i * n + j]; capacity >= options.smallest)
          graph.connect((l + 1) * n + i, l * n + j, std::llround(capacity * options.units));
  }
  std::vector<double> attr_j(n, 0.0);
  const auto limit = std::llround(options.units) * n;  // nothing leaves a node in larger amounts
  pool.parallel_for(n, [&](std::int64_t j, int) {
    if (stop.stop_requested()) throw Error(Errc::cancelled, "stopped");
    FlowGraph own = graph;
    attr_j[j] = static_cast<double>(own.maximum_flow(layers * n + target, j, limit)) / options.units;
  });
  const double sum = std::accumulate(attr_j.begin(), attr_j.end(), 0.0);
  if (options.normalise && sum > 0.0)
    for (double& value : attr_j) value /= sum;
  return attr_j;
}

}  // namespace headlight::analysis
