#include "kernels/row_program.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <utility>
#include <vector>

#include "kernels/row_random.h"

namespace headlight::kernels {
namespace {

constexpr float kMasked = -std::numeric_limits<float>::infinity();
constexpr double kLeastMass = 1e-6;

// In the order of RowOp.
constexpr std::string_view kOpNames[] = {"scale_keys",   "temperature",     "raise",           "bias",
                                         "weigh_groups", "move_from_sinks", "move_to_targets", "set_masses",
                                         "shift_gaze",   "swap_keys",       "mix_uniform",     "mix_reversed",
                                         "mix_random",   "mix_shuffled",    "mix_self",        "scale_values"};
static_assert(std::size(kOpNames) == static_cast<std::size_t>(RowOp::scale_values) + 1);

bool acts_on(const RowStep& step, std::int64_t position) {
  return position >= step.rows.begin && position < step.rows.end;
}

/// Calls body(begin, end, value) for the visible part of every run.
template <class Body>
void for_runs(const RowStep& step, KeyRange keys, const Body& body) {
  for (std::int64_t n = 0; n < step.num_runs; ++n) {
    const std::int64_t begin = std::max(step.runs[n].begin, keys.begin), end = std::min(step.runs[n].end, keys.end);
    if (begin < end) body(begin, end, step.runs[n].value);
  }
}

/// Calls body(begin, end, group) for all visible keys, those between runs as group 0.
template <class Body>
void for_groups(const RowStep& step, KeyRange keys, const Body& body) {
  std::int64_t at = keys.begin;
  for_runs(step, keys, [&](std::int64_t begin, std::int64_t end, float group) {
    if (at < begin) body(at, begin, 0);
    body(begin, end, static_cast<int>(group));
    at = end;
  });
  if (at < keys.end) body(at, keys.end, 0);
}

bool masks(const RowProgram& program, std::int64_t position, std::int64_t key) {
  for (std::int64_t n = 0; n < program.num_steps; ++n) {
    const RowStep& step = program.steps[n];
    if (step.op != RowOp::bias || !acts_on(step, position)) continue;
    for (std::int64_t r = 0; r < step.num_runs; ++r)
      if (step.runs[r].value == kMasked && key >= step.runs[r].begin && key < step.runs[r].end) return true;
  }
  return false;
}

bool leaves_a_key(const RowProgram& program, std::int64_t position, KeyRange keys) {
  for (std::int64_t j = keys.end - 1; j >= keys.begin; --j)
    if (!masks(program, position, j)) return true;
  return false;
}

void add_bias(const RowProgram& program, const RowStep& step, std::int64_t position, KeyRange keys, float* s,
              float unit) {
  for_runs(step, keys, [&](std::int64_t begin, std::int64_t end, float value) {
    if (value == kMasked && !leaves_a_key(program, position, keys)) return;
    const float bias = value * unit;
    for (std::int64_t j = begin; j < end; ++j) s[j - keys.begin] += bias;
  });
}

void multiply_runs(const RowProgram& program, RowOp op, std::int64_t position, KeyRange keys, float* x) {
  for (std::int64_t n = 0; n < program.num_steps && keys.size() > 1; ++n) {
    const RowStep& step = program.steps[n];
    if (step.op != op || !acts_on(step, position)) continue;
    for_runs(step, keys, [&](std::int64_t begin, std::int64_t end, float value) {
      for (std::int64_t j = begin; j < end; ++j) x[j - keys.begin] *= value;
    });
  }
}

bool weigh_groups(const RowStep& step, KeyRange keys, float* e) {
  double mass[4] = {}, factor[4], total = 0.0;
  for_groups(step, keys, [&](std::int64_t begin, std::int64_t end, int group) {
    for (std::int64_t j = begin; j < end; ++j) mass[group] += static_cast<double>(e[j - keys.begin]);
  });
  for (const double m : mass) total += m;
  if (!(total > 0.0)) return false;
  for (double& m : mass) m /= total;
  if (!group_factors(step, mass, factor)) return false;
  for_groups(step, keys, [&](std::int64_t begin, std::int64_t end, int group) {
    const auto c = static_cast<float>(factor[group]);
    for (std::int64_t j = begin; j < end; ++j) e[j - keys.begin] *= c;
  });
  return true;
}

bool shift_gaze(const RowStep& step, KeyRange keys, float* e) {
  double before = 0.0, seen = 0.0, weighted = 0.0;
  for (std::int64_t k = 0; k < keys.size(); ++k) before += static_cast<double>(e[k]);
  for_runs(step, keys, [&](std::int64_t begin, std::int64_t end, float w) {
    if (!(w > 0.0f)) return;
    for (std::int64_t j = begin; j < end; ++j) {
      seen += static_cast<double>(e[j - keys.begin]);
      weighted += static_cast<double>(w) * static_cast<double>(e[j - keys.begin]);
    }
  });
  if (!(seen >= kLeastMass * before) || !(weighted > 0.0)) return false;
  const auto ratio = static_cast<float>(weighted / seen);
  for_runs(step, keys, [&](std::int64_t begin, std::int64_t end, float w) {
    for (std::int64_t j = begin; j < end; ++j) e[j - keys.begin] *= w > 0.0f ? w : w < 0.0f ? ratio : 1.0f;
  });
  double after = 0.0;
  for (std::int64_t k = 0; k < keys.size(); ++k) after += static_cast<double>(e[k]);
  const auto scale = static_cast<float>(before / after);
  for (std::int64_t k = 0; k < keys.size(); ++k) e[k] *= scale;
  return true;
}

bool swap_keys(const RowStep& step, KeyRange keys, float* e) {
  if (step.num_runs != 2) return false;
  const std::int64_t a = step.runs[0].begin, b = step.runs[1].begin;
  if (a < keys.begin || b < keys.begin || a >= keys.end || b >= keys.end) return false;
  std::swap(e[a - keys.begin], e[b - keys.begin]);
  return true;
}

/// e = (1-u) e + u * replacement(j)
template <class Replacement>
void mix(const RowStep& step, std::int64_t count, float* e, const Replacement& replacement) {
  const float u = step.constants[0];
  for (std::int64_t n = 0; n < count; ++n) e[n] = (1.0f - u) * e[n] + u * static_cast<float>(replacement(n));
}

void mix_row(const RowStep& step, std::int64_t position, KeyRange keys, float* e) {
  const std::int64_t count = keys.size();
  const auto n = static_cast<double>(count);
  double total = 0.0, largest = 0.0;
  for (std::int64_t k = 0; k < count; ++k) {
    total += static_cast<double>(e[k]);
    largest = std::max(largest, static_cast<double>(e[k]));
  }
  const double spread = n * largest - total;
  if (step.op == RowOp::mix_reversed && spread > 1e-9 * total)
    return mix(step, count, e, [&](std::int64_t k) { return total * (largest - static_cast<double>(e[k])) / spread; });
  if (step.op == RowOp::mix_uniform || step.op == RowOp::mix_reversed)
    return mix(step, count, e, [&](std::int64_t) { return total / n; });
  if (step.op == RowOp::mix_self)
    return mix(step, count, e, [&](std::int64_t k) { return keys.begin + k == position ? total : 0.0; });
  const RowRandom random(step.seed, position);
  if (step.op == RowOp::mix_random) {
    double sum = 0.0;
    for (std::int64_t j = keys.begin; j < keys.end; ++j) sum += random.uniform(j);
    return mix(step, count, e, [&](std::int64_t k) { return total * random.uniform(keys.begin + k) / sum; });
  }
  std::vector<float> shuffled(e, e + count);
  for (std::int64_t k = count - 1; k > 0; --k)
    std::swap(shuffled[static_cast<std::size_t>(k)], shuffled[static_cast<std::size_t>(random.below(k, k + 1))]);
  mix(step, count, e, [&](std::int64_t k) { return shuffled[static_cast<std::size_t>(k)]; });
}

}  // namespace

std::string_view to_string(RowOp op) {
  return kOpNames[static_cast<std::size_t>(op)];
}

std::optional<RowOp> row_op_of(std::string_view name) {
  const auto* const found = std::find(std::begin(kOpNames), std::end(kOpNames), name);
  if (found == std::end(kOpNames)) return std::nullopt;
  return static_cast<RowOp>(found - std::begin(kOpNames));
}

bool group_factors(const RowStep& step, const double (&mass)[4], double (&factor)[4]) {
  const float* constants = step.constants;
  std::fill(std::begin(factor), std::end(factor), 1.0);
  if (step.op == RowOp::weigh_groups) {
    std::copy_n(constants, 4, factor);
    return true;
  }
  if (step.op == RowOp::move_from_sinks) {
    if (!(mass[1] > 0.0) || mass[0] < kLeastMass) return false;
    const double beta = std::min(static_cast<double>(constants[0]), (mass[0] + mass[1]) / mass[1]);
    factor[0] = 1.0 + (1.0 - beta) * mass[1] / mass[0];
    factor[1] = beta;
    return true;
  }
  if (step.op == RowOp::set_masses) {
    const auto u = static_cast<double>(constants[3]);
    double total = 0.0;
    for (int g = 0; g < 3; ++g)
      if (mass[g] >= kLeastMass) total += static_cast<double>(constants[g]);
    if (!(total > 0.0)) return false;
    for (int g = 0; g < 3; ++g)
      if (mass[g] >= kLeastMass)
        factor[g] = 1.0 - u + u * (1.0 - mass[3]) * static_cast<double>(constants[g]) / (total * mass[g]);
    return true;
  }
  const double p = static_cast<double>(constants[0]), image = mass[2] + mass[3];
  if (!(mass[3] >= kLeastMass) || image < static_cast<double>(constants[1]) ||
      mass[3] < static_cast<double>(constants[2]) * image)
    return false;
  factor[1] = factor[2] = 1.0 - p;
  factor[3] = 1.0 + p * (mass[1] + mass[2]) / mass[3];
  return true;
}

void scale_row_keys(const RowProgram& program, std::int64_t position, KeyRange keys, float* s) {
  multiply_runs(program, RowOp::scale_keys, position, keys, s);
}

void scale_row_values(const RowProgram& program, std::int64_t position, KeyRange keys, float* e) {
  multiply_runs(program, RowOp::scale_values, position, keys, e);
}

void change_row_scores(const RowProgram& program, std::int64_t position, KeyRange keys, float* s, float unit) {
  for (std::int64_t n = 0; n < program.num_steps && keys.size() > 1; ++n) {
    const RowStep& step = program.steps[n];
    if (!acts_on(step, position)) continue;
    if (step.op == RowOp::temperature)
      for (std::int64_t k = 0; k < keys.size(); ++k) s[k] *= step.constants[0];
    if (step.op == RowOp::raise)
      for_runs(step, keys, [&](std::int64_t begin, std::int64_t end, float value) {
        for (std::int64_t j = begin; j < end; ++j) s[j - keys.begin] += value * std::abs(s[j - keys.begin]);
      });
    if (step.op == RowOp::bias) add_bias(program, step, position, keys, s, unit);
  }
}

bool change_row_weights(const RowProgram& program, std::int64_t position, KeyRange keys, float* e) {
  bool changed = false;
  for (std::int64_t n = 0; n < program.num_steps && keys.size() > 1; ++n) {
    const RowStep& step = program.steps[n];
    if (acts_on_scores(step.op) || step.op == RowOp::scale_values || !acts_on(step, position)) continue;
    if (has_groups(step.op)) {
      changed |= weigh_groups(step, keys, e);
    } else if (step.op == RowOp::shift_gaze) {
      changed |= shift_gaze(step, keys, e);
    } else if (step.op == RowOp::swap_keys) {
      changed |= swap_keys(step, keys, e);
    } else {
      mix_row(step, position, keys, e);
      changed = true;
    }
  }
  return changed;
}

ChangedRowSums sum_changed_row(std::int64_t position, bool causal, KeyRange keys, const float* e, float total,
                               float null_weight) {
  double sum = 0.0, weighted = 0.0, dist1 = 0.0, dist2 = 0.0;
  float best = -1.0f;
  ChangedRowSums out;
  for (std::int64_t j = keys.begin; j < keys.end; ++j) {
    const float weight = e[j - keys.begin];
    const auto p = static_cast<double>(weight);
    const auto distance = static_cast<double>(causal ? position - j : std::abs(position - j));
    sum += p;
    if (p > 0.0) weighted += p * std::log2(p);
    dist1 += p * distance;
    dist2 += p * distance * distance;
    if (!(weight > best)) continue;
    best = weight;
    out.best_key = j;
  }
  const auto whole = static_cast<double>(total);
  out.weighted = static_cast<float>(weighted + (whole - sum - static_cast<double>(null_weight)) * std::log2(whole));
  out.sum = static_cast<float>(sum);
  out.dist1 = static_cast<float>(dist1);
  out.dist2 = static_cast<float>(dist2);
  return out;
}

}  // namespace headlight::kernels
