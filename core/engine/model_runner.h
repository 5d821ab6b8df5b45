#pragma once

#include "core/engine/engine.h"
#include "core/runner.h"

namespace headlight::engine {

/// A runner on an engine, which must outlive it.
std::unique_ptr<ModelRunner> make_model_runner(Engine& engine);

}  // namespace headlight::engine
