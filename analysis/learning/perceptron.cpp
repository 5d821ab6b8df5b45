#include <algorithm>
#include <cmath>

#include "analysis/learning/classifiers.h"
#include "analysis/learning/random.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

// Adam for one array of parameters.
class Adam {
 public:
  Adam(std::vector<double>& values, double rate)
      : values_(values), rate_(rate), gradient_(values.size()), mean_(values.size()), square_(values.size()) {}

  std::vector<double>& gradient() { return gradient_; }

  void step() {
    ++steps_;
    const double mean_bias = 1.0 - std::pow(0.9, steps_), square_bias = 1.0 - std::pow(0.999, steps_);
    for (std::size_t i = 0; i < values_.size(); ++i) {
      mean_[i] = 0.9 * mean_[i] + 0.1 * gradient_[i];
      square_[i] = 0.999 * square_[i] + 0.001 * gradient_[i] * gradient_[i];
      values_[i] -= rate_ * (mean_[i] / mean_bias) / (std::sqrt(square_[i] / square_bias) + 1e-8);
      gradient_[i] = 0.0;
    }
  }

 private:
  std::vector<double>& values_;
  double rate_;
  int steps_ = 0;
  std::vector<double> gradient_, mean_, square_;
};

// Uniform in +-1/sqrt(inputs).
std::vector<double> initial(std::int64_t count, std::int64_t inputs, Random& random) {
  std::vector<double> values(count);
  const double bound = 1.0 / std::sqrt(static_cast<double>(inputs));
  for (double& value : values) value = bound * (2.0 * random.uniform() - 1.0);
  return values;
}

std::vector<double> hidden_of(const Perceptron& net, std::span<const double> x_f) {
  std::vector<double> hidden_i(net.bias_i);
  for (int i = 0; i < net.hidden; ++i) {
    const double* weight_f = net.weight_if.data() + i * net.num_features;
    for (std::int64_t f = 0; f < net.num_features; ++f) hidden_i[i] += weight_f[f] * x_f[f];
    hidden_i[i] = std::max(hidden_i[i], 0.0);
  }
  return hidden_i;
}

double probability_of(const Perceptron& net, const std::vector<double>& hidden_i) {
  double gap = net.bias_c[1] - net.bias_c[0];
  for (int i = 0; i < net.hidden; ++i) gap += (net.weight_ci[net.hidden + i] - net.weight_ci[i]) * hidden_i[i];
  return 1.0 / (1.0 + std::exp(-gap));
}

struct Trainer {
  Perceptron& net;
  Adam weight_if, bias_i, weight_ci, bias_c;

  Trainer(Perceptron& target, double rate)
      : net(target),
        weight_if(net.weight_if, rate),
        bias_i(net.bias_i, rate),
        weight_ci(net.weight_ci, rate),
        bias_c(net.bias_c, rate) {}

  void add_example(std::span<const double> x_f, int label, double share) {
    const auto hidden_i = hidden_of(net, x_f);
    const double slope = share * (probability_of(net, hidden_i) - label);  // of class 1; class 0 has the opposite
    bias_c.gradient()[0] -= slope;
    bias_c.gradient()[1] += slope;
    for (int i = 0; i < net.hidden; ++i) {
      weight_ci.gradient()[i] -= slope * hidden_i[i];
      weight_ci.gradient()[net.hidden + i] += slope * hidden_i[i];
      if (hidden_i[i] <= 0.0) continue;
      const double back = slope * (net.weight_ci[net.hidden + i] - net.weight_ci[i]);
      bias_i.gradient()[i] += back;
      double* gradient_f = weight_if.gradient().data() + i * net.num_features;
      for (std::int64_t f = 0; f < net.num_features; ++f) gradient_f[f] += back * x_f[f];
    }
  }

  void step() {
    for (Adam* part : {&weight_if, &bias_i, &weight_ci, &bias_c}) part->step();
  }
};

}  // namespace

double Perceptron::probability(std::span<const double> x_f) const {
  HEADLIGHT_CHECK(std::ssize(x_f) == num_features);
  return probability_of(*this, hidden_of(*this, x_f));
}

Perceptron fit_perceptron(const Samples& samples, const PerceptronOptions& options, std::stop_token stop) {
  std::vector<std::int64_t> members[2];
  for (std::int64_t s = 0; s < samples.size(); ++s) members[samples.label_s[s] == 1].push_back(s);
  if (members[0].empty() || members[1].empty())
    throw Error(Errc::invalid_argument, "the classifier needs examples of both classes");
  Random random(options.seed);
  Perceptron net;
  net.num_features = samples.num_features;
  net.hidden = options.hidden;
  net.weight_if = initial(net.hidden * net.num_features, net.num_features, random);
  net.bias_i = initial(net.hidden, net.num_features, random);
  net.weight_ci = initial(2 * net.hidden, net.hidden, random);
  net.bias_c = initial(2, net.hidden, random);
  Trainer trainer(net, options.learning_rate);
  for (int epoch = 0; epoch < options.epochs; ++epoch)
    for (std::int64_t done = 0; done < samples.size();) {
      if (stop.stop_requested()) throw Error(Errc::cancelled, "stopped");
      const auto batch = std::min<std::int64_t>(options.batch, samples.size() - done);
      for (std::int64_t n = 0; n < batch; ++n) {
        const auto& from = members[random.below(2)];
        const std::int64_t s = from[random.below(std::ssize(from))];
        trainer.add_example(samples.row(s), samples.label_s[s] == 1, 1.0 / static_cast<double>(batch));
      }
      trainer.step();
      done += batch;
    }
  return net;
}

}  // namespace headlight::analysis
