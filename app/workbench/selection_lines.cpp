#include "app/workbench/selection_lines.h"

#include "base/error.h"

namespace headlight::workbench {
namespace {

void subtract(std::vector<float>& values, const std::vector<float>& less) {
  HEADLIGHT_CHECK(values.size() == less.size());
  for (std::size_t at = 0; at < values.size(); ++at) values[at] -= less[at];
}

void subtract(std::optional<AttentionLine>& line, const std::optional<AttentionLine>& less) {
  if (!line || !less) {
    line.reset();
    return;
  }
  subtract(line->attn, less->attn);
  line->exact = line->exact && less->exact;
}

SelectionLines lines_of_one(const Selection& selection, const CaptureDocument& document, ThreadPool& pool) {
  SelectionLines lines;
  if (!selection.head || !document.find(*selection.head)) return lines;
  const HeadId head = *selection.head;
  if (document.find_statistic("received_mean") != nullptr) lines.received = document.along_text("received_mean", head);
  if (!document.has_map(head)) return lines;
  try {
    if (selection.query) lines.row = document.row(head, *selection.query, pool);
    if (selection.key) lines.column = document.column(head, *selection.key, pool);
  } catch (const Error& error) {
    if (error.code() != Errc::invalid_argument) throw;  // rows that were not kept for replay
  }
  return lines;
}

}  // namespace

SelectionLines lines_of(const Selection& selection, MapSide side, const CaptureDocument& base,
                        const CaptureDocument* changed, ThreadPool& pool) {
  HEADLIGHT_CHECK(side == MapSide::base || changed != nullptr);
  if (side == MapSide::base) return lines_of_one(selection, base, pool);
  if (side == MapSide::difference && !same_tokens(base, *changed)) return {};
  SelectionLines lines = lines_of_one(selection, *changed, pool);
  if (side == MapSide::changed) return lines;
  const SelectionLines before = lines_of_one(selection, base, pool);
  subtract(lines.row, before.row);
  subtract(lines.column, before.column);
  if (lines.received.size() == before.received.size())
    subtract(lines.received, before.received);
  else
    lines.received.clear();
  return lines;
}

}  // namespace headlight::workbench
