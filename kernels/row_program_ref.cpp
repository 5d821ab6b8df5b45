#include "kernels/row_program_ref.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "kernels/row_random.h"

namespace headlight::kernels {
namespace {

constexpr double kMaskedScore = -std::numeric_limits<double>::infinity();

std::vector<RowStep> steps_of(const RowProgram& program, std::int64_t position, KeyRange keys, RowOp first,
                              RowOp last) {
  std::vector<RowStep> out;
  for (std::int64_t n = 0; n < program.num_steps && keys.size() > 1; ++n) {
    const RowStep& step = program.steps[n];
    if (step.op >= first && step.op <= last && position >= step.rows.begin && position < step.rows.end)
      out.push_back(step);
  }
  return out;
}

/// The value of the run that holds each key.
std::vector<double> value_of_keys(const RowStep& step, KeyRange keys, double otherwise) {
  std::vector<double> out(static_cast<std::size_t>(keys.size()), otherwise);
  for (std::int64_t j = keys.begin; j < keys.end; ++j)
    for (std::int64_t r = 0; r < step.num_runs; ++r)
      if (j >= step.runs[r].begin && j < step.runs[r].end)
        out[static_cast<std::size_t>(j - keys.begin)] = static_cast<double>(step.runs[r].value);
  return out;
}

std::vector<double> scales(const RowProgram& program, std::int64_t position, KeyRange keys, RowOp op) {
  std::vector<double> out(static_cast<std::size_t>(keys.size()), 1.0);
  for (const RowStep& step : steps_of(program, position, keys, op, op)) {
    const std::vector<double> factor = value_of_keys(step, keys, 1.0);
    for (std::size_t n = 0; n < out.size(); ++n) out[n] *= factor[n];
  }
  return out;
}

void change_groups(const RowStep& step, KeyRange keys, std::vector<double>& a) {
  const std::vector<double> group = value_of_keys(step, keys, 0.0);
  const double row = std::accumulate(a.begin(), a.end(), 0.0);
  const auto mass = [&](double g) {
    double sum = 0.0;
    for (std::size_t k = 0; k < a.size(); ++k) sum += group[k] == g ? a[k] / row : 0.0;
    return sum;
  };
  double c[4] = {1.0, 1.0, 1.0, 1.0};
  if (step.op == RowOp::weigh_groups) {
    for (int g = 0; g < 4; ++g) c[g] = static_cast<double>(step.constants[g]);
  } else if (step.op == RowOp::move_from_sinks) {
    const double m = mass(1.0), receivers = mass(0.0);
    if (m <= 0.0 || receivers < 1e-6) return;
    const double beta = std::min(static_cast<double>(step.constants[0]), (m + receivers) / m);
    c[1] = beta;
    c[0] = (receivers + (1.0 - beta) * m) / receivers;
  } else if (step.op == RowOp::set_masses) {
    double wanted = 0.0;
    for (int g = 0; g < 3; ++g) wanted += mass(g) >= 1e-6 ? static_cast<double>(step.constants[g]) : 0.0;
    if (!(wanted > 0.0)) return;
    const double u = static_cast<double>(step.constants[3]), free = 1.0 - mass(3);
    for (int g = 0; g < 3; ++g) {
      const double m = mass(g);
      if (m >= 1e-6) c[g] = 1.0 - u + u * free * static_cast<double>(step.constants[g]) / wanted / m;
    }
  } else {
    const double p = static_cast<double>(step.constants[0]), given = mass(1.0) + mass(2.0), targets = mass(3.0);
    const double image = mass(2.0) + targets;
    if (targets < 1e-6 || image < static_cast<double>(step.constants[1]) ||
        targets < static_cast<double>(step.constants[2]) * image)
      return;
    c[1] = c[2] = 1.0 - p;
    c[3] = (targets + p * given) / targets;
  }
  for (std::size_t k = 0; k < a.size(); ++k) a[k] *= c[static_cast<std::size_t>(group[k])];
}

void shift_gaze(const RowStep& step, KeyRange keys, std::vector<double>& a) {
  const std::vector<double> value = value_of_keys(step, keys, 0.0);
  const double row = std::accumulate(a.begin(), a.end(), 0.0);
  double seen = 0.0, weighted = 0.0;
  for (std::size_t k = 0; k < a.size(); ++k) {
    seen += value[k] > 0.0 ? a[k] : 0.0;
    weighted += value[k] > 0.0 ? value[k] * a[k] : 0.0;
  }
  if (seen < 1e-6 * row || weighted <= 0.0) return;
  for (std::size_t k = 0; k < a.size(); ++k) a[k] *= value[k] > 0.0 ? value[k] : value[k] < 0.0 ? weighted / seen : 1.0;
  const double sum = std::accumulate(a.begin(), a.end(), 0.0);
  for (double& weight : a) weight *= row / sum;
}

void swap_keys(const RowStep& step, KeyRange keys, std::vector<double>& a) {
  if (step.num_runs != 2) return;
  const std::int64_t p = step.runs[0].begin - keys.begin, q = step.runs[1].begin - keys.begin;
  const auto count = static_cast<std::int64_t>(a.size());
  if (p >= 0 && q >= 0 && p < count && q < count)
    std::swap(a[static_cast<std::size_t>(p)], a[static_cast<std::size_t>(q)]);
}

std::vector<double> replacement(const RowStep& step, std::int64_t position, KeyRange keys,
                                const std::vector<double>& a) {
  const double row = std::accumulate(a.begin(), a.end(), 0.0), top = *std::max_element(a.begin(), a.end());
  const RowRandom random(step.seed, position);
  std::vector<double> r(a.size(), row / static_cast<double>(a.size()));
  if (step.op == RowOp::mix_shuffled) {
    r = a;
    for (std::int64_t k = keys.size() - 1; k > 0; --k)
      std::swap(r[static_cast<std::size_t>(k)], r[static_cast<std::size_t>(random.below(k, k + 1))]);
    return r;
  }
  if (step.op == RowOp::mix_uniform) return r;
  if (step.op == RowOp::mix_reversed && static_cast<double>(a.size()) * top - row <= 1e-9 * row) return r;
  for (std::size_t k = 0; k < a.size(); ++k) {
    const std::int64_t j = keys.begin + static_cast<std::int64_t>(k);
    r[k] = step.op == RowOp::mix_reversed ? top - a[k]
           : step.op == RowOp::mix_random ? random.uniform(j)
                                          : (j == position ? 1.0 : 0.0);
  }
  const double sum = std::accumulate(r.begin(), r.end(), 0.0);
  for (double& value : r) value *= sum > 0.0 ? row / sum : 0.0;
  return r;
}

}  // namespace

std::vector<double> reference_key_scales(const RowProgram& program, std::int64_t position, KeyRange keys) {
  return scales(program, position, keys, RowOp::scale_keys);
}

std::vector<double> reference_value_scales(const RowProgram& program, std::int64_t position, KeyRange keys) {
  return scales(program, position, keys, RowOp::scale_values);
}

void reference_change_scores(const RowProgram& program, std::int64_t position, KeyRange keys,
                             std::vector<double>& scores) {
  for (const RowStep& step : steps_of(program, position, keys, RowOp::temperature, RowOp::temperature))
    for (double& s : scores) s *= static_cast<double>(step.constants[0]);
  for (const RowStep& step : steps_of(program, position, keys, RowOp::raise, RowOp::raise)) {
    const std::vector<double> value = value_of_keys(step, keys, 0.0);
    for (std::size_t k = 0; k < scores.size(); ++k) scores[k] += value[k] * std::abs(scores[k]);
  }
  std::vector<double> bias(scores.size(), 0.0);
  std::vector<bool> masked(scores.size(), false);
  for (const RowStep& step : steps_of(program, position, keys, RowOp::bias, RowOp::bias)) {
    const std::vector<double> value = value_of_keys(step, keys, 0.0);
    for (std::size_t k = 0; k < value.size(); ++k) {
      if (value[k] == kMaskedScore)
        masked[k] = true;
      else
        bias[k] += value[k];
    }
  }
  const bool keep_masks = std::find(masked.begin(), masked.end(), false) != masked.end();
  for (std::size_t k = 0; k < scores.size(); ++k)
    scores[k] = masked[k] && keep_masks ? kMaskedScore : scores[k] + bias[k];
}

void reference_change_weights(const RowProgram& program, std::int64_t position, KeyRange keys,
                              std::vector<double>& attn_j) {
  for (const RowStep& step : steps_of(program, position, keys, RowOp::weigh_groups, RowOp::mix_self)) {
    if (has_groups(step.op)) change_groups(step, keys, attn_j);
    if (step.op == RowOp::shift_gaze) shift_gaze(step, keys, attn_j);
    if (step.op == RowOp::swap_keys) swap_keys(step, keys, attn_j);
    if (step.op < RowOp::mix_uniform) continue;
    const double u = static_cast<double>(step.constants[0]);
    const std::vector<double> r = replacement(step, position, keys, attn_j);
    for (std::size_t k = 0; k < r.size(); ++k) attn_j[k] = (1.0 - u) * attn_j[k] + u * r[k];
  }
}

}  // namespace headlight::kernels
