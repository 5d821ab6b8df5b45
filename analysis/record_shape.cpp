#include "analysis/record_shape.h"

#include <cmath>

#include <fmt/format.h>

#include "base/error.h"
#include "core/capture/statistics.h"

namespace headlight::analysis {

RecordShape record_shape(const capture::CaptureView& capture, std::int64_t record) {
  const capture::RecordInfo info = capture.record(record);
  const capture::CaptureHeader& header = capture.header();
  RecordShape shape;
  shape.layers = header.plan.layers;
  shape.num_layers = static_cast<int>(shape.layers.size());
  shape.num_heads = header.model.num_heads;
  shape.num_kv_heads = header.model.num_kv_heads;
  shape.head_dim = header.model.head_dim;
  shape.num_rows = info.num_rows;
  shape.first_key = info.header.first_key;
  for (int layer = 0; layer < shape.num_layers; ++layer)
    shape.geometry_l.push_back(capture::layer_geometry(info, layer));
  return shape;
}

Series head_series(std::string id, std::string unit, std::string formula, const RecordShape& shape,
                   std::vector<double> values_lh, double low, double high) {
  HEADLIGHT_CHECK(values_lh.size() == shape.num_cells());
  return {.id = std::move(id),
          .unit = std::move(unit),
          .formula = std::move(formula),
          .axes = {"layer", "head"},
          .shape = {shape.num_layers, shape.num_heads},
          .values = std::move(values_lh),
          .low = low,
          .high = high};
}

Series number_series(std::string id, std::string unit, std::string formula, double value, double low, double high) {
  return {.id = std::move(id),
          .unit = std::move(unit),
          .formula = std::move(formula),
          .axes = {},
          .shape = {},
          .values = {value},
          .low = low,
          .high = high};
}

std::string cell_name(const RecordShape& shape, std::size_t cell) {
  const auto heads = static_cast<std::size_t>(shape.num_heads);
  return capture::head_name(shape.layers[cell / heads], static_cast<int>(cell % heads));
}

std::string token_text(const capture::RecordHeader& header, std::int64_t position) {
  if (position < 0 || position >= std::ssize(header.tokens)) return "";
  std::string text;
  for (const char c : header.tokens[static_cast<std::size_t>(position)].piece) {
    if (c == '\n')
      text += "\\n";
    else if (c == '\t')
      text += "\\t";
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    else
      text += c;
  }
  return text;
}

void check_stop(const std::stop_token& stop) {
  if (stop.stop_requested()) throw Error(Errc::cancelled, "stopped on request");
}

double mean_defined(std::span<const double> values) {
  double sum = 0.0;
  std::int64_t count = 0;
  for (const double value : values) {
    if (std::isnan(value)) continue;
    sum += value;
    ++count;
  }
  return count > 0 ? sum / static_cast<double>(count) : kUndefined;
}

}  // namespace headlight::analysis
