#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "core/planted/planted_model.h"

namespace headlight::planted {

/// Weights written entry by entry, row-major.
class Matrix {
 public:
  Matrix(int rows, int cols)
      : rows_(rows), cols_(cols), values_(static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols)) {}
  void add(int row, int col, double value) {
    auto& entry =
        values_[static_cast<std::size_t>(row) * static_cast<std::size_t>(cols_) + static_cast<std::size_t>(col)];
    entry = static_cast<float>(entry + value);
  }
  PlantedTensor tensor(std::string name) && { return {std::move(name), {rows_, cols_}, std::move(values_)}; }

 private:
  int rows_, cols_;
  std::vector<float> values_;
};

inline PlantedTensor constant_tensor(std::string name, int size, float value) {
  return {std::move(name), {size}, std::vector<float>(static_cast<std::size_t>(size), value)};
}

/// "token_plan" of config.json.
Json token_plan_json();

/// The construction of planted_model() as a GPT-2.
PlantedModel planted_gpt2_model();

}  // namespace headlight::planted
