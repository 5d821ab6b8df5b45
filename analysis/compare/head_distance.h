#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "analysis/undefined.h"
#include "base/thread_pool.h"
#include "core/capture/capture_view.h"

namespace headlight::analysis {

/// Distances between the maps of one head in two captures, over the compared rows.
struct HeadDistance {
  int layer = 0, head = 0;      ///< layer of the model
  double tv = kUndefined;       ///< mean over rows of 1/2 sum_j |A - B|, in [0, 1]
  double js = kUndefined;       ///< mean Jensen-Shannon divergence, nats, in [0, ln 2]
  double max_abs = kUndefined;  ///< largest |A - B|
  double entropy = 0;           ///< difference of mean entropy, nats (B - A)
  double received0 = 0;         ///< difference of received0 (B - A)
};

/// Size of one of the distances "tv", "js", "max", "entropy", "received0" (the last two as absolute values).
double distance_value(const HeadDistance& distance, std::string_view metric);

struct DistanceOptions {
  std::int64_t record = 0;      ///< of A
  std::int64_t record_b = -1;   ///< of B; -1 = the same number
  std::int64_t max_rows = 256;  ///< rows compared per head
  bool base_of_a = false;       ///< of A, maps and statistics without its interventions
};

struct HeadDistances {
  std::vector<HeadDistance> heads;  ///< recorded layers of both, ascending; every query head
  std::string maps_missing;         ///< why maps were not compared, one sentence; empty = they were
};

/// Compares a record of two captures of models with the same numbers of layers and heads: statistics always,
/// maps when both hold the same tokens and q, k. Rows are compared in blocks of 16 consecutive ones spread evenly, at
/// most `max_rows` of them, so that two long captures cost O(max_rows N) per head.
/// @error invalid_argument  different shapes, no such record, no common layer, no interventions in A; cancelled
HeadDistances head_distances(const capture::CaptureView& a, const capture::CaptureView& b,
                             const DistanceOptions& options, ThreadPool& pool, std::stop_token stop = {},
                             const std::function<void(std::int64_t done, std::int64_t all)>& progress = {});

/// Largest distance first, equal ones by layer and head; heads whose maps are not kept come last. By "entropy" when no
/// map was compared. @return the metric that was used
std::string sort_by_distance(std::vector<HeadDistance>& heads, const std::string& metric);

/// The first place where two runs part: in the lowest layer with a head whose distance exceeds `threshold`, the head
/// with the largest one. Nothing = no head exceeds it.
std::optional<HeadDistance> first_departure(std::span<const HeadDistance> heads, std::string_view metric,
                                            double threshold);

}  // namespace headlight::analysis
