#pragma once

#include <string>
#include <vector>

#include "core/intervention/program.h"

namespace headlight::intervention {

/// Collects the steps that methods make, checks them against each other, and puts them in the order of a row.
class Builder {
 public:
  explicit Builder(const ModelShape& shape);

  /// Who adds steps from now on: for messages.
  void begin(const Intervention& intervention) { owner_ = &intervention; }

  /// @error invalid_argument  a second step on weights of the same rows and head
  StepRef add(HeadId head, const kernels::RowStep& step);
  /// The same for a step on these keys.
  StepRef add(HeadId head, kernels::RowStep step, std::vector<kernels::KeyRun> runs) {
    step.num_runs = static_cast<std::int64_t>(runs.size());
    step.runs = keep(std::move(runs));
    return add(head, step);
  }
  void add(HeadId head, const HeadOutputStep& step) { layer(head.layer).outputs.push_back(step); }
  void add(const EmbeddingStep& step) { program_.embeddings.push_back(step); }
  LayerProgram& layer(int number) { return program_.layers[static_cast<std::size_t>(number)]; }

  /// Keeps data that steps point into.
  template <class T>
  const T* keep(std::vector<T> values) {
    auto kept = std::make_shared<const std::vector<T>>(std::move(values));
    program_.storage.push_back(kept);
    return kept->data();
  }

  Program finish();

 private:
  struct Owner {
    HeadId head;
    kernels::KeyRange rows;
    std::string id;
  };
  const ModelShape& shape_;
  const Intervention* owner_ = nullptr;
  Program program_;
  std::vector<Owner> weight_steps_;
};

}  // namespace headlight::intervention
