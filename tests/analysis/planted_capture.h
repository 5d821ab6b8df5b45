#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/capture/memory_capture.h"

namespace headlight::analysis {

/// A record whose attention is chosen freely: keys are unit vectors, queries the logarithms of the weights.
struct PlantedRecord {
  explicit PlantedRecord(int layers_, int heads_, std::int64_t rows_);

  /// Row i of a head; what is left of 1 falls on the first key.
  void set(int layer, int head, std::int64_t row, std::int64_t key, double weight);
  /// Every row of the head gives `weight` to key max(i - back, 0) and the rest to the first key.
  void look_back(int layer, int head, std::int64_t back, double weight);
  /// Every row spreads evenly over the keys it sees.
  void spread(int layer, int head);
  /// Text of tokens that are words; byte and character spans follow.
  void say(const std::vector<std::string>& words);

  int layers, heads;
  std::int64_t rows;
  std::vector<double> attn_lhij;  ///< starts with all weight on the first key
  std::vector<float> u_norm_lhj;  ///< starts with 1
  capture::RecordHeader header;
};

/// A capture of level replay with these records, all of one shape; model "planted".
void write_capture(const std::vector<PlantedRecord>& records, capture::MemoryCapture& capture);

/// Two layers of one head, both [1], [.6 .4], [.5 .2 .3], [.7 .1 .1 .1].
PlantedRecord two_layer_e4();

}  // namespace headlight::analysis
