#include "app/workbench/comparison.h"

#include <fmt/format.h>

#include "base/json.h"

namespace headlight::workbench {

Comparison compare_documents(const CaptureDocument& a, const CaptureDocument& b, ThreadPool& pool, JobContext& job) {
  const analysis::DistanceOptions options{.record = b.record_number(), .record_b = a.record_number()};
  auto distances =
      analysis::head_distances(b.view(), a.view(), options, pool, job.stop(),
                               [&](std::int64_t done, std::int64_t all) { job.progress("comparing", done, all); });
  Comparison comparison;
  comparison.heads = std::move(distances.heads);
  comparison.maps_missing = std::move(distances.maps_missing);
  comparison.sorted_by = analysis::sort_by_distance(comparison.heads, "tv");
  comparison.departure = analysis::first_departure(comparison.heads, comparison.sorted_by, kDepartFrom);
  return comparison;
}

std::string comparison_problem(const CaptureDocument& a, const CaptureDocument& b) {
  const auto &ma = a.header().model, &mb = b.header().model;
  if (ma.num_layers == mb.num_layers && ma.num_heads == mb.num_heads) return {};
  return fmt::format("A has {} layers of {} heads, B has {} of {}: heads cannot be told to be the same", ma.num_layers,
                     ma.num_heads, mb.num_layers, mb.num_heads);
}

std::vector<std::string> differing_facts(const CaptureDocument& a, const CaptureDocument& b) {
  std::vector<std::string> facts;
  const auto add = [&](std::string_view name, const std::string& of_a, const std::string& of_b) {
    if (of_a != of_b) facts.push_back(fmt::format("{}: {} / {}", name, of_a, of_b));
  };
  const auto named = [](const std::string& text) { return text.empty() ? std::string("unknown") : text; };
  const auto &ha = a.header(), &hb = b.header();
  add("model", named(ha.model.name), named(hb.model.name));
  add("quantisation", named(ha.model.quantization), named(hb.model.quantization));
  add("tokens", std::to_string(a.num_tokens()), std::to_string(b.num_tokens()));
  if (a.num_tokens() == b.num_tokens() && !same_tokens(a, b)) facts.push_back("tokens: as many, but others");
  const auto stack = [](const CaptureDocument& one) {
    const std::string& text = one.record().header.interventions;
    return text.empty()
               ? std::string("none")
               : std::to_string(parse_json(text, {.max_bytes = std::size_t{256} << 20})["interventions"].size());
  };
  add("interventions", stack(a), stack(b));
  return facts;
}

}  // namespace headlight::workbench
