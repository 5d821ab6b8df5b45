#pragma once

#include <vector>

#include "analysis/findings/findings.h"

// One function per rule; conditions and order are in findings.cpp.
namespace headlight::analysis::rules {

std::vector<Finding> first_token_heads(const FindingsInput& input);
std::vector<Finding> streaming_heads(const FindingsInput& input);
std::vector<Finding> previous_token_heads(const FindingsInput& input);
std::vector<Finding> own_token_heads(const FindingsInput& input);
std::vector<Finding> content_heads(const FindingsInput& input);
std::vector<Finding> uniform_heads(const FindingsInput& input);
std::vector<Finding> far_looking_heads(const FindingsInput& input);
std::vector<Finding> layer_entropy(const FindingsInput& input);
std::vector<Finding> later_sinks(const FindingsInput& input);
std::vector<Finding> long_first_state(const FindingsInput& input);
std::vector<Finding> drained_sink(const FindingsInput& input);
std::vector<Finding> similar_heads(const FindingsInput& input);
std::vector<Finding> last_token_sources(const FindingsInput& input);
std::vector<Finding> planned_roles(const FindingsInput& input);

}  // namespace headlight::analysis::rules
