#include "core/heads/head_set.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/closest_match.h"
#include "base/error.h"
#include "core/heads/head_expression.h"

namespace headlight::heads {
namespace {

using Node = HeadExpression::Node;
using Kind = Node::Kind;

bool compares(double value, const std::string& op, double number) {
  if (std::isnan(value)) return false;
  if (op == "<") return value < number;
  if (op == "<=") return value <= number;
  if (op == ">") return value > number;
  if (op == ">=") return value >= number;
  return op == "=" ? value == number : value != number;
}

class Evaluator {
 public:
  Evaluator(const HeadFacts& facts, const std::string& field) : facts_(facts), field_(field) {}

  HeadMask mask_of(const Node& node) const {
    switch (node.kind) {
      case Kind::any_of:
      case Kind::all_of:
        return combined(node);
      case Kind::none_of: {
        HeadMask mask = mask_of(node.children.front());
        for (auto& bit : mask) bit = bit == 0 ? 1 : 0;
        return mask;
      }
      case Kind::heads:
      case Kind::kv_heads:
        return named(node);
      case Kind::role:
      case Kind::primary:
        return labelled(node);
      case Kind::set:
        return named_set(node);
      case Kind::compare: {
        const std::vector<double> values = metric(node);
        return where([&](HeadId id) { return compares(values[facts_.grid.index(id)], node.op, node.number); });
      }
      case Kind::top:
      case Kind::bottom:
        return extreme(node);
    }
    return {};
  }

 private:
  template <class Predicate>
  HeadMask where(Predicate holds) const {
    HeadMask mask(facts_.grid.size(), 0);
    for (int l = 0; l < facts_.grid.num_layers; ++l)
      for (int h = 0; h < facts_.grid.num_heads; ++h) mask[facts_.grid.index({l, h})] = holds(HeadId{l, h}) ? 1 : 0;
    return mask;
  }

  HeadMask combined(const Node& node) const {
    HeadMask mask = mask_of(node.children.front());
    for (std::size_t c = 1; c < node.children.size(); ++c) {
      const HeadMask other = mask_of(node.children[c]);
      for (std::size_t at = 0; at < mask.size(); ++at)
        mask[at] = node.kind == Kind::any_of ? mask[at] | other[at] : mask[at] & other[at];
    }
    return mask;
  }

  HeadMask named(const Node& node) const {
    const HeadGrid& grid = facts_.grid;
    const bool kv = node.kind == Kind::kv_heads;
    const int num_heads = kv ? grid.num_kv_heads : grid.num_heads;
    if (node.layer >= grid.num_layers || node.head >= num_heads)
      refuse(node, fmt::format("expected a head with layers 0-{} and {} 0-{}", grid.num_layers - 1,
                               kv ? "KV heads" : "heads", num_heads - 1));
    if (node.layer != Node::kEvery && !known(node.layer))
      refuse(node, fmt::format("layer {} is not recorded; recorded layers: {}", node.layer, known_layers()));
    return where([&](HeadId id) {
      const int head = kv ? grid.kv_head(id.head) : id.head;
      return (node.layer == Node::kEvery || node.layer == id.layer) && (node.head == Node::kEvery || node.head == head);
    });
  }

  HeadMask labelled(const Node& node) const {
    if (facts_.labels_lh.empty())
      refuse(node, fmt::format("'{}' is a role, and there is no headplan that says which heads play it", node.name));
    std::set<std::string> names;
    for (const auto& labels : facts_.labels_lh) names.insert(labels.begin(), labels.end());
    if (!names.contains(node.name)) refuse_unknown(node, "role", {names.begin(), names.end()});
    return where([&](HeadId id) {
      const auto& labels = facts_.labels_lh[facts_.grid.index(id)];
      if (node.kind == Kind::primary) return !labels.empty() && labels.front() == node.name;
      return std::find(labels.begin(), labels.end(), node.name) != labels.end();
    });
  }

  HeadMask named_set(const Node& node) const {
    if (const auto found = facts_.sets.find(node.name); found != facts_.sets.end()) return found->second;
    std::vector<std::string> names;
    for (const auto& [name, mask] : facts_.sets) names.push_back(name);
    refuse_unknown(node, "set", names);
  }

  HeadMask extreme(const Node& node) const {
    const std::vector<HeadId> order = ranked(facts_.grid, metric(node), node.kind == Kind::top);
    const double heads = static_cast<double>(facts_.grid.size());
    const double wanted = node.percent ? std::ceil(node.number / 100.0 * heads) : node.number;
    HeadMask mask(facts_.grid.size(), 0);
    for (std::size_t n = 0; n < order.size() && static_cast<double>(n) < wanted; ++n)
      mask[facts_.grid.index(order[n])] = 1;
    return mask;
  }

  std::vector<double> metric(const Node& node) const {
    if (node.name == "layer" || node.name == "head") {
      std::vector<double> values(facts_.grid.size());
      for (std::size_t at = 0; at < values.size(); ++at) {
        const auto heads = static_cast<std::size_t>(facts_.grid.num_heads);
        values[at] = static_cast<double>(node.name == "layer" ? at / heads : at % heads);
      }
      return values;
    }
    if (facts_.metrics.empty())
      refuse(node, fmt::format("'{}' is a statistic, and there is no capture or headplan to read it from", node.name));
    if (std::find(facts_.metrics.begin(), facts_.metrics.end(), node.name) == facts_.metrics.end())
      refuse_unknown(node, "metric", facts_.metrics);
    std::vector<double> values = facts_.metric(node.name);
    HEADLIGHT_CHECK(values.size() == facts_.grid.size());
    return values;
  }

  std::string known_layers() const {
    std::vector<int> layers;
    for (int l = 0; l < facts_.grid.num_layers; ++l)
      if (known(l)) layers.push_back(l);
    return fmt::format("{}", fmt::join(layers, ","));
  }
  bool known(int layer) const {
    return facts_.layer_known.empty() || facts_.layer_known[static_cast<std::size_t>(layer)] != 0;
  }

  [[noreturn]] void refuse(const Node& node, const std::string& sentence) const {
    throw Error(Errc::invalid_argument, sentence, {.file = {}, .field = field_, .offset = node.at, .hint = {}});
  }
  [[noreturn]] void refuse_unknown(const Node& node, std::string_view what,
                                   const std::vector<std::string>& there) const {
    const std::string guess = closest_match(node.name, there);
    refuse(node, fmt::format("unknown {} '{}'{}; there are: {}", what, node.name,
                             guess.empty() ? "" : fmt::format(" (did you mean {}?)", guess),
                             there.empty() ? "none" : fmt::format("{}", fmt::join(there, ", "))));
  }

  const HeadFacts& facts_;
  const std::string& field_;
};

}  // namespace

HeadMask evaluate(const HeadExpression& expression, const HeadFacts& facts) {
  HeadMask mask = Evaluator(facts, expression.field_).mask_of(*expression.root_);
  for (int l = 0; l < facts.grid.num_layers && !facts.layer_known.empty(); ++l)
    if (facts.layer_known[static_cast<std::size_t>(l)] == 0)
      std::fill_n(mask.begin() + static_cast<std::ptrdiff_t>(facts.grid.index({l, 0})), facts.grid.num_heads,
                  std::uint8_t{0});
  return mask;
}

HeadMask parse_heads(std::string_view text, const HeadFacts& facts, std::string field) {
  return evaluate(HeadExpression::parse(text.empty() ? "L*H*" : text, std::move(field)), facts);
}

HeadId parse_one_head(std::string_view text, const HeadFacts& facts, std::string field) {
  const std::vector<HeadId> found = heads_of(facts.grid, parse_heads(text, facts, field));
  if (found.size() == 1 && !text.empty()) return found.front();
  throw Error(Errc::invalid_argument,
              fmt::format("expected one head such as 3.7, '{}' names {}", text, text.empty() ? 0 : found.size()),
              {.file = {}, .field = std::move(field), .offset = {}, .hint = {}});
}

std::vector<HeadId> ranked(const HeadGrid& grid, std::span<const double> value_lh, bool descending) {
  std::vector<HeadId> order;
  for (int l = 0; l < grid.num_layers; ++l)
    for (int h = 0; h < grid.num_heads; ++h)
      if (!std::isnan(value_lh[grid.index({l, h})])) order.push_back({l, h});
  std::stable_sort(order.begin(), order.end(), [&](HeadId a, HeadId b) {
    const double x = value_lh[grid.index(a)], y = value_lh[grid.index(b)];
    return descending ? x > y : x < y;
  });
  return order;
}

}  // namespace headlight::heads
