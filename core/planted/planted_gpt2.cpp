#include <cmath>

#include <fmt/format.h>

#include "core/planted/planted_matrix.h"

namespace headlight::planted {
namespace {

namespace gpt2 {

constexpr int kLayers = 2, kHeads = 8, kHeadDim = 40, kWidth = kHeads * kHeadDim, kHalf = kWidth / 2;
constexpr int kVocab = 32, kPositions = 2048, kFeedForward = 16, kFrequencies = 8;
// Residual dimensions of the first half; dimension i + kHalf is the negative of i, so that LayerNorm finds a mean of 0.
constexpr int kToken = 0, kPrevious = 32, kCopied = 64, kConstant = 96, kPosition = 97;
constexpr int kFirstTokenSlot = 32;  // of keys that hold tokens: 1 at the first token

/// As planted_model(): theta_f of rotary pairs 0..7 there.
double frequency(int f) {
  return std::pow(1e10, -f / 64.0);
}

/// What LayerNorm makes of a unit entry: |u|^2 = 10 before layer 0 (token, constant, position), 11 after.
double norm_scale(int layer) {
  return std::sqrt(kHalf / (layer == 0 ? 10.0 : 11.0));
}

void add_pair(Matrix& weights, int row, int col, double value) {
  weights.add(row, col, value);
  weights.add(row, col + kHalf, -value);
}

/// What the keys of a head hold.
enum class Key { nothing, position, token, previous };

/// One head of c_attn, [in][q | k | v]; strengths are scores before the softmax.
class Head {
 public:
  Head(Matrix& weights, int layer, int head, Key key)
      : weights_(weights), query_(head * kHeadDim), unit_(1.0 / norm_scale(layer)) {
    const int first = kWidth + query_;
    if (key == Key::position)
      for (int k = 0; k < 2 * kFrequencies; ++k) weights.add(kPosition + k, first + k, unit_);
    if (key != Key::token && key != Key::previous) return;
    for (int v = 0; v < kVocab; ++v) weights.add((key == Key::token ? kToken : kPrevious) + v, first + v, unit_);
    weights.add(kToken + TokenPlan{}.bos, first + kFirstTokenSlot, unit_);
  }
  /// strength * sum_f cos(theta_f (i - j - offset))
  Head& position(double strength, int offset) {
    for (int f = 0; f < kFrequencies; ++f) {
      const int cosine = kPosition + f, sine = kPosition + kFrequencies + f;
      const double c = strength * std::cos(frequency(f) * offset), s = strength * std::sin(frequency(f) * offset);
      ask(cosine, f, c);
      ask(sine, f, s);
      ask(sine, kFrequencies + f, c);
      ask(cosine, kFrequencies + f, -s);
    }
    return *this;
  }
  Head& first_token(double strength) { return ask(kConstant, kFirstTokenSlot, strength); }
  Head& token(double strength, int v) { return ask(kConstant, v, strength); }
  /// Where the key's code is the query's token.
  Head& match(double strength) {
    for (int v = 0; v < kVocab; ++v) ask(kToken + v, v, strength);
    return *this;
  }

 private:
  Head& ask(int from, int slot, double strength) {
    weights_.add(from, query_ + slot, strength * unit_ * std::sqrt(double{kHeadDim}));
    return *this;
  }

  Matrix& weights_;
  int query_;
  double unit_;
};

Matrix attention(int layer) {
  Matrix weights(kWidth, 3 * kWidth);
  const auto head = [&](int h, Key key) { return Head(weights, layer, h, key); };
  if (layer == 0) {
    head(0, Key::position).position(40, 1);
    head(1, Key::position).position(40, 0);
    head(2, Key::token).first_token(30);
    head(3, Key::token).match(30);
    head(4, Key::position).position(2, 0);
    head(5, Key::position).position(40, 2);
    Head semantic = head(7, Key::token).first_token(15);
    for (const int v : TokenPlan{}.needle) semantic.token(30, v);
  } else {
    head(0, Key::previous).match(30).first_token(15);
    for (const int h : {1, 2, 5, 7}) head(h, Key::token).first_token(30);
    head(3, Key::position).position(40, 1);
    head(4, Key::position).position(40, 0);
  }
  for (int v = layer; v < kVocab; ++v) weights.add(kToken + v, 2 * kWidth + v, 1.0 / norm_scale(layer));
  return weights;
}

Matrix output(int layer) {
  Matrix weights(kWidth, kWidth);
  for (int v = 0; v < kVocab; ++v) add_pair(weights, v, (layer == 0 ? kPrevious : kCopied) + v, 1.0);
  return weights;
}

Json config() {
  const TokenPlan plan;
  return {{"model_type", "gpt2"},
          {"architectures", {"GPT2LMHeadModel"}},
          {"vocab_size", kVocab},
          {"n_embd", kWidth},
          {"n_inner", kFeedForward},
          {"n_layer", kLayers},
          {"n_head", kHeads},
          {"n_positions", kPositions},
          {"layer_norm_epsilon", 1e-6},
          {"activation_function", "gelu_new"},
          {"tie_word_embeddings", false},
          {"torch_dtype", "float32"},
          {"bos_token_id", plan.bos},
          {"eos_token_id", plan.stop},
          {"token_plan", token_plan_json()}};
}

}  // namespace gpt2

}  // namespace

PlantedModel planted_gpt2_model() {
  using namespace gpt2;
  PlantedModel model{config(), {}};
  const auto add = [&](const std::string& name, Matrix matrix) {
    model.tensors.push_back(std::move(matrix).tensor(name));
  };
  const auto constant = [&](const std::string& name, int size, float value) {
    model.tensors.push_back(constant_tensor(name, size, value));
  };
  const auto norm = [&](const std::string& name) {
    constant(name + ".weight", kWidth, 1.0f);
    constant(name + ".bias", kWidth, 0.0f);
  };
  Matrix tokens(kVocab, kWidth), positions(kPositions, kWidth), head(kVocab, kWidth);
  for (int v = 0; v < kVocab; ++v) {
    add_pair(tokens, v, kToken + v, 1.0);
    add_pair(tokens, v, kConstant, 1.0);
    head.add(v, kCopied + v, 10.0);
  }
  for (int p = 0; p < kPositions; ++p)
    for (int f = 0; f < kFrequencies; ++f) {
      add_pair(positions, p, kPosition + f, std::cos(frequency(f) * p));
      add_pair(positions, p, kPosition + kFrequencies + f, std::sin(frequency(f) * p));
    }
  add("transformer.wte.weight", std::move(tokens));
  add("transformer.wpe.weight", std::move(positions));
  for (int l = 0; l < kLayers; ++l) {
    const std::string layer = fmt::format("transformer.h.{}.", l);
    norm(layer + "ln_1");
    add(layer + "attn.c_attn.weight", attention(l));
    constant(layer + "attn.c_attn.bias", 3 * kWidth, 0.0f);
    add(layer + "attn.c_proj.weight", output(l));
    constant(layer + "attn.c_proj.bias", kWidth, 0.0f);
    norm(layer + "ln_2");
    add(layer + "mlp.c_fc.weight", Matrix(kWidth, kFeedForward));
    constant(layer + "mlp.c_fc.bias", kFeedForward, 0.0f);
    add(layer + "mlp.c_proj.weight", Matrix(kFeedForward, kWidth));
    constant(layer + "mlp.c_proj.bias", kWidth, 0.0f);
  }
  norm("transformer.ln_f");
  add("lm_head.weight", std::move(head));
  return model;
}

}  // namespace headlight::planted
