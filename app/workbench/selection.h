#pragma once

#include <cstdint>
#include <optional>

#include "core/heads/head_id.h"

namespace headlight::workbench {

using heads::HeadId;

/// What all views look at. Views write to it and follow it; they never address each other.
struct Selection {
  std::int64_t record = 0;
  std::optional<HeadId> head = {};                   ///< layers are those of the model
  std::optional<std::int64_t> query = {}, key = {};  ///< rows and columns of the map
  bool operator==(const Selection&) const = default;
};

}  // namespace headlight::workbench
