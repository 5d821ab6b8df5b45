#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/intervention/intervention.h"

namespace headlight::intervention {

/// Decoding against branches: the same tokens run once with the stack of the file and once with the stack of each of B
/// branches, and the logits are combined at every step,
///
///     l' = (1 + B gamma) l - gamma (l_1 + ... + l_B),    l' = -inf where l < ln(cutoff) + max l
///
/// B = 2 with uniform attention on image and text is CausalMM, B = 1 with a blurred image soft-image guidance, with
/// perturbed heads SoftPAG guidance (w = gamma), without the image PAI guidance (its gamma is gamma + 1).
/// Source: "Contrastive Decoding: Open-ended Text Generation as Optimization"; "Mitigating Modality Prior-Induced
/// Hallucinations in Multimodal Large Language Models via Deciphering Attention Causality"
struct Contrast {
  struct Branch {
    std::string id;
    Stack interventions;
  };
  std::vector<Branch> branches;
  double gamma = 0.5;   ///< [0, 10]; 0 = only the cut
  double cutoff = 0.1;  ///< [0, 1]; 0 = no cut. The likeliest token of l is never cut
};

/// @param logits  l [V], becomes l'; @param branches  l_b [V] each
void combine_logits(const Contrast& contrast, std::span<float> logits, std::span<const std::vector<float>> branches);

}  // namespace headlight::intervention
