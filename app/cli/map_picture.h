#pragma once

#include <stop_token>
#include <string>

#include "app/cli/head_selection.h"
#include "base/thread_pool.h"
#include "core/capture/replay.h"

namespace headlight::cli {

struct MapPictureStyle {
  std::string colormap = "viridis";
  std::string scale;  ///< linear, log or power; empty = linear, power for pooled maps
  std::string range, theme = "light";
  int width = 0;  ///< logical pixels; 0 = the size that suits the map
  double zoom = 1.0;
  bool overwrite = false;
};

/// True for .png, .svg and .pdf.
bool is_picture_path(const std::string& path);

/// Draws a head's map with axes, labels and colour bar; maps above 1024 cells a side are max-pooled, and say so.
/// @error unsupported  in a build without Qt
void write_map_picture(const capture::CaptureView& view, const capture::HeadRef& ref, HeadId head,
                       const capture::TileRange& tile, const MapPictureStyle& style, const std::string& path,
                       ThreadPool& pool, std::stop_token stop);

}  // namespace headlight::cli
