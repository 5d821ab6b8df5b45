#include "app/cli/role_inputs.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "core/engine/rope.h"
#include "core/formats/chat_template.h"
#include "core/formats/registry.h"
#include "kernels/dequantize.h"

namespace headlight::cli {
namespace {

using analysis::RoleInputs;
using analysis::TokenSpan;

constexpr std::uint64_t kLargestText = 16u << 20;

std::string shipped_text(const std::string& name) {
  return read_text_file(formats::data_folder() / name, kLargestText);
}

Json shipped_json(const std::string& name, std::string_view schema) {
  const std::string path = (formats::data_folder() / name).string();
  Json json = load_json(path);
  if (json_string(json, "schema") != schema)
    throw Error(Errc::bad_version, "expected the schema " + std::string(schema),
                {.file = path, .field = "schema", .offset = {}, .hint = {}});
  return json;
}

std::vector<analysis::TextNeedle> load_needles(const std::string& set) {
  const Json json = shipped_json("roles/needles.json", "headlight.needles/1");
  std::vector<analysis::TextNeedle> needles;
  for (const auto& entry : json.at(set))
    needles.push_back({json_string(entry, "id"), json_string(entry, "needle"), json_string(entry, "question"),
                       json_string(entry, "answer")});
  return needles;
}

analysis::TextCodec codec_of(const formats::Tokenizer& tokenizer) {
  return {.encode =
              [&tokenizer](std::string_view text) {
                std::vector<std::int32_t> ids;
                for (const auto& token :
                     tokenizer.encode(text, {.add_special = false, .parse_special = false, .literal = {}}).tokens)
                  ids.push_back(token.id);
                return ids;
              },
          .decode =
              [&tokenizer](std::span<const std::int32_t> ids) {
                std::vector<std::int32_t> known(ids.begin(), ids.end());
                std::erase_if(known, [&](std::int32_t id) { return id >= tokenizer.vocab_size(); });
                return tokenizer.decode(known, true);
              }};
}

analysis::TokenPool pool_of(const formats::Tokenizer& tokenizer, const analysis::TextCodec& codec) {
  analysis::TokenPool pool;
  if (tokenizer.adds_bos()) pool.bos = tokenizer.bos_id();
  for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    if (tokenizer.is_special(id)) continue;
    const std::string text = tokenizer.decode({id});
    if (!text.empty() && codec.encode(text) == std::vector<std::int32_t>{id}) pool.eligible.push_back(id);
  }
  return pool;
}

/// Vocabulary of a model that has no tokenizer: ids of config.json that are not the first or last token of a text.
void read_token_plan(const formats::ModelSpec& spec, RoleInputs& inputs) {
  const Json config = spec.file_format == "safetensors" ? parse_json(spec.config_json) : Json::object();
  const std::int64_t bos = json_integer_or(config, "bos_token_id", -1),
                     eos = json_integer_or(config, "eos_token_id", -1);
  if (bos >= 0 && bos < spec.vocab_size) inputs.pool.bos = static_cast<std::int32_t>(bos);
  for (std::int32_t id = 0; id < spec.vocab_size; ++id)
    if (id != bos && id != eos) inputs.pool.eligible.push_back(id);
  const Json* plan = json_find(config, "token_plan");
  if (plan == nullptr) return;
  const auto ids = [&](const char* key) { return plan->at(key).get<std::vector<std::int32_t>>(); };
  inputs.token_needle =
      analysis::TokenNeedle{.trigger = static_cast<std::int32_t>(json_integer(*plan, "trigger", "token_plan")),
                            .stop = static_cast<std::int32_t>(json_integer(*plan, "stop", "token_plan")),
                            .needle = ids("needle"),
                            .haystack = ids("filler")};
}

/// Tokens that lie wholly or partly in bytes [begin, end).
TokenSpan span_of(const std::vector<formats::Token>& tokens, std::size_t begin, std::size_t end) {
  TokenSpan span{-1, -1};
  for (std::int64_t i = 0; i < std::ssize(tokens); ++i) {
    const auto& token = tokens[static_cast<std::size_t>(i)];
    const bool inside = token.byte_begin >= 0 && token.byte_begin < static_cast<std::int64_t>(end) &&
                        token.byte_end > static_cast<std::int64_t>(begin);
    if (!inside) continue;
    if (span.begin < 0) span.begin = i;
    span.end = i + 1;
  }
  return span;
}

/// As a system message and a user message, or as plain lines where the model has no template that knows both.
analysis::InstructionPrompt instruction_prompt(const formats::ModelFile& model, const std::string& instruction,
                                               const std::string& data) {
  formats::RenderedChat chat;
  const bool chats = !formats::recognise_chat_template(model.chat_template).empty();
  if (chats) {
    const auto bos = model.tokenizer->bos_id();
    chat = formats::render_chat(model.chat_template, {{"system", instruction}, {"user", "Data: " + data}}, true,
                                bos ? model.tokenizer->piece(*bos) : "");
  } else {
    chat.text = instruction + "\nData: " + data + "\nAnswer:";
  }
  formats::EncodeOptions options{.add_special = !chats, .parse_special = true, .literal = {}};
  for (const auto& span : chat.spans)
    if (span.message >= 0) options.literal.emplace_back(span.begin, span.end);
  const auto tokens = model.tokenizer->encode(chat.text, options).tokens;
  const std::size_t first = chat.text.find(instruction), second = chat.text.find(data, first + instruction.size());
  analysis::InstructionPrompt prompt;
  for (const auto& token : tokens) prompt.ids.push_back(token.id);
  prompt.instruction = span_of(tokens, first, first + instruction.size());
  prompt.data = span_of(tokens, second, second + data.size());
  return prompt;
}

void add_texts(const formats::ModelFile& model, RoleInputs& inputs) {
  inputs.codec = codec_of(*model.tokenizer);
  inputs.pool = pool_of(*model.tokenizer, inputs.codec);
  inputs.needles = load_needles("scoring");
  inputs.haystack = shipped_text("roles/haystack.txt");
  inputs.documents = {{"prose", shipped_text("text/genesis.txt")}};
  inputs.domains = {{"prose", inputs.haystack},
                    {"scripture", inputs.documents.front().text},
                    {"code", shipped_text("roles/code.txt")},
                    {"maths", shipped_text("roles/maths.txt")}};
  inputs.traces = {shipped_text("roles/trace.txt"), shipped_text("roles/maths.txt")};
  const Json injection = shipped_json("roles/tracker.json", "headlight.injection/1");
  inputs.instruction = json_string(injection, "instruction");
  const Json names = shipped_json("roles/names.json", "headlight.names/1");
  inputs.names = names.at("names").get<std::vector<std::string>>();
  inputs.name_templates = names.at("templates").get<std::vector<std::string>>();
  inputs.data_sentences = injection.at("sentences").get<std::vector<std::string>>();
  inputs.injected_words = injection.at("words").get<std::vector<std::string>>();
  inputs.instruction_prompt = [&model](const std::string& instruction, const std::string& data) {
    return instruction_prompt(model, instruction, data);
  };
}

std::vector<analysis::RotaryFrequencies> rotary_of(const formats::ModelSpec& spec) {
  std::vector<analysis::RotaryFrequencies> layers(static_cast<std::size_t>(spec.num_layers));
  if (spec.rotary_dim == 0) return layers;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const bool slides = l < spec.is_sliding.size() && spec.is_sliding[l] != 0;
    const auto found =
        engine::rope_frequencies(slides ? spec.rope_sliding : spec.rope, spec.rotary_dim, spec.context_length, 1);
    layers[l].inv_freq.assign(found.inv_freq.begin(), found.inv_freq.end());
    layers[l].magnitude = found.magnitude;
  }
  return layers;
}

/// What the final norm takes from a state, and what it divides by.
struct NormFacts {
  double mean = 0, scale = 1;
};
NormFacts norm_facts(const formats::ModelSpec& spec, std::span<const float> x) {
  const auto d = static_cast<double>(x.size());
  double mean = 0, square = 0;
  if (spec.norm == formats::NormKind::layer)
    for (const double v : x) mean += v / d;
  for (const double v : x) square += (v - mean) * (v - mean) / d;
  return {mean, std::sqrt(square + spec.norm_eps)};
}

/// RMSNorm or LayerNorm with the model's weights, in double.
std::vector<double> final_norm(const formats::ModelFile& model, std::span<const float> x) {
  const auto d = static_cast<std::int64_t>(x.size());
  const auto weight = model.weights.vector("output_norm.weight", d),
             bias = model.weights.vector_or_empty("output_norm.bias", d);
  const auto [mean, scale] = norm_facts(model.spec, x);
  std::vector<double> out;
  for (std::size_t e = 0; e < x.size(); ++e)
    out.push_back((x[e] - mean) / scale * weight[e] + (bias.empty() ? 0.0 : bias[e]));
  return out;
}

/// Rows of a matrix in double, dequantised one at a time: visit(row, values).
template <class Visit>
void for_each_weight_row(const formats::WeightTensor& weight, std::int64_t begin, std::int64_t end, Visit visit) {
  std::vector<float> row(static_cast<std::size_t>(weight.cols));
  for (std::int64_t r = begin; r < end; ++r) {
    kernels::dequantize_row(weight.type, weight.slice(r, 1).data, row);
    visit(r, std::span<const float>(row));
  }
}

std::vector<double> logit_direction(const formats::ModelFile& model, std::int32_t target,
                                    std::span<const std::int32_t> foils) {
  const std::int64_t d = model.spec.hidden_size;
  const auto& unembedding = model.weights.get(model.spec.tied_embeddings ? "token_embd.weight" : "output.weight");
  const auto gain = model.weights.vector("output_norm.weight", d);
  std::vector<double> w(static_cast<std::size_t>(d), 0.0);
  const auto add = [&](std::int32_t id, double share) {
    for_each_weight_row(unembedding, id, id + 1, [&](std::int64_t, std::span<const float> row) {
      for (std::size_t e = 0; e < w.size(); ++e) w[e] += share * static_cast<double>(row[e]) * gain[e];
    });
  };
  add(target, 1.0);
  for (const std::int32_t foil : foils) add(foil, -1.0 / static_cast<double>(foils.size()));
  if (model.spec.norm == formats::NormKind::layer) {
    double mean = 0;
    for (const double v : w) mean += v / static_cast<double>(d);
    for (double& v : w) v -= mean;
  }
  return w;
}

std::vector<double> through_output(const formats::ModelFile& model, int layer, std::span<const double> direction_nd) {
  const std::int64_t d = model.spec.hidden_size, width = model.spec.num_heads * model.spec.head_dim;
  const auto& output = model.weights.get(fmt::format("blk.{}.attn_output.weight", layer), d, width);
  const std::size_t count = direction_nd.size() / static_cast<std::size_t>(d);
  std::vector<double> out(count * static_cast<std::size_t>(width), 0.0);
  for_each_weight_row(output, 0, d, [&](std::int64_t e, std::span<const float> row) {
    for (std::size_t n = 0; n < count; ++n) {
      const double w = direction_nd[n * static_cast<std::size_t>(d) + static_cast<std::size_t>(e)];
      double* out_k = out.data() + n * row.size();
      for (std::size_t k = 0; k < row.size(); ++k) out_k[k] += w * static_cast<double>(row[k]);
    }
  });
  return out;
}

std::optional<analysis::LogitReader> logit_reader(const formats::ModelFile& model) {
  if (model.spec.block != formats::BlockKind::pre_norm) return {};
  return analysis::LogitReader{
      .direction = [&model](std::int32_t target,
                            std::span<const std::int32_t> foils) { return logit_direction(model, target, foils); },
      .norm_scale = [&model](std::span<const float> x) { return norm_facts(model.spec, x).scale; },
      .through_output = [&model](int layer, std::span<const double> w) { return through_output(model, layer, w); }};
}

}  // namespace

analysis::RoleInputs make_role_inputs(const formats::ModelFile& model, std::uint64_t seed) {
  RoleInputs inputs;
  inputs.seed = seed;
  inputs.rotary_l = rotary_of(model.spec);
  inputs.final_norm = [&model](std::span<const float> x) { return final_norm(model, x); };
  inputs.logit_reader = logit_reader(model);
  if (model.tokenizer)
    add_texts(model, inputs);
  else
    read_token_plan(model.spec, inputs);
  return inputs;
}

std::vector<analysis::TextNeedle> load_ablation_needles() {
  return load_needles("ablation");
}

}  // namespace headlight::cli
