#pragma once

#include <span>
#include <stop_token>
#include <vector>

#include "core/engine/engine.h"
#include "core/runner.h"

namespace headlight::engine {

/// ModelRunner::score() on the CPU.
std::vector<std::vector<ScoreOutput>> score_continuations(const Engine::Impl& engine,
                                                          std::span<const ScoreInput> inputs,
                                                          std::span<const ScoreVariant> variants, std::stop_token stop);

}  // namespace headlight::engine
