#pragma once

#include <memory>

#include "core/engine/runner.h"

namespace headlight::engine {

/// A sequence on a CUDA device: the same pass as forward_layers(), with 16-bit operands, sums and residual in f32.
/// It takes no observer yet: see require_cpu().
std::unique_ptr<Runner> make_cuda_runner(const Engine::Impl& engine, const CudaModel& model, const SequenceUse& use);

}  // namespace headlight::engine
