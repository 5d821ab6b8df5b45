// Methods outside attention: embeddings, the residual stream, and what blocks and hidden units add to it.

#include <fmt/format.h>

#include "core/intervention/method.h"

namespace headlight::intervention {
namespace {

/// Blocks have no heads: the value of the layer.
HeadId layer_of(int layer) {
  return {layer, 0};
}

void refuse_heads(const Resolved& in) {
  const Scope& scope = in.source().scope;
  if (!scope.heads.empty() || !scope.heads_expression.empty())
    in.refuse("scope.heads", fmt::format("'{}' acts on whole layers: name layers", in.method().id));
}

/// x'_j = (1 - mix) x_j + mix mean over the spans
void compile_blur(const Resolved& in, Builder& builder) {
  refuse_heads(in);
  builder.add(EmbeddingStep{in.spans(), static_cast<float>(in.number("mix", in.heads().front()))});
}

/// x' = x + alpha v
void compile_residual(const Resolved& in, Builder& builder) {
  refuse_heads(in);
  for (const int layer : in.changed_layers())
    builder.layer(layer).residuals.push_back(
        {in.rows(), static_cast<float>(in.number("alpha", layer_of(layer))), builder.keep(in.layer_values(layer))});
}

/// y' = scale y
void compile_block(const Resolved& in, Builder& builder) {
  refuse_heads(in);
  const auto block = in.text("block") == "attention" ? BlockStep::Block::attention : BlockStep::Block::feed_forward;
  for (const int layer : in.changed_layers())
    builder.layer(layer).blocks.push_back({block, in.rows(), static_cast<float>(in.number("scale", layer_of(layer)))});
}

/// h'_n = scale h_n
void compile_neurons(const Resolved& in, Builder& builder) {
  refuse_heads(in);
  const auto& neurons = in.source().inputs.neurons;
  if (neurons.empty()) in.refuse("inputs.neurons", "'neuron-scale' needs numbers of hidden units");
  if (in.shape().intermediate_size == 0)
    in.refuse("method", "hidden units of a mixture of experts cannot be named in this version");
  for (const int neuron : neurons)
    if (neuron >= in.shape().intermediate_size)
      in.refuse("inputs.neurons",
                fmt::format("unit {} does not exist, a layer has {}", neuron, in.shape().intermediate_size));
  for (const int layer : in.changed_layers())
    builder.layer(layer).neurons.push_back(
        {in.rows(), neurons, static_cast<float>(in.number("scale", layer_of(layer)))});
}

}  // namespace

std::vector<Method> block_methods() {
  return {
      {.id = "embedding-blur",
       .title = "Blurred input",
       .formula = "embeddings of the spans: x'_j = (1 - mix) x_j + mix * mean of x over the spans",
       .source =
           "Looking Beyond Text: Reducing Language bias in Large Vision-Language Models via Multimodal Dual-Attention "
           "and Soft-Image Guidance",
       .hook = "input",
       .parameters = {number_parameter("mix", 1.0, 0.0, 1.0, 0.0, "1: the spans say nothing but their mean.")},
       .compile = compile_blur},
      {.id = "residual-steering",
       .title = "Steering vectors of the residual stream",
       .formula = "x' = x + alpha v for rows entering a layer, v from inputs.layer_values",
       .source = "Steering Language Models With Activation Engineering",
       .hook = "residual",
       .parameters = {number_parameter("alpha", 1.0, -20.0, 20.0, 0.0, "Multiple of the vector that is added.")},
       .compile = compile_residual},
      {.id = "block-scale",
       .title = "Scaling of whole blocks",
       .formula = "y' = scale * y, y = what the block adds to the residual stream",
       .source = "",
       .hook = "block output",
       .parameters = {choice_parameter("block", {"attention", "feed_forward"}, "Which block of the layer."),
                      number_parameter("scale", 1.0, -1.0, 3.0, 1.0, "Factor; 0 removes the block.")},
       .compile = compile_block},
      {.id = "neuron-scale",
       .title = "Scaling of hidden units",
       .formula = "h'_n = scale * h_n after the activation, for inputs.neurons",
       .source = "Knowledge Neurons in Pretrained Transformers",
       .hook = "hidden unit",
       .parameters = {number_parameter("scale", 1.0, -4.0, 4.0, 1.0, "Factor; 0 suppresses the units.")},
       .compile = compile_neurons},
  };
}

}  // namespace headlight::intervention
