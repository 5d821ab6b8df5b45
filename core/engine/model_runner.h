#pragma once

#include "core/engine/engine.h"
#include "core/runner.h"

namespace headlight::engine {

/// A runner on an engine, which must outlive it.
/// @param always  interventions of every run, before those of a request
std::unique_ptr<ModelRunner> make_model_runner(Engine& engine, intervention::Stack always = {});

}  // namespace headlight::engine
