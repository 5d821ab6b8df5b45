#pragma once

#include <string_view>

#include "base/buffer.h"
#include "core/capture/derive.h"
#include "core/capture/memory_capture.h"
#include "tests/capture/dense_reference.h"

namespace headlight::analysis {

/// One layer with random q and k (or a given reference), its dense attention in float64 and the capture made of it.
struct WorkedExample {
  explicit WorkedExample(capture::DenseReference given, capture::CapturePlan plan = {}) : reference(std::move(given)) {
    capture::write_capture(reference, std::move(plan), capture);
    geometry = capture::layer_geometry(capture.record(0), 0);
  }
  WorkedExample(const capture::TestShape& shape, unsigned seed)
      : WorkedExample(random_reference(shape, seed), plan_of(shape)) {}

  Buffer<float> row(std::string_view id) const { return capture.statistic(0, id, 0); }

  capture::DenseReference reference;
  capture::MemoryCapture capture;
  capture::LayerGeometry geometry;

 private:
  static capture::DenseReference random_reference(const capture::TestShape& shape, unsigned seed) {
    capture::DenseReference reference(shape);
    reference.fill_random(seed, 1.0f);
    reference.compute();
    return reference;
  }
  static capture::CapturePlan plan_of(const capture::TestShape& shape) {
    capture::CapturePlan plan;
    plan.sink_size = shape.sink_size;
    plan.local_window = shape.local_window;
    return plan;
  }
};

}  // namespace headlight::analysis
