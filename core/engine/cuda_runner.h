#pragma once

#include <memory>

#include "core/engine/runner.h"

namespace headlight::engine {

/// Rows that go through the projections and the feed-forward at a time: bounds memory.
inline constexpr std::int64_t kDeviceRowBlock = 8192;

/// A sequence on a CUDA device: the same pass as forward_layers(), with 16-bit operands, sums and residual in f32.
/// It takes observers, but no hook: see require_cpu().
std::unique_ptr<Runner> make_cuda_runner(const Engine::Impl& engine, const CudaModel& model, const SequenceUse& use);

/// estimate_memory() for a device.
MemoryEstimate estimate_device_memory(const formats::ModelSpec& spec, std::int64_t num_rows,
                                      const capture::CapturePlan* plan, std::int64_t num_generated);

}  // namespace headlight::engine
