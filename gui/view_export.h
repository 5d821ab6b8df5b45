#pragma once

#include <QString>

#include "app/figure/figure.h"
#include "gui/workspace.h"

namespace headlight::gui {

/// The map of the selected head on the shown side as a figure; longer sides than 1024 are pooled.
/// @error invalid_argument  nothing is selected, or a difference (which is a picture of the window only)
figure::MapFigure map_figure_of(const workbench::CaptureDocument& document, HeadId head, figure::ScaleKind kind);
figure::GridFigure grid_figure_of(const workbench::CaptureDocument& document, const std::string& metric);

/// Numbers of a map as text: layer,head,query,key,value.
std::string map_csv_of(const workbench::CaptureDocument& document, HeadId head);
/// layer,head,value
std::string grid_csv_of(const workbench::CaptureDocument& document, const std::string& metric);

}  // namespace headlight::gui
