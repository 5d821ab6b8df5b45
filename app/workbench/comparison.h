#pragma once

#include <optional>
#include <string>
#include <vector>

#include "analysis/compare/head_distance.h"
#include "app/workbench/capture_document.h"
#include "app/workbench/job_queue.h"

namespace headlight::workbench {

using analysis::HeadDistance;

/// Two records side by side: A is what the window shows, B what it is held against. Every difference is A - B.
struct Comparison {
  std::vector<HeadDistance> heads;        ///< largest first; entropy and received0 are A - B
  std::string sorted_by;                  ///< "tv"; "entropy" when no map was compared
  std::string maps_missing;               ///< why no maps were compared, one sentence
  std::optional<HeadDistance> departure;  ///< first head of the lowest layer beyond kDepartFrom of `sorted_by`
};
constexpr double kDepartFrom = 0.05;

/// The distances of `headlight compare B A`. @error as analysis::head_distances()
Comparison compare_documents(const CaptureDocument& a, const CaptureDocument& b, ThreadPool& pool, JobContext& job);

/// Why two documents cannot be held side by side, one sentence: their models have other numbers of layers or heads.
/// Empty = they can.
std::string comparison_problem(const CaptureDocument& a, const CaptureDocument& b);

/// What differs between the two, one line each: "model: llama / llama-q4", "tokens: 24 / 30", "stack: none / 2".
std::vector<std::string> differing_facts(const CaptureDocument& a, const CaptureDocument& b);

}  // namespace headlight::workbench
