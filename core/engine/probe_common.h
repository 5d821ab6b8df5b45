#pragma once

#include <vector>

#include "core/engine/phase_clock.h"
#include "core/engine/row_arrays.h"
#include "core/engine/runner.h"

namespace headlight::engine {

/// What the probes of one record share.
struct RecordContext {
  RecordContext(const Engine::Impl& engine, const capture::CapturePlan& plan, const capture::RecordHeader& record,
                capture::CaptureSink& sink, Runner& runner, bool generates, const Edits* edits = nullptr);

  bool replay() const { return plan.level != capture::CaptureLevel::summary; }
  bool maps() const { return plan.level == capture::CaptureLevel::maps; }
  /// q, k and v are rounded to this type before they are multiplied.
  DType operand_dtype() const { return replay() ? plan.replay_dtype : DType::f32; }
  /// Index into plan.layers, -1 = not recorded.
  int recorded_index(int layer) const { return index_of_layer[static_cast<std::size_t>(layer)]; }
  /// One set of arrays serves all layers: it is cleared when a layer's was written.
  bool columns_are_shared() const { return !generates; }
  ColumnArrays& columns_of(int index) { return columns[columns_are_shared() ? 0 : static_cast<std::size_t>(index)]; }
  /// Those without interventions: the same ones where a layer's rows are not changed.
  ColumnArrays& base_columns_of(int index);
  void clear_columns(int index);
  /// [H] what interventions do to rows of a recorded layer; null = nothing.
  const kernels::RowProgram* program_of(int index) const;
  bool head_kept(int index, int head) const;

  /// The wish for one recorded layer, without rows of top-k entries.
  AttentionWish wish_for(int index);
  void write_columns(int index, std::int64_t num_keys);
  /// Statistics without interventions beside the others. @param base  null = they are the same
  void write_base(const capture::LayerRows& rows, const capture::LayerRows* base);
  void write_hidden(const capture::HiddenRows& rows, std::span<const capture::MassiveActivation> massive);
  /// Dense rows of the kept heads of one layer, from its rows and the keys that the runner holds.
  void write_dense(const capture::LayerRows& rows, std::int64_t num_keys);

  const Engine::Impl& engine;
  const capture::CapturePlan& plan;
  const capture::RecordHeader& record;
  capture::CaptureSink& sink;
  Runner& runner;
  const bool generates;
  const Edits* const edits;
  int num_groups = 0;  ///< segments that fit a label; 0 = none
  std::vector<std::uint8_t> group_of_key;
  std::vector<int> index_of_layer;  ///< [L]
  std::int64_t block_edge = 0, block_count = 0;
  std::vector<ColumnArrays> columns;       ///< one per recorded layer when rows are generated, else one for all
  std::vector<ColumnArrays> base_columns;  ///< as many, where statistics without interventions are recorded
  PhaseClock clock;
};

}  // namespace headlight::engine
