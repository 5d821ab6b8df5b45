#pragma once

#include <memory>
#include <string>

#include "app/figure/figure.h"
#include "gui/workspace.h"

namespace headlight::gui {

/// What is exported: one side, or the difference of two. Owns its documents, so that a job can write it.
struct ShownSide {
  std::shared_ptr<const workbench::CaptureDocument> base, changed;  ///< changed: of MapSide::changed and difference
  MapSide side = MapSide::base;
  std::string difference = "change";  ///< what a difference is called: "A \u2212 B"
  const workbench::CaptureDocument& document() const { return side == MapSide::changed ? *changed : *base; }
  std::string caption() const;
};
ShownSide shown_side(const Workspace& workspace);

/// The map of a head; longer sides than 1024 are pooled. A difference is signed, linear and symmetric about zero.
/// @error as workbench::difference_map(), CaptureDocument::map()
figure::MapFigure map_figure_of(const ShownSide& shown, HeadId head, figure::ScaleKind kind);
/// @error invalid_argument  the capture does not hold the statistic
figure::GridFigure grid_figure_of(const ShownSide& shown, const std::string& metric);

/// Numbers of a map as text: layer,head,query,key,value. @error unsupported  only blocks are recorded
std::string map_csv_of(const ShownSide& shown, HeadId head);
/// layer,head,value
std::string grid_csv_of(const ShownSide& shown, const std::string& metric);

/// Writes the map, or the grid of `metric`, of the format that the suffix says; .csv are the numbers.
/// @error as above, and as figure::write_figure()
void export_map(const std::string& path, const ShownSide& shown, HeadId head, figure::ScaleKind kind);
void export_grid(const std::string& path, const ShownSide& shown, const std::string& metric);

}  // namespace headlight::gui
