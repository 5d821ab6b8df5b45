#include "app/cli/model_input.h"

#include <charconv>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "kernels_cuda/cuda_kernels.h"

#include "app/cli/option_checks.h"
#include "app/cli/ranges.h"
#include "app/workbench/prompt.h"
#include "base/closest_match.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "core/formats/chat_template.h"
#include "core/formats/registry.h"

namespace headlight::cli {
namespace {

constexpr std::uint64_t kMaxPromptBytes = 64u << 20;
constexpr std::int64_t kMaxTokens = std::int64_t{1} << 22;

[[noreturn]] void refuse(const std::string& option, const std::string& message, const std::string& hint = {}) {
  throw Error(Errc::invalid_argument, message, {.file = {}, .field = option, .offset = {}, .hint = hint});
}

capture::RecordHeader told(Invocation& invocation, workbench::Prompt prompt) {
  if (prompt.num_invalid_sequences > 0)
    invocation.warn(
        fmt::format("the text holds {} ill-formed UTF-8 sequences, read as U+FFFD", prompt.num_invalid_sequences));
  if (prompt.num_dropped_bytes > 0)
    invocation.warn(fmt::format("{} bytes have no token in the vocabulary and were dropped", prompt.num_dropped_bytes));
  return std::move(prompt.record);
}

capture::RecordHeader from_text(Invocation& invocation, const formats::ModelFile& model, std::string text,
                                const PromptOptions& options) {
  return told(invocation, workbench::prompt_from_text(model, std::move(text), !options.no_special));
}

capture::RecordHeader from_messages(Invocation& invocation, const formats::ModelFile& model, const Json& json,
                                    const PromptOptions& options) {
  const Json* list = json.is_array() ? &json : json_find(json, "messages");
  if (list == nullptr || !list->is_array() || list->empty())
    throw Error(Errc::bad_format, "expected a list of {role, content}",
                {.file = {}, .field = "messages", .offset = {}, .hint = {}});
  std::vector<formats::ChatMessage> messages;
  for (const Json& entry : *list)
    messages.push_back({json_string(entry, "role", "messages"), json_string(entry, "content", "messages")});
  const bool add_prompt = json.is_array() || json_bool_or(json, "add_generation_prompt", true);
  return told(invocation, workbench::prompt_from_messages(model, messages, add_prompt, !options.no_special));
}

capture::RecordHeader from_ids(const formats::ModelFile& model, const std::vector<std::int64_t>& ids,
                               const std::string& where) {
  return workbench::prompt_from_ids(model, ids, where).record;
}

std::vector<std::int64_t> ids_from_json(const Json& json, const std::string& where) {
  if (!json.is_array())
    throw Error(Errc::bad_format, "expected a list of token ids",
                {.file = {}, .field = where, .offset = {}, .hint = {}});
  std::vector<std::int64_t> ids;
  for (const Json& entry : json) {
    if (!entry.is_number_integer())
      throw Error(Errc::bad_format, "expected an integer token id",
                  {.file = {}, .field = where, .offset = {}, .hint = {}});
    ids.push_back(entry.get<std::int64_t>());
  }
  return ids;
}

capture::RecordHeader from_corpus_line(Invocation& invocation, const formats::ModelFile& model, const Json& json,
                                       const PromptOptions& options) {
  const int sources = (json_find(json, "text") != nullptr) + (json_find(json, "messages") != nullptr) +
                      (json_find(json, "token_ids") != nullptr);
  if (sources != 1)
    throw Error(Errc::bad_format, fmt::format("expected exactly one of text, messages, token_ids; found {}", sources));
  if (const Json* ids = json_find(json, "token_ids"))
    return from_ids(model, ids_from_json(*ids, "token_ids"), "token_ids");
  if (json_find(json, "messages") != nullptr) return from_messages(invocation, model, json, options);
  return from_text(invocation, model, json_string(json, "text"), options);
}

std::vector<capture::RecordHeader> from_corpus(Invocation& invocation, const formats::ModelFile& model,
                                               const PromptOptions& options) {
  const std::string text = read_text_file(options.corpus, std::uint64_t{1} << 32);
  const bool json_lines = options.corpus.ends_with(".jsonl");
  std::vector<capture::RecordHeader> records;
  std::int64_t number = 0;
  for (std::size_t begin = 0; begin < text.size(); ++number) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    if (line.ends_with('\r')) line.pop_back();
    if (line.find_first_not_of(" \t") == std::string::npos) continue;
    try {
      capture::RecordHeader record;
      if (json_lines) {
        const Json json = parse_json(line, {.max_bytes = 16u << 20, .max_depth = 64});
        record = from_corpus_line(invocation, model, json, options);
        record.record_id = json_string_or(json, "id", fmt::format("{}", number));
        record.label = json_integer_or(json, "label", -1);
      } else {
        record = from_text(invocation, model, line, options);
        record.record_id = fmt::format("{}", number);
      }
      record.source_line = number;
      records.push_back(std::move(record));
    } catch (const Error& error) {
      throw Error(error.code(), error.what(),
                  {.file = options.corpus, .field = fmt::format("line {}", number + 1), .offset = {}, .hint = {}});
    }
  }
  return records;
}

std::vector<capture::RecordHeader> read_sources(Invocation& invocation, const formats::ModelFile& model,
                                                const PromptOptions& options) {
  const int given = !options.prompt.empty() + !options.prompt_file.empty() + !options.chat_file.empty() +
                    !options.token_ids.empty() + !options.corpus.empty();
  if (!options.image.empty() || !options.pixel_values.empty())
    throw Error(Errc::unsupported, "images are not in this version",
                {.file = {}, .field = "--image", .offset = {}, .hint = {}});
  if (given != 1)
    refuse("--prompt",
           given == 0 ? "nothing to evaluate: a prompt is missing" : "several prompts are given, expected one",
           "give one of --prompt, --prompt-file, --chat-file, --token-ids, --corpus");
  if (!options.corpus.empty()) return from_corpus(invocation, model, options);
  if (!options.prompt.empty()) return {from_text(invocation, model, options.prompt, options)};
  if (!options.prompt_file.empty())
    return {from_text(invocation, model, read_text_file(options.prompt_file, kMaxPromptBytes), options)};
  if (!options.chat_file.empty()) {
    try {
      return {from_messages(invocation, model, load_json(options.chat_file), options)};
    } catch (const Error& error) {
      throw error.in_file(options.chat_file);
    }
  }
  if (options.token_ids.ends_with(".json"))
    return {from_ids(model,
                     ids_from_json(load_json(options.token_ids, {.max_bytes = 64u << 20, .max_depth = 4}), "token ids"),
                     options.token_ids)};
  return {from_ids(model, parse_integers("--token-ids", options.token_ids), "--token-ids")};
}

/// Path of a file, folder or registry name; says which name was probably meant.
std::filesystem::path path_of_model(const std::string& argument) {
  try {
    return formats::resolve_model(argument);
  } catch (const Error& error) {
    if (error.code() != Errc::not_found) throw;
    std::vector<std::string> names;
    for (const auto& entry : formats::load_registry()) names.push_back(entry.name);
    const std::string guess = closest_match(argument, names);
    if (guess.empty() || guess == argument) throw;
    ErrorContext context = error.context();
    context.hint = fmt::format("did you mean {}?", guess);
    throw Error(Errc::not_found, error.message(), std::move(context));
  }
}

}  // namespace

void add_model_options(CLI::App& app, ModelOptions& options, bool required) {
  app.add_option("MODEL", options.model, "GGUF file, safetensors file or folder, or a registry name")
      ->required(required);
  const char* group = "Model";
  app.add_option("--device", options.device, "auto, cpu or cuda[:i]; auto takes a GPU that can run the model")
      ->type_name("DEVICE")
      ->capture_default_str()
      ->group(group);
  app.add_option("--threads", options.threads, "CPU threads; 0 = all")
      ->check(CLI::Range(0, 1024))
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
  app.add_option("--dtype", options.dtype, "Arithmetic of activations")
      ->check(CLI::IsMember({"auto", "f32", "bf16", "f16"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--kv-dtype", options.kv_dtype, "Stored keys and values")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--act-quant", options.act_quant, "Quantise activations (faster, moves attention)")
      ->check(CLI::IsMember({"none", "q8"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--sliding-window", options.sliding_window, "Override the sliding window of the file; 0 = none")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 30))
      ->type_name("W")
      ->group(group);
  app.add_option("--pre", options.pre_tokenizer, "Override the name of the pre-tokenizer")
      ->type_name("NAME")
      ->group(group);
  app.add_option("--gemma-embed-scale", options.gemma_embed_scale, "Round sqrt(hidden_size) as the weights are")
      ->check(CLI::IsMember({"f32", "weight"}))
      ->capture_default_str()
      ->group(group);
  app.add_flag("--no-mmap", options.no_mmap, "Read the weights instead of mapping the file")->group(group);
  app.add_flag("--allow-nonfinite", options.allow_nonfinite, "Accept NaN and Inf in norm weights")->group(group);
  app.add_option("--intervention", options.interventions, "Intervention files (not with this verb in this version)")
      ->type_name("FILE")
      ->group(group);
}

void add_prompt_options(CLI::App& app, PromptOptions& options, bool with_corpus) {
  const char* group = "Prompt";
  app.add_option("-p,--prompt", options.prompt, "Raw text")->type_name("TEXT")->group(group);
  app.add_option("-f,--prompt-file", options.prompt_file, "Raw text from a file; - is stdin")
      ->type_name("FILE")
      ->group(group);
  app.add_option("--chat-file", options.chat_file, "JSON messages, rendered by the model's template")
      ->type_name("FILE")
      ->group(group);
  app.add_option("--token-ids", options.token_ids, "Ids \"1,2,3\" or a JSON file; adds nothing")
      ->type_name("IDS")
      ->group(group);
  if (with_corpus)
    app.add_option("--corpus", options.corpus, "One prompt per line: .jsonl or .txt")->type_name("FILE")->group(group);
  app.add_option("--image", options.image, "Image (not in this version)")->type_name("FILE")->group(group);
  app.add_option("--pixel-values", options.pixel_values, "Pixels (not in this version)")
      ->type_name("FILE")
      ->group(group);
  app.add_option("--max-tokens", options.max_tokens, "Keep the first N prompt tokens")
      ->check(CLI::Range(std::int64_t{1}, kMaxTokens))
      ->type_name("N")
      ->group(group);
  app.add_flag("--no-special", options.no_special, "Read control tokens in the text as text")->group(group);
}

void add_sampling_options(CLI::App& app, engine::SamplingOptions& options) {
  const char* group = "Sampling";
  app.add_option("--seed", options.seed, "Seed of the sampler")
      ->check(unsigned_integer())
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
  app.add_option("--temperature", options.temperature, "0 = greedy")
      ->check(number_within(0.0, 100.0))
      ->type_name("T")
      ->capture_default_str()
      ->group(group);
  app.add_option("--top-k", options.top_k, "Sample from the K likeliest; 0 = off")
      ->check(CLI::Range(0, 1 << 20))
      ->type_name("K")
      ->capture_default_str()
      ->group(group);
  app.add_option("--top-p", options.top_p, "Sample from the smallest set with mass P")
      ->check(number_within(0.0, 1.0))
      ->type_name("P")
      ->capture_default_str()
      ->group(group);
}

namespace {

/// Of the first GPU that can be used; -1 = none, or the options ask for what only the CPU does.
int automatic_device(const ModelOptions& options) {
  const cuda::CudaKernels* kernels = cuda::cuda_kernels();
  if (kernels == nullptr || options.dtype == "f32" || options.act_quant != "none" || !options.interventions.empty())
    return -1;
  std::string why;
  const auto devices = kernels->devices(why);
  return devices.empty() ? -1 : devices.front().index;
}

/// Index of the device that computes; -1 = the CPU.
int cuda_device(const ModelOptions& options) {
  if (options.device == "auto") return automatic_device(options);
  if (options.device == "cpu") return -1;
  if (options.device == "cuda") return 0;
  int index = -1;
  const char *begin = options.device.data() + 5, *end = options.device.data() + options.device.size();
  if (options.device.starts_with("cuda:") && begin != end && std::from_chars(begin, end, index).ptr == end &&
      index >= 0)
    return index;
  refuse("--device", fmt::format("expected auto, cpu or cuda[:i], found '{}'", options.device));
}

void check_arithmetic(const ModelOptions& options, bool cuda) {
  const auto unsupported = [](const std::string& message, const char* field, const char* hint) {
    throw Error(Errc::unsupported, message, {.file = {}, .field = field, .offset = {}, .hint = hint});
  };
  if (cuda && cuda::cuda_kernels() == nullptr)
    unsupported("this build has no CUDA support", "--device", "use --device cpu");
  if (!cuda && options.dtype != "auto" && options.dtype != "f32")
    unsupported(fmt::format("{} arithmetic is not available on the CPU", options.dtype), "--dtype", "use --dtype f32");
  if (cuda && options.dtype == "f32")
    unsupported("f32 arithmetic is not available on CUDA", "--dtype", "use --dtype bf16 or f16");
  if (cuda && options.act_quant != "none")
    unsupported("activations are not quantised on CUDA", "--act-quant", "leave it out");
}

}  // namespace

engine::EngineOptions engine_options(const ModelOptions& options) {
  engine::EngineOptions engine;
  engine.threads = options.threads;
  engine.kv_dtype = options.kv_dtype == "bf16" ? DType::bf16 : DType::f32;
  engine.act_quant = options.act_quant == "q8" ? engine::ActivationQuant::q8 : engine::ActivationQuant::none;
  engine.cuda_device = cuda_device(options);
  engine.cuda_dtype = options.dtype == "f16" ? DType::f16 : DType::bf16;
  engine.gemma_scale_in_weight_dtype = options.gemma_embed_scale == "weight";
  return engine;
}

Json model_identity(const engine::Engine& engine, const ModelOptions& options) {
  Json identity = {{"tool", version()},
                   {"kv_dtype", options.kv_dtype},
                   {"act_quant", options.act_quant},
                   {"window", options.sliding_window}};
  for (const auto& stamp : engine.model().stamps)
    identity["files"].push_back({stamp.size, stamp.mtime_ns, stamp.inode});
  return identity;
}

formats::ModelFile open_model_file(const ModelOptions& options, bool load_weights) {
  if (!options.interventions.empty() && (!options.takes_interventions || options.device.starts_with("cuda")))
    throw Error(Errc::unsupported,
                options.takes_interventions ? "interventions on CUDA are not in this version"
                                            : "running this verb with interventions is not in this version",
                {.file = {}, .field = "--intervention", .offset = {}, .hint = {}});
  check_arithmetic(options, cuda_device(options) >= 0);
  formats::OpenModelOptions open;
  open.use_mmap = !options.no_mmap;
  open.allow_nonfinite = options.allow_nonfinite;
  open.load_weights = load_weights;
  open.sliding_window = options.sliding_window;
  open.pre_tokenizer = options.pre_tokenizer;
  return formats::open_model(path_of_model(options.model), open);
}

std::unique_ptr<engine::Engine> load_engine(const ModelOptions& options) {
  const engine::EngineOptions chosen = engine_options(options);
  if (chosen.cuda_device < 0) log_debug("device: cpu");
  const auto load = [&](const engine::EngineOptions& engine) {
    auto loaded = std::make_unique<engine::Engine>(open_model_file(options), engine);
    if (options.device == "auto" && engine.cuda_device >= 0)
      log_info(fmt::format("device: cuda:{} ({})", engine.cuda_device, loaded->device_name()));
    return loaded;
  };
  if (options.device != "auto" || chosen.cuda_device < 0) return load(chosen);
  try {
    return load(chosen);
  } catch (const Error& error) {
    if (error.code() != Errc::unsupported && error.code() != Errc::out_of_memory) throw;
    log_warning(
        fmt::format("device: cpu, because cuda:{} cannot run the model: {}", chosen.cuda_device, error.message()));
  }
  engine::EngineOptions on_cpu = chosen;
  on_cpu.cuda_device = -1;
  return load(on_cpu);
}

std::vector<capture::RecordHeader> read_prompts(Invocation& invocation, const formats::ModelFile& model,
                                                const PromptOptions& options) {
  auto records = read_sources(invocation, model, options);
  if (records.empty())
    throw Error(Errc::bad_format, "holds no prompt", {.file = options.corpus, .field = {}, .offset = {}, .hint = {}});
  for (auto& record : records) {
    if (options.max_tokens > 0 && std::ssize(record.tokens) > options.max_tokens)
      record.tokens.resize(static_cast<std::size_t>(options.max_tokens));
    if (record.tokens.empty())
      refuse(options.corpus.empty() ? "--prompt" : options.corpus, "nothing to evaluate: the prompt has no tokens");
    if (std::ssize(record.tokens) > kMaxTokens)
      refuse("--prompt", fmt::format("expected at most {} tokens, found {}", kMaxTokens, record.tokens.size()));
    if (record.record_id.empty()) record.record_id = "0";
    for (auto& segment : record.segments) segment.end = std::min(segment.end, std::ssize(record.tokens));
    std::erase_if(record.segments, [](const capture::Segment& s) { return s.begin >= s.end; });
    record.num_prompt_tokens = std::ssize(record.tokens);
    const auto bos = model.tokenizer ? model.tokenizer->bos_id() : std::nullopt;
    record.bos_present = bos && record.tokens.front().id == *bos;
  }
  return records;
}

void check_output_is_new(const std::string& output, const formats::ModelFile& model, const PromptOptions& prompt) {
  std::vector<std::string> inputs = {prompt.prompt_file, prompt.chat_file, prompt.token_ids, prompt.corpus};
  for (const auto& file : model.files) inputs.push_back(file.string());
  check_not_input(output, inputs);
}

std::vector<std::int32_t> token_ids_of(const capture::RecordHeader& record) {
  return workbench::token_ids_of(record);
}

}  // namespace headlight::cli
