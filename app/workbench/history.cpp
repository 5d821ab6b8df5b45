#include "app/workbench/history.h"

#include "base/error.h"

namespace headlight::workbench {
namespace {

/// A patch that makes `to` of `from`, order of members included: where the short one loses the order, all is replaced.
Json patch_between(const Json& from, const Json& to) {
  Json patch = Json::diff(from, to);
  if (from.patch(patch) == to) return patch;
  return Json::array({{{"op", "replace"}, {"path", ""}, {"value", to}}});
}

}  // namespace

History::History(Json document) : document_(std::move(document)) {}

void History::change(std::string label, const Json& next, std::string merge_key) {
  if (next == document_) return;
  steps_.resize(done_);
  if (clean_ != kNever && clean_ > done_) clean_ = kNever;
  const bool joins = !sealed_ && !merge_key.empty() && done_ > 0 && steps_.back().key == merge_key && clean_ != done_;
  if (joins) {
    const Json before = document_.patch(steps_.back().back);
    steps_.back().forward = patch_between(before, next);
    steps_.back().back = patch_between(next, before);
  } else {
    steps_.push_back(
        {std::move(label), std::move(merge_key), patch_between(document_, next), patch_between(next, document_)});
    ++done_;
  }
  document_ = next;
  sealed_ = false;
}

void History::undo() {
  HEADLIGHT_CHECK(can_undo());
  document_ = document_.patch(steps_[--done_].back);
  sealed_ = true;
}

void History::redo() {
  HEADLIGHT_CHECK(can_redo());
  document_ = document_.patch(steps_[done_++].forward);
  sealed_ = true;
}

void History::mark_clean() {
  clean_ = done_;
  sealed_ = true;
}

void History::reset(Json document) {
  *this = History(std::move(document));
}

}  // namespace headlight::workbench
