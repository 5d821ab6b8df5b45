#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace headlight::analysis {

/// Register neurons of a vision transformer: MLP neurons that make the outlier tokens. Pure functions on arrays; the
/// activations of a model that takes images are not recorded by captures.
/// Source: Vision Transformers Don't Need Trained Registers.

/// Threshold between two groups of values by Otsu's method on ln(value): the split of a 256-bin histogram with the
/// largest variance between the groups. For norms of tokens; values <= 0 are left out.
double otsu_threshold(std::span<const double> values);

/// Tokens with a norm above the threshold, 1 = outlier. [tokens]
std::vector<std::uint8_t> outlier_tokens(std::span<const double> norm_t, double threshold = 30.0);

/// Mean of |activation| over outlier tokens, per neuron, averaged over the images that have outliers.
class RegisterScore {
 public:
  explicit RegisterScore(std::size_t num_neurons) : sum_(num_neurons, 0.0), sparse_(num_neurons, 0.0) {}
  /// @param act_tn  MLP activations after the non-linearity, [tokens][neurons];  @param outlier_t  [tokens]
  void add_image(std::span<const float> act_tn, std::span<const std::uint8_t> outlier_t);
  std::vector<double> score() const;  ///< [neurons], 0 when no image has outliers
  /// Share of tokens with an activation below 0.5, per neuron: register neurons are silent elsewhere.
  std::vector<double> sparsity() const;
  int num_images() const { return images_; }

 private:
  std::vector<double> sum_, sparse_;
  int images_ = 0;
  std::int64_t tokens_ = 0;
};

/// What the intervention writes: R register tokens get `scale` times the extreme value (with its sign) that any token
/// has, patches get 0. `per_neuron` false takes one extreme over all the neurons, as the released program does.
struct RegisterEdit {
  double scale = 1.0;
  bool per_neuron = true;
  enum class Patches { zero, mean, only_outliers, same } patches = Patches::zero;
};
/// @param act_tn  [tokens][neurons], only the neurons to edit; changed in place
/// @return values of the registers, [neurons]
std::vector<float> edit_registers(std::span<float> act_tn, std::size_t num_neurons, const RegisterEdit& edit = {});

}  // namespace headlight::analysis
