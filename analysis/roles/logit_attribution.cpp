#include "analysis/roles/logit_attribution.h"

#include <algorithm>
#include <cmath>

#include "analysis/roles/head_samples.h"
#include "base/error.h"

namespace headlight::analysis {

std::vector<double> logit_attribution(const capture::CaptureView& view, std::int64_t record, const LogitReader& reader,
                                      std::span<const double> direction_d, double scale,
                                      std::span<const std::vector<float>> attn_hj) {
  const capture::ModelInfo& model = view.header().model;
  const auto dim = static_cast<std::size_t>(model.head_dim), heads = static_cast<std::size_t>(model.num_heads);
  std::vector<double> found;
  for (int l = 0; l < model.num_layers; ++l) {
    const std::vector<double> read_hd = reader.through_output(l, direction_d);
    std::vector<float> v_jd;
    int opened = -1;
    for (std::size_t h = 0; h < heads; ++h) {
      const std::vector<float>& attn_j = attn_hj[static_cast<std::size_t>(l) * heads + h];
      const auto kv_head = static_cast<int>(h) * model.num_kv_heads / model.num_heads;
      v_jd.resize(attn_j.size() * dim);
      if (kv_head != opened) view.read_v(record, l, kv_head, 0, std::ssize(attn_j), v_jd.data());
      opened = kv_head;
      double sum = 0;
      for (std::size_t j = 0; j < attn_j.size(); ++j) {
        double dot = 0;
        for (std::size_t k = 0; k < dim; ++k) dot += read_hd[h * dim + k] * static_cast<double>(v_jd[j * dim + k]);
        sum += static_cast<double>(attn_j[j]) * dot;
      }
      found.push_back(sum / scale);
    }
  }
  return found;
}

std::size_t rank_of(std::span<const double> values, std::size_t index) {
  std::size_t rank = 0;
  for (std::size_t k = 0; k < values.size(); ++k)
    rank += values[k] > values[index] || (values[k] == values[index] && k < index);
  return rank;
}

std::vector<double> name_movers(std::span<const double> attribution_h, std::span<const double> at_answer_h,
                                std::span<const double> copy_h, const NameMoverOptions& options) {
  HEADLIGHT_CHECK(attribution_h.size() == at_answer_h.size() && attribution_h.size() == copy_h.size());
  std::vector<double> is_mover(attribution_h.size(), 0.0);
  auto order = ranking(attribution_h);
  const auto kept = std::max(1LL, std::llround(options.top_share * static_cast<double>(attribution_h.size())));
  order.resize(std::min(order.size(), static_cast<std::size_t>(kept)));
  for (const std::size_t h : order)
    is_mover[h] = attribution_h[h] > 0 && copy_h[h] >= options.copies && at_answer_h[h] >= options.at_answer ? 1 : 0;
  return is_mover;
}

}  // namespace headlight::analysis
