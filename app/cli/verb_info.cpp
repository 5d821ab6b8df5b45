#include <array>
#include <cstring>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/cli/capture_input.h"
#include "app/cli/intervention_input.h"
#include "app/cli/model_input.h"
#include "app/cli/ranges.h"
#include "base/error.h"
#include "base/file.h"
#include "core/capture/statistics.h"
#include "core/capture_hdf5/capture_file.h"

namespace headlight::cli {
namespace {

struct InfoOptions {
  std::string path;
  bool methods = false;
};

/// Rows of "name: value" in the order they are printed; the same object goes to --json.
std::string listing(const Json& json, int indent = 0) {
  std::string text;
  for (const auto& [key, value] : json.items()) {
    if (value.is_object()) {
      text += std::string(static_cast<std::size_t>(indent), ' ') + key + ":\n" + listing(value, indent + 2);
      continue;
    }
    if (value.is_null()) continue;
    text += fmt::format("{}{:<{}} {}\n", std::string(static_cast<std::size_t>(indent), ' '), key + ":", 22 - indent,
                        value.is_string() ? value.get<std::string>() : value.dump());
  }
  return text;
}

std::string rope_text(const formats::RopeSpec& rope) {
  constexpr const char* names[] = {"none", "linear", "dynamic", "llama3", "yarn", "longrope", "factors"};
  const auto kind = static_cast<std::size_t>(rope.scaling.kind);
  return kind == 0 ? fmt::format("theta {:g}", rope.theta)
                   : fmt::format("theta {:g}, {} scaling (factor {:g})", rope.theta, names[kind], rope.scaling.factor);
}

Json model_info(const formats::ModelFile& model) {
  const auto& spec = model.spec;
  Json json;
  json["kind"] = "model";
  json["name"] = spec.name;
  json["architecture"] = spec.architecture;
  json["format"] = spec.file_format;
  json["quantization"] = spec.quantization;
  json["parameters"] = spec.num_parameters;
  json["layers"] = spec.num_layers;
  json["query_heads"] = spec.num_heads;
  json["kv_heads"] = spec.num_kv_heads;
  json["head_dim"] = spec.head_dim;
  json["hidden_size"] = spec.hidden_size;
  json["intermediate_size"] = spec.intermediate_size;
  json["vocab_size"] = spec.vocab_size;
  json["context_length"] = spec.context_length;
  json["rope"] = spec.rotary_dim > 0 ? rope_text(spec.rope) : "none (learned positions)";
  if (spec.sliding_window > 0) {
    std::vector<int> full;
    for (int l = 0; l < spec.num_layers; ++l)
      if (spec.is_sliding[static_cast<std::size_t>(l)] == 0) full.push_back(l);
    json["sliding_window"] = spec.sliding_window;
    json["full_layers"] = full.empty() ? "none" : compact_list(full);
  }
  if (spec.attention_soft_cap > 0) json["attention_soft_cap"] = spec.attention_soft_cap;
  if (spec.learned_sinks) json["learned_sinks"] = true;
  if (spec.moe.num_experts > 0)
    json["experts"] = fmt::format("{} of {}", spec.moe.experts_per_token, spec.moe.num_experts);
  json["tied_embeddings"] = spec.tied_embeddings;
  json["tokenizer"] = model.tokenizer ? model.tokenizer->description() : "none";
  if (model.tokenizer) json["adds_bos"] = model.tokenizer->adds_bos();
  json["chat_template"] = !model.chat_template.empty();
  std::int64_t bytes = 0;
  for (const auto& stamp : model.stamps) bytes += static_cast<std::int64_t>(stamp.size);
  json["file_bytes"] = bytes;
  return json;
}

Json capture_info(const capture::CaptureView& view) {
  constexpr const char* states[] = {"being written", "sealed", "partial"};
  const auto& header = view.header();
  const auto record = view.record(0);
  Json json;
  json["kind"] = "capture";
  json["uuid"] = view.uuid();
  json["state"] = states[static_cast<std::size_t>(view.complete())];
  json["level"] = capture::to_string(header.plan.level);
  json["model"] = {{"name", header.model.name},
                   {"architecture", header.model.architecture},
                   {"quantization", header.model.quantization},
                   {"layers", header.model.num_layers},
                   {"query_heads", header.model.num_heads},
                   {"kv_heads", header.model.num_kv_heads},
                   {"head_dim", header.model.head_dim}};
  json["recorded_layers"] = compact_list(header.plan.layers);
  json["records"] = view.num_records();
  json["rows"] = record.num_rows;
  json["prompt_tokens"] = record.header.num_prompt_tokens;
  json["generated_tokens"] = record.num_generated;
  json["bos_present"] = record.header.bos_present;
  if (record.has_replay)
    json["replay"] = fmt::format("{} q, k{}, rows {}:{}", to_string(record.replay_dtype),
                                 record.has_values ? ", v" : "", record.replay_row_begin, record.replay_row_end);
  std::string statistics;
  for (const auto& id : view.available_statistics(0)) statistics += (statistics.empty() ? "" : " ") + id;
  json["statistics"] = statistics;
  json["overview"] = record.has_overview;
  json["dense_maps"] = record.has_dense;
  json["hidden_states"] = record.has_hidden_states;
  if (!record.header.interventions.empty()) {
    json["interventions"] =
        intervention_info(parse_json(record.header.interventions, {.max_bytes = 256u << 20}), view.name());
    json["interventions"].erase("kind");
  }
  json["run"] = {{"started", header.provenance.started},
                 {"version", header.provenance.tool_version},
                 {"device", header.provenance.device_name},
                 {"cpu", header.provenance.cpu},
                 {"tier", header.provenance.cpu_tier},
                 {"threads", header.provenance.threads},
                 {"compute", header.provenance.compute_dtype},
                 {"kv", header.provenance.kv_dtype},
                 {"activations", header.provenance.activation_quant},
                 {"seed", header.provenance.seed},
                 {"command", header.provenance.command_line}};
  return json;
}

bool is_hdf5(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return false;
  const InputFile file(path);
  std::array<std::byte, 8> head{};
  if (file.size() < head.size()) return false;
  file.read_at(0, head);
  return std::memcmp(head.data(), "\x89HDF\r\n\x1a\n", head.size()) == 0;
}

Json document_info(const std::string& path) {
  const Json json = load_json(path, {.max_bytes = 256u << 20, .max_depth = 64});
  const std::string schema = json_string_or(json, "schema", "");
  if (!schema.starts_with("headlight."))
    throw Error(Errc::bad_format, "expected a Headlight document with a \"schema\" such as headlight.headplan/1",
                {.file = path, .field = "schema", .offset = {}, .hint = {}});
  if (schema.starts_with("headlight.intervention/")) return intervention_info(json, path);
  Json result;
  result["kind"] = schema.substr(10, schema.find('/') - 10);
  result["schema"] = schema;
  for (const auto& [key, value] : json.items())
    if (value.is_primitive() && key != "schema") result[key] = value;
  return result;
}

void list_methods(Invocation& invocation) {
  const Json list = method_list();
  if (invocation.json) return print_json(invocation, {}, list);
  std::string text;
  for (const Json& method : list) {
    const std::string source = method["source"].get<std::string>();
    text += fmt::format("{}: {}\n  {}\n", method["id"].get<std::string>(), method["title"].get<std::string>(),
                        method["formula"].get<std::string>());
    for (const Json& parameter : method["parameters"]) {
      std::string range = parameter.contains("min") ? fmt::format("{:g} to {:g}", parameter["min"].get<double>(),
                                                                  parameter["max"].get<double>())
                                                    : "";
      for (const Json& choice : parameter.value("choices", Json::array()))
        range += (range.empty() ? "" : ", ") + choice.get<std::string>();
      if (parameter.contains("identity")) range += "; off at " + dump_json(parameter["identity"], -1);
      text += fmt::format("  {:<18} {:<8} {} ({})\n", parameter["name"].get<std::string>(),
                          dump_json(parameter["default"], -1), parameter["doc"].get<std::string>(), range);
    }
    if (!source.empty()) text += fmt::format("  {}\n", source);
  }
  print_text(text);
}

void info(Invocation& invocation, const InfoOptions& options) {
  if (options.methods) return list_methods(invocation);
  if (options.path.empty())
    throw Error(Errc::invalid_argument, "expected a FILE, or --methods",
                {.file = {}, .field = {}, .offset = {}, .hint = "see: headlight info --help"});
  Json json;
  std::error_code ignored;
  const bool is_file = std::filesystem::is_regular_file(options.path, ignored);
  if (is_file && is_hdf5(options.path))
    json = capture_info(*capture::open_capture(options.path, {.allow_incomplete = true, .check_manifest = false}));
  else if (is_file && options.path.ends_with(".h5"))
    json = capture_info(*capture::open_capture(options.path));
  else if (is_file && options.path.ends_with(".json"))
    json = document_info(options.path);
  else {
    ModelOptions model;
    model.model = options.path;
    json = model_info(open_model_file(model, false));
  }
  if (invocation.json)
    print_json(invocation, {options.path}, json);
  else
    print_text(listing(json));
}

}  // namespace

Verb info_verb() {
  return {.name = "info",
          .summary = "What a model, capture, intervention or headplan file holds",
          .examples = {"headlight info smollm2-135m", "headlight info capture.h5 --json", "headlight info --methods"},
          .reads_capture = true,
          .define = [](CLI::App& app) -> Action {
            auto options = std::make_shared<InfoOptions>();
            app.add_option("FILE", options->path, "Model (file, folder or registry name), capture or JSON document");
            app.add_flag("--methods", options->methods, "List the methods of interventions with their parameters");
            return [=](Invocation& invocation) { info(invocation, *options); };
          }};
}

}  // namespace headlight::cli
