#include "analysis/sinks/sink_states.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "analysis/record_shape.h"
#include "analysis/sinks/visual_sinks.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

/// Cosines of the outputs of all layers to the state of token `to`, [L][N].
std::vector<double> cosines_to(const AnalysisInput& input, const RecordShape& shape, std::int64_t to,
                               const std::stop_token& stop) {
  const auto& model = input.capture.header().model;
  const auto width = static_cast<std::size_t>(model.hidden_size);
  std::vector<double> cosine;
  Buffer<float> x_td(static_cast<std::size_t>(shape.num_rows) * width);
  for (int m = 0; m < model.num_layers; ++m) {
    check_stop(stop);
    input.capture.read_states(input.record, m + 1, 0, shape.num_rows, x_td.data());
    const float* target = x_td.data() + static_cast<std::size_t>(to) * width;
    const auto dot = [&](const float* a, const float* b) {
      double sum = 0.0;
      for (std::size_t d = 0; d < width; ++d) sum += static_cast<double>(a[d]) * static_cast<double>(b[d]);
      return sum;
    };
    const double length = std::sqrt(dot(target, target));
    for (std::int64_t t = 0; t < shape.num_rows; ++t) {
      const float* x = x_td.data() + static_cast<std::size_t>(t) * width;
      const double product = length * std::sqrt(dot(x, x));
      cosine.push_back(product > 0 ? dot(x, target) / product : 0.0);
    }
  }
  return cosine;
}

}  // namespace

SinkStates sink_states(const AnalysisInput& input, int num_candidates, const SecondarySinkOptions& options,
                       const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const Buffer<float> norm = input.capture.hidden(input.record, "norm_l2");
  const std::vector<double> norm_mj(norm.begin() + shape.num_rows, norm.end());  // without the embeddings
  std::vector<std::int64_t> candidates;
  for (std::int64_t c = shape.first_key; c < std::min(shape.num_rows, shape.first_key + num_candidates); ++c)
    candidates.push_back(c);
  if (candidates.empty()) throw Error(Errc::invalid_argument, "the record holds no token");
  SinkStates states;
  states.primary = primary_sink(norm_mj, shape.num_rows, candidates);
  const bool has_states = input.capture.record(input.record).has_hidden_states;
  std::vector<double> cos_mj;
  if (states.primary != shape.first_key && has_states) {
    cos_mj = cosines_to(input, shape, states.primary, stop);
  } else {
    states.first_only = states.primary != shape.first_key;
    states.primary = shape.first_key;
    const Buffer<float> cosine = input.capture.hidden(input.record, "cos_first");
    cos_mj.assign(cosine.begin() + shape.num_rows, cosine.end());
  }
  for (auto at = static_cast<std::size_t>(states.primary); at < norm_mj.size();
       at += static_cast<std::size_t>(shape.num_rows))
    states.norm_m.push_back(norm_mj[at]);
  states.sinks = secondary_sinks(states.norm_m, cos_mj, shape.num_rows, states.primary, options);
  return states;
}

std::vector<double> SinkChannels::largest() const {
  std::vector<double> values;
  for (const auto& [phi, layers] : token_t) values.push_back(phi);
  return values;
}

SinkChannels sink_channels(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const auto& model = input.capture.header().model;
  SinkChannels found;
  found.tau = params["tau"].get<double>() > 0 ? params["tau"].get<double>() : default_tau(model.hidden_size);
  for (const Json& channel : params["channels"]) {
    if (channel.get<std::int64_t>() >= model.hidden_size)
      throw Error(Errc::invalid_argument, fmt::format("channel {} is not below the hidden size {}",
                                                      channel.get<std::int64_t>(), model.hidden_size));
    found.channels.push_back(channel.get<int>());
  }
  Buffer<float> x_td(static_cast<std::size_t>((shape.num_rows - shape.first_key) * model.hidden_size));
  const auto read = [&](int layer) {
    check_stop(stop);
    input.capture.read_states(input.record, layer, shape.first_key, shape.num_rows, x_td.data());
  };
  if (found.channels.empty()) {  // over the middle 80 % of the depth
    std::vector<double> strength_lc;
    for (int layer = model.num_layers / 10; layer < model.num_layers - model.num_layers / 10; ++layer) {
      read(layer);
      const auto strength = channel_strength(x_td, model.hidden_size);
      strength_lc.insert(strength_lc.end(), strength.begin(), strength.end());
    }
    found.channels = find_sink_channels(strength_lc, model.hidden_size);
  }
  const auto tokens = static_cast<std::size_t>(shape.num_rows);
  found.token_t.assign(tokens, {0.0, 0});
  found.first_layer_t.assign(tokens, -1);
  found.last_layer_t.assign(tokens, -1);
  for (int layer = 2; layer < model.num_layers && !found.channels.empty(); ++layer) {
    read(layer);
    const auto phi = sink_dimension_strength(x_td, model.hidden_size, found.channels);
    for (std::size_t n = 0; n < phi.size(); ++n) {
      const std::size_t t = n + static_cast<std::size_t>(shape.first_key);
      auto& [largest, layers] = found.token_t[t];
      largest = std::max(largest, phi[n]);
      if (!(phi[n] > found.tau)) continue;
      if (layers++ == 0) found.first_layer_t[t] = layer;
      found.last_layer_t[t] = layer;
    }
  }
  return found;
}

}  // namespace headlight::analysis
