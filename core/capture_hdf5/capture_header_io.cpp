#include "core/capture_hdf5/capture_header_io.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/json.h"
#include "core/capture/statistics.h"
#include "core/capture_hdf5/layout.h"
#include "core/capture_hdf5/manifest.h"
#include "core/capture_hdf5/part_file.h"
#include "core/capture_hdf5/stored_file.h"

namespace headlight::capture::hdf5 {
namespace {

void define_provenance(PartFile& file, const CaptureHeader& header) {
  const Provenance& p = header.provenance;
  const std::string group = "/provenance";
  file.create_group(group);
  const std::pair<const char*, const std::string*> texts[] = {{"tool_version", &p.tool_version},
                                                              {"git_commit", &p.git_commit},
                                                              {"build_type", &p.build_type},
                                                              {"compiler", &p.compiler},
                                                              {"cpu", &p.cpu},
                                                              {"cpu_tier", &p.cpu_tier},
                                                              {"compute_dtype", &p.compute_dtype},
                                                              {"kv_dtype", &p.kv_dtype},
                                                              {"activation_quant", &p.activation_quant},
                                                              {"embedding_scale", &p.embedding_scale},
                                                              {"device_name", &p.device_name},
                                                              {"command_line", &p.command_line}};
  for (const auto& [name, text] : texts) file.set_attribute(group, name, *text);
  file.set_attribute(group, "started", file.is_reproducible() ? capture_time_text(true) : p.started);
  file.set_attribute(group, "finished_unix_ms", std::int64_t{-1});
  file.set_attribute(group, "threads", std::int32_t{p.threads});
  file.set_attribute(group, "sliding_window", p.sliding_window);
  file.set_attribute(group, "seed", p.seed);
  file.set_attribute(group, "deterministic", static_cast<std::uint8_t>(p.deterministic));
  const std::string environment =
      dump_json(Json{{"hdf5", fmt::format("{}.{}.{}", H5_VERS_MAJOR, H5_VERS_MINOR, H5_VERS_RELEASE)}});
  file.create_dimension(group + "/environment_byte", environment.size());
  const std::string plan = to_json_text(header.plan);
  file.create_dimension(group + "/plan_byte", plan.size());
  file.create_bytes(group + "/capture_plan_json", "plan_byte", plan, "what was asked to be recorded, UTF-8 JSON");
  file.create_bytes(group + "/environment_json", "environment_byte", environment, "libraries, UTF-8 JSON");
}

void define_model(PartFile& file, const ModelInfo& m) {
  const std::string group = "/model";
  file.create_group(group);
  const std::pair<const char*, const std::string*> texts[] = {{"name", &m.name},
                                                              {"architecture", &m.architecture},
                                                              {"format", &m.file_format},
                                                              {"quantization", &m.quantization},
                                                              {"rope_scaling_json", &m.rope_scaling_json},
                                                              {"tokenizer_sha256", &m.tokenizer_sha256},
                                                              {"chat_template_sha256", &m.chat_template_sha256}};
  for (const auto& [name, text] : texts) file.set_attribute(group, name, *text);
  file.set_attribute(group, "n_params", m.num_parameters);
  file.set_attribute(group, "n_layers", std::int32_t{m.num_layers});
  file.set_attribute(group, "n_heads", std::int32_t{m.num_heads});
  file.set_attribute(group, "n_kv_heads", std::int32_t{m.num_kv_heads});
  file.set_attribute(group, "head_dim", std::int32_t{m.head_dim});
  file.set_attribute(group, "hidden_size", std::int32_t{m.hidden_size});
  file.set_attribute(group, "vocab_size", m.vocab_size);
  file.set_attribute(group, "max_position", m.context_length);
  file.set_attribute(group, "rope_theta", m.rope_theta);
  file.set_attribute(group, "tie_embeddings", static_cast<std::uint8_t>(m.tied_embeddings));
  Json files = Json::array();
  for (std::size_t i = 0; i < m.file_names.size(); ++i) {
    Json entry;
    entry["name"] = m.file_names[i];
    if (i < m.file_sizes.size()) entry["size"] = m.file_sizes[i];
    if (i < m.file_sha256.size()) entry["sha256"] = m.file_sha256[i];
    files.push_back(std::move(entry));
  }
  const std::string list = dump_json(files);
  const std::pair<const char*, const std::string*> blobs[] = {
      {"files_json", &list}, {"config_json", &m.config_json}, {"chat_template", &m.chat_template}};
  for (const auto& [name, text] : blobs) {
    file.create_dimension(fmt::format("{}/{}_byte", group, name), text->size());
    file.create_bytes(fmt::format("{}/{}", group, name), fmt::format("{}_byte", name), *text,
                      fmt::format("{}, UTF-8", name));
  }
}

void define_statistics(PartFile& file) {
  const std::string group = "/statistics";
  file.create_group(group);
  std::vector<std::string> name, units, definition, source, scope, title;
  std::vector<std::int32_t> version;
  for (const StatisticInfo& info : statistics()) {
    name.emplace_back(info.id);
    units.emplace_back(info.unit);
    definition.emplace_back(info.formula);
    source.emplace_back(info.source);
    scope.emplace_back(to_string(info.kind));
    title.emplace_back(info.long_name);
    version.push_back(info.version);
  }
  file.create_dimension(group + "/statistic", name.size());
  file.create_texts(group + "/name", "statistic", name, 48, "id of the statistic");
  file.create_texts(group + "/units", "statistic", units, 16, "unit");
  file.create_texts(group + "/definition", "statistic", definition, 256, "formula");
  file.create_texts(group + "/source", "statistic", source, 256, "title of the paper");
  file.create_texts(group + "/scope", "statistic", scope, 16, "row, column or head");
  file.create_texts(group + "/long_name", "statistic", title, 96, "name for people");
  ArraySpec spec;
  spec.path = group + "/version";
  spec.axes = "statistic";
  spec.element = Element::i32;
  spec.dims = {version.size()};
  spec.fill = 0;
  spec.fill_is_missing = false;
  spec.long_name = "version of the definition";
  file.create_array(std::move(spec)).write({0}, {version.size()}, version.data());
}

std::string optional_text(const Json& object, const char* key) {
  return json_string_or(object, key, "");
}

void read_files(const std::string& text, ModelInfo& model) {
  const Json files = parse_json(text);
  if (!files.is_array()) throw Error(Errc::bad_format, "expected a list of files");
  for (const Json& entry : files) {
    model.file_names.push_back(json_string(entry, "name"));
    model.file_sizes.push_back(json_integer_or(entry, "size", 0));
    const std::string hash = optional_text(entry, "sha256");
    if (!hash.empty()) model.file_sha256.push_back(hash);
  }
}

int limited(const StoredFile& file, const char* name, std::int64_t low, std::uint64_t high) {
  const std::int64_t value = file.integer("/model", name);
  if (value < low || value > static_cast<std::int64_t>(high))
    file.refuse(Errc::damaged, std::string("/model@") + name,
                fmt::format("expected a number within {}..{}, found {}", low, high, value));
  return static_cast<int>(value);
}

DType dtype_from(const std::string& name) {
  for (const DType type : {DType::f32, DType::f16, DType::bf16})
    if (headlight::to_string(type) == name) return type;
  throw Error(Errc::bad_format, fmt::format("unknown replay_dtype '{}'", name));
}

}  // namespace

std::string define_header(PartFile& file, const CaptureHeader& header, const std::string& title) {
  const std::string plan = to_json_text(header.plan);
  const std::string uuid = capture_uuid(file.is_reproducible(), plan + title + header.provenance.command_line);
  const std::string date = capture_time_text(file.is_reproducible());
  file.set_attribute("/", "Conventions", "CF-1.10 Headlight-1.0");
  file.set_attribute("/", "headlight_version", std::vector<std::int32_t>{kMajorVersion, kMinorVersion});
  file.set_attribute("/", "title", title);
  file.set_attribute("/", "source", "headlight " + header.provenance.tool_version);
  file.set_attribute("/", "history", fmt::format("{} {}", date, header.provenance.command_line));
  file.set_attribute("/", "date_created", date);
  file.set_attribute("/", "uuid", uuid);
  file.set_attribute("/", "level", std::string(to_string(header.plan.level)));
  file.set_attribute("/", "n_records", header.num_records);
  file.set_attribute("/", "complete", std::uint8_t{0});
  std::vector<std::int32_t> heads(static_cast<std::size_t>(header.model.num_heads)),
      kv_heads(static_cast<std::size_t>(header.model.num_kv_heads));
  for (std::size_t h = 0; h < heads.size(); ++h) heads[h] = static_cast<std::int32_t>(h);
  for (std::size_t g = 0; g < kv_heads.size(); ++g) kv_heads[g] = static_cast<std::int32_t>(g);
  file.create_scale("/layer", header.plan.layers, false, "layer of the model");
  file.create_scale("/head", heads, false, "query head");
  file.create_scale("/kv_head", kv_heads, false, "KV head");
  define_provenance(file, header);
  define_model(file, header.model);
  define_statistics(file);
  define_manifest(file);
  return uuid;
}

void seal_header(PartFile& file, bool complete) {
  file.set_final("/provenance", "finished_unix_ms", capture_time_ms(file.is_reproducible()));
  file.set_final("/", "complete", complete ? 1 : 2);
}

CapturePlan plan_from_json(const std::string& text, int num_heads) {
  const Json json = parse_json(text);
  CapturePlan plan;
  const std::string level = json_string(json, "level");
  const auto levels = {CaptureLevel::summary, CaptureLevel::replay, CaptureLevel::maps};
  const auto found = std::find_if(levels.begin(), levels.end(), [&](auto l) { return to_string(l) == level; });
  if (found == levels.end()) throw Error(Errc::bad_format, fmt::format("unknown level '{}'", level));
  plan.level = *found;
  const Json* layers = json_find(json, "layers");
  const Json* heads = json_find(json, "heads");
  if (layers == nullptr || !layers->is_array() || heads == nullptr || !heads->is_array() ||
      heads->size() != layers->size() || layers->size() > kMaxLayers)
    throw Error(Errc::bad_format, "'layers' and 'heads' must be lists of equal length");
  for (std::size_t l = 0; l < layers->size(); ++l) {
    const Json& number = (*layers)[l];
    const Json& bits = (*heads)[l];
    if (!number.is_number_integer() || !bits.is_string() ||
        bits.get_ref<const std::string&>().size() != static_cast<std::size_t>(num_heads))
      throw Error(Errc::bad_format, fmt::format("entry {} of 'layers' or 'heads' is not as expected", l));
    const auto layer = number.get<std::int64_t>();
    if (layer < 0 || layer >= static_cast<std::int64_t>(kMaxLayers) || (l > 0 && layer <= plan.layers.back()))
      throw Error(Errc::bad_format, fmt::format("entry {} of 'layers' is out of order or range", l));
    plan.layers.push_back(static_cast<int>(layer));
    for (const char c : bits.get_ref<const std::string&>()) plan.heads_lh.push_back(c == '1' ? 1 : 0);
  }
  plan.row_begin = json_integer(json, "row_begin");
  plan.row_end = json_integer(json, "row_end");
  plan.replay_dtype = dtype_from(json_string(json, "replay_dtype"));
  plan.store_values = json_bool(json, "store_values");
  plan.overview = json_bool(json, "overview");
  const std::string logits = json_string(json, "logits");
  plan.logits = logits == "none" ? LogitsKept::none : logits == "all" ? LogitsKept::all : LogitsKept::last;
  plan.hidden_states = json_bool(json, "hidden_states");
  const auto small = [&](const char* key) {
    return static_cast<int>(std::clamp<std::int64_t>(json_integer(json, key), 0, 1 << 24));
  };
  plan.sink_size = small("sink_size");
  plan.local_window = small("local_window");
  plan.tail_rows = small("tail_rows");
  plan.topk = small("topk");
  plan.topk_rows = small("topk_rows");
  return plan;
}

CaptureHeader read_header(const StoredFile& file) {
  CaptureHeader header;
  ModelInfo& m = header.model;
  const std::string model = "/model";
  m.name = file.text(model, "name");
  m.architecture = file.text(model, "architecture");
  m.file_format = file.text(model, "format");
  m.quantization = file.text(model, "quantization");
  m.rope_scaling_json = file.text(model, "rope_scaling_json");
  m.tokenizer_sha256 = file.text(model, "tokenizer_sha256");
  m.chat_template_sha256 = file.text(model, "chat_template_sha256");
  m.num_parameters = file.integer(model, "n_params");
  m.num_layers = limited(file, "n_layers", 1, kMaxLayers);
  m.num_heads = limited(file, "n_heads", 1, kMaxHeads);
  m.num_kv_heads = limited(file, "n_kv_heads", 1, kMaxHeads);
  m.head_dim = limited(file, "head_dim", 1, kMaxHeadDim);
  m.hidden_size = limited(file, "hidden_size", 0, kMaxHidden);
  m.vocab_size = limited(file, "vocab_size", 0, kMaxVocab);
  m.context_length = file.integer(model, "max_position");
  m.rope_theta = file.real(model, "rope_theta");
  m.tied_embeddings = file.integer(model, "tie_embeddings") != 0;
  m.config_json = file.bytes("/model/config_json");
  m.chat_template = file.bytes("/model/chat_template");
  if (m.num_heads % m.num_kv_heads != 0)
    file.refuse(Errc::damaged, "/model@n_kv_heads",
                fmt::format("expected a divisor of {} heads, found {}", m.num_heads, m.num_kv_heads));
  Provenance& p = header.provenance;
  const std::string provenance = "/provenance";
  p.tool_version = file.text(provenance, "tool_version");
  p.git_commit = file.text(provenance, "git_commit");
  p.build_type = file.text(provenance, "build_type");
  p.compiler = file.text(provenance, "compiler");
  p.cpu = file.text(provenance, "cpu");
  p.cpu_tier = file.text(provenance, "cpu_tier");
  p.compute_dtype = file.text(provenance, "compute_dtype");
  p.kv_dtype = file.text(provenance, "kv_dtype");
  p.activation_quant = file.text(provenance, "activation_quant");
  p.embedding_scale = file.text(provenance, "embedding_scale");
  p.sliding_window = file.integer(provenance, "sliding_window");
  p.device_name = file.text(provenance, "device_name");
  p.command_line = file.text(provenance, "command_line");
  p.started = file.text(provenance, "started");
  p.threads = static_cast<int>(std::clamp<std::int64_t>(file.integer(provenance, "threads"), 0, 1 << 20));
  p.seed = file.integer(provenance, "seed");
  p.deterministic = file.integer(provenance, "deterministic") != 0;
  header.num_records = file.integer("/", "n_records");
  const auto parsed = [&](const char* path, const auto& parse) {
    try {
      parse(file.bytes(path));
    } catch (const Error& error) {
      if (!error.context().file.empty()) throw;
      file.refuse(Errc::damaged, path, error.message());
    }
  };
  parsed("/model/files_json", [&](const std::string& text) { read_files(text, m); });
  parsed("/provenance/capture_plan_json",
         [&](const std::string& text) { header.plan = plan_from_json(text, m.num_heads); });
  return header;
}

}  // namespace headlight::capture::hdf5
