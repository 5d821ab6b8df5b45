#include "core/formats/model_file.h"

#include <algorithm>
#include <map>

#include "base/buffer.h"
#include "base/json.h"
#include "base/log.h"
#include "core/formats/config.h"
#include "core/formats/fail.h"
#include "core/formats/gguf.h"
#include "core/formats/registry.h"
#include "core/formats/safetensors.h"
#include "core/formats/stored_tensors.h"
#include "kernels/dequantize.h"

namespace headlight::formats {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxTemplateBytes = 4u << 20;

/// Opened weight files and, once asked for, their bytes.
class WeightFiles {
 public:
  explicit WeightFiles(const std::vector<fs::path>& paths) {
    for (const auto& path : paths) files_.emplace_back(path);
  }

  const std::vector<InputFile>& files() const { return files_; }

  /// The files are opened a second time after their headers were read: they must still hold every tensor.
  template <class Tensor>
  void check_sizes(const std::vector<Tensor>& tensors) const {
    for (const auto& tensor : tensors) {
      const auto& file = files_[static_cast<std::size_t>(tensor.part)];
      if (tensor.offset + tensor.bytes > file.size())
        throw Error(Errc::changed, "became shorter while it was being opened",
                    {.file = file.path().string(), .field = tensor_field(tensor.name), .offset = {}, .hint = {}});
    }
  }

  /// Maps the files or reads them; `weights` keeps the bytes alive.
  void load(bool use_mmap, Weights& weights) {
    for (const auto& file : files_) {
      if (use_mmap) {
        auto mapped = std::make_shared<MappedFile>(file);
        starts_.push_back(mapped->bytes().data());
        weights.keep_alive(std::move(mapped));
      } else {
        const auto bytes = weights.allocate(file.size());
        constexpr std::size_t kChunk = 64u << 20;
        for (std::size_t at = 0; at < bytes.size(); at += kChunk)
          file.read_at(at, bytes.subspan(at, std::min(kChunk, bytes.size() - at)));
        starts_.push_back(bytes.data());
      }
    }
  }

  DataOf data_of() const {
    return [this](int part, std::uint64_t offset) { return starts_[static_cast<std::size_t>(part)] + offset; };
  }

  std::vector<float> read_floats(const GgufTensor& tensor) const {
    const bool fits = tensor.ggml_type == static_cast<std::uint32_t>(TensorType::f32) && tensor.shape.size() == 1 &&
                      tensor.shape[0] <= 1024;
    if (!fits) bad_format({tensor_field(tensor.name)}, "expected at most 1024 values of type F32");
    std::vector<float> values(static_cast<std::size_t>(tensor.shape[0]));
    files_[static_cast<std::size_t>(tensor.part)].read_at(tensor.offset,
                                                          std::as_writable_bytes(std::span<float>(values)));
    return values;
  }

  void describe(ModelFile& model) const {
    for (const auto& file : files_) {
      model.files.push_back(file.path());
      model.stamps.push_back(file.stamp());
    }
  }

 private:
  std::vector<InputFile> files_;
  std::vector<const std::byte*> starts_;
};

/// Counts parameters and finds the most frequent type of the matrices, from headers alone.
class Census {
 public:
  void count(const std::vector<std::int64_t>& shape, std::string_view type) {
    std::int64_t elements = 1;
    for (const auto length : shape) elements *= length;
    parameters_ += elements;
    if (shape.size() >= 2) ++matrices_[std::string(type)];
  }

  void describe(ModelSpec& spec) const {
    spec.num_parameters = parameters_;
    const auto most = std::max_element(matrices_.begin(), matrices_.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    if (most != matrices_.end()) spec.quantization = most->first;
  }

 private:
  std::int64_t parameters_ = 0;
  std::map<std::string, int> matrices_;
};

void override_window(const OpenModelOptions& options, ModelSpec& spec) {
  if (options.sliding_window < 0) return;
  spec.sliding_window = options.sliding_window;
  const bool has_pattern = std::find(spec.is_sliding.begin(), spec.is_sliding.end(), 1) != spec.is_sliding.end();
  if (options.sliding_window == 0)
    spec.is_sliding.assign(spec.is_sliding.size(), 0);
  else if (!has_pattern)
    spec.is_sliding.assign(spec.is_sliding.size(), 1);
}

std::string name_of_model(const ModelSpec& spec, const fs::path& path) {
  if (!spec.name.empty()) return spec.name;
  const auto name = fs::is_directory(path) ? fs::absolute(path).lexically_normal() : path;
  return name.filename().empty()  ? name.parent_path().filename().string()
         : fs::is_directory(path) ? name.filename().string()
                                  : name.stem().string();
}

void check_token_list(const GgufFile& file, const ModelSpec& spec) {
  const auto* tokens = file.strings("tokenizer.ggml.tokens");
  if (tokens && static_cast<std::int64_t>(tokens->size()) > spec.vocab_size)
    bad_format({"tokenizer.ggml.tokens"}, "{} tokens, but token_embd.weight has only {} rows", tokens->size(),
               spec.vocab_size);
}

ModelFile open_gguf(const fs::path& path, const OpenModelOptions& options) {
  const GgufFile file = GgufFile::open(path);
  try {
    WeightFiles parts(file.paths());
    ModelFile model;
    model.spec = spec_from_gguf(file, [&](const GgufTensor& tensor) { return parts.read_floats(tensor); });
    model.spec.name = name_of_model(model.spec, path);
    override_window(options, model.spec);
    if (options.load_weights && file.tensors().empty()) bad_format({"tensors"}, "holds a vocabulary but no weights");
    validate(model.spec);
    check_token_list(file, model.spec);
    Census census;
    for (const auto& tensor : file.tensors())
      if (!tensor.name.starts_with("rope_")) census.count(tensor.shape, ggml_type_name(tensor.ggml_type));
    census.describe(model.spec);
    parts.describe(model);
    if (options.load_weights) {
      parts.check_sizes(file.tensors());
      parts.load(options.use_mmap, model.weights);
      load_weights(model.spec, stored_from_gguf(model.spec, file, parts.data_of()), {options.allow_nonfinite},
                   model.weights);
    }
    if (file.find("tokenizer.ggml.model")) model.tokenizer = make_tokenizer(file, options.pre_tokenizer);
    if (const auto* jinja = file.string("tokenizer.chat_template")) model.chat_template = *jinja;
    return model;
  } catch (const Error& error) {
    throw error.in_file(path.string());
  }
}

/// chat_template.jinja, else the "chat_template" of tokenizer_config.json (a string, or named ones: "default").
std::string find_chat_template(const fs::path& folder) {
  if (fs::exists(folder / "chat_template.jinja"))
    return read_text_file(folder / "chat_template.jinja", kMaxTemplateBytes);
  const auto path = folder / "tokenizer_config.json";
  if (!fs::exists(path)) return {};
  const Json config = load_json(path.string(), {.max_bytes = 64u << 20, .max_depth = 64, .wide_integers = true});
  const Json* jinja = config.is_object() ? json_find(config, "chat_template") : nullptr;
  if (!jinja) return {};
  if (jinja->is_string()) return jinja->get<std::string>();
  if (jinja->is_array())
    for (const auto& entry : *jinja)
      if (entry.is_object() && json_string_or(entry, "name", "") == "default")
        return json_string_or(entry, "template", "");
  return {};
}

bool has_tokenizer(const fs::path& folder) {
  for (const char* name : {"tokenizer.json", "vocab.json", "vocab.txt"})
    if (fs::exists(folder / name)) return true;
  return false;
}

ModelSpec read_config(const fs::path& folder) {
  const auto path = folder / "config.json";
  const Json config = load_json(path.string());
  try {
    ModelSpec spec = spec_from_config(config);
    validate(spec);
    return spec;
  } catch (const Error& error) {
    throw error.in_file(path.string());
  }
}

ModelFile open_folder(const fs::path& folder, const SafetensorsFile& file, const OpenModelOptions& options) {
  ModelFile model;
  model.spec = read_config(folder);
  model.spec.name = name_of_model(model.spec, folder);
  override_window(options, model.spec);
  try {
    WeightFiles parts(file.paths());
    parts.describe(model);
    Census census;
    for (const auto& tensor : file.tensors()) {
      const auto type = tensor.type();
      if (type && !(model.spec.tied_embeddings && tensor.name == "lm_head.weight"))
        census.count(tensor.shape, info(*type).name);
    }
    census.describe(model.spec);
    if (options.load_weights) {
      parts.check_sizes(file.tensors());
      parts.load(options.use_mmap, model.weights);
      load_weights(model.spec, stored_from_safetensors(model.spec, file, parts.data_of()), {options.allow_nonfinite},
                   model.weights);
    }
  } catch (const Error& error) {
    throw error.in_file(file.paths().front().string());
  }
  if (has_tokenizer(folder)) model.tokenizer = load_tokenizer(folder);
  model.chat_template = find_chat_template(folder);
  return model;
}

bool begins_with_gguf(const fs::path& path) {
  const InputFile file(path);
  std::array<std::byte, 4> magic{};
  if (file.size() < magic.size()) return false;
  file.read_at(0, magic);
  return std::string_view(reinterpret_cast<const char*>(magic.data()), 4) == "GGUF";
}

/// The only .gguf of a folder that is a language model; split models count once.
fs::path only_gguf(const fs::path& folder) {
  std::vector<fs::path> found;
  std::string listed;
  bool pickled = false;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const auto name = entry.path().filename().string();
    if (listed.size() < 200) listed += (listed.empty() ? "" : ", ") + name;
    pickled |= name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth");
    const bool later_part = name.find("-of-") != std::string::npos && name.find("-00001-of-") == std::string::npos;
    if (entry.path().extension() == ".gguf" && !name.starts_with("mmproj") && !later_part)
      found.push_back(entry.path());
  }
  if (found.size() == 1) return found.front();
  if (found.size() > 1)
    throw Error(Errc::invalid_argument, fmt::format("holds {} .gguf files; name one of them", found.size()),
                {.file = folder.string(), .field = {}, .offset = {}, .hint = {}});
  if (pickled)
    throw Error(Errc::unsupported, "holds pickled weights, which can execute code and are never read",
                {.file = folder.string(), .field = {}, .offset = {}, .hint = "Convert them to safetensors."});
  throw Error(Errc::not_found,
              fmt::format("holds no model: expected config.json with model.safetensors, or a .gguf file; found {}",
                          listed.empty() ? "nothing" : listed),
              {.file = folder.string(), .field = {}, .offset = {}, .hint = {}});
}

ModelFile open_any(const fs::path& path, const OpenModelOptions& options) {
  if (fs::is_directory(path)) {
    const bool safetensors =
        fs::exists(path / "model.safetensors") || fs::exists(path / "model.safetensors.index.json");
    if (fs::exists(path / "config.json") && safetensors)
      return open_folder(path, SafetensorsFile::open_folder(path), options);
    return open_gguf(only_gguf(path), options);
  }
  if (path.extension() == ".safetensors" && !begins_with_gguf(path)) {
    const auto folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
    if (!fs::exists(folder / "config.json"))
      throw Error(Errc::not_found, "needs a config.json beside it",
                  {.file = path.string(), .field = {}, .offset = {}, .hint = {}});
    const bool shard = !fs::exists(folder / "model.safetensors") && fs::exists(folder / "model.safetensors.index.json");
    return open_folder(folder, shard ? SafetensorsFile::open_folder(folder) : SafetensorsFile::open(path), options);
  }
  const auto extension = path.extension().string();
  if (extension == ".bin" || extension == ".pt" || extension == ".pth")
    if (!begins_with_gguf(path))
      throw Error(Errc::unsupported, "pickled weights can execute code and are never read",
                  {.file = path.string(), .field = {}, .offset = {}, .hint = "Convert them to safetensors."});
  return open_gguf(path, options);
}

}  // namespace

ModelFile open_model(const fs::path& path, const OpenModelOptions& options) {
  std::error_code error;
  if (!fs::exists(path, error) && (!error || error == std::errc::no_such_file_or_directory))
    throw Error(Errc::not_found, "no such file or folder",
                {.file = path.string(), .field = {}, .offset = {}, .hint = {}});
  try {
    return open_any(path, options);
  } catch (const fs::filesystem_error& failure) {
    throw Error(Errc::unreadable, failure.code().message(),
                {.file = path.string(), .field = {}, .offset = {}, .hint = {}});
  }
}

fs::path resolve_model(const std::string& argument) {
  std::error_code ignored;
  if (argument.empty()) throw Error(Errc::invalid_argument, "the model's name is empty");
  if (fs::exists(argument, ignored)) return argument;
  std::string known;
  for (const auto& entry : load_registry()) {
    known += (known.empty() ? "" : ", ") + entry.name;
    if (entry.name != argument) continue;
    const auto path = model_store() / entry.file;
    if (fs::exists(path, ignored)) return path;
    throw Error(Errc::not_found, fmt::format("model '{}' has not been fetched", argument),
                {.file = path.string(),
                 .field = {},
                 .offset = {},
                 .hint = fmt::format("Run scripts/fetch-model {}", argument)});
  }
  throw Error(Errc::not_found, "is neither a file nor a model of the registry",
              {.file = argument, .field = {}, .offset = {}, .hint = "Known models: " + known + "."});
}

void check_unchanged(const ModelFile& model) {
  for (std::size_t i = 0; i < model.files.size(); ++i)
    if (InputFile(model.files[i]).stamp() != model.stamps[i])
      throw Error(Errc::changed, "changed during the run",
                  {.file = model.files[i].string(), .field = {}, .offset = {}, .hint = {}});
}

}  // namespace headlight::formats
