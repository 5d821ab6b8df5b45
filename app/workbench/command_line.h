#pragma once

#include <string>

#include "app/workbench/project.h"
#include "app/workbench/selection.h"

namespace headlight::workbench {

/// A word of a POSIX shell that stands for this text: quoted where it must be.
std::string shell_word(const std::string& text);

/// Shell lines that print the next-token distribution of the prompt under the stack. A stack and a chat are files: they
/// are written by the lines themselves.
std::string command_of_run(const Project& project, int top);

/// `headlight capture` of the prompt without interventions.
std::string command_of_capture(const Project& project, const std::string& output);

/// `headlight map` of one head of a capture file.
/// @param scale  "linear", "log" or "power"
std::string command_of_map(const std::string& capture, std::int64_t record, HeadId head, const std::string& scale,
                           const std::string& output);

/// `headlight stats`: one statistic of all heads, or of those an expression names.
std::string command_of_grid(const std::string& capture, std::int64_t record, const std::string& metric,
                            const std::string& heads);

/// `headlight compare` of two capture files: differences are A - B, as the window shows them.
std::string command_of_comparison(const std::string& a, const std::string& b);

}  // namespace headlight::workbench
