#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/json.h"

namespace headlight::workbench {

/// Undo and redo of a JSON document. A step is a JSON patch and its inverse; steps of one gesture (dragging a slider)
/// become one.
class History {
 public:
  explicit History(Json document = Json::object());

  const Json& document() const { return document_; }

  /// Replaces the document. Nothing happens when it is the same.
  /// @param label      names the change: "Scale L3H7"
  /// @param merge_key  not empty: joins the step before when that has the same key and seal() was not called since
  void change(std::string label, const Json& next, std::string merge_key = {});
  /// Ends a gesture: the next change is a step of its own.
  void seal() { sealed_ = true; }

  bool can_undo() const { return done_ > 0; }
  bool can_redo() const { return done_ < steps_.size(); }
  std::string undo_label() const { return can_undo() ? steps_[done_ - 1].label : std::string(); }
  std::string redo_label() const { return can_redo() ? steps_[done_].label : std::string(); }
  void undo();
  void redo();

  bool is_clean() const { return clean_ == done_; }
  void mark_clean();
  /// Another document with no history.
  void reset(Json document);

 private:
  struct Step {
    std::string label, key;
    Json forward, back;
  };
  static constexpr std::size_t kNever = static_cast<std::size_t>(-1);

  Json document_;
  std::vector<Step> steps_;
  std::size_t done_ = 0;   // steps that are applied
  std::size_t clean_ = 0;  // number of applied steps at which the document equals its file; kNever = none
  bool sealed_ = true;
};

}  // namespace headlight::workbench
