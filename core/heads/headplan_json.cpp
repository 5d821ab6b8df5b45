#include <cmath>
#include <limits>
#include <set>

#include <fmt/format.h>

#include "base/error.h"
#include "core/heads/headplan.h"

namespace headlight::heads {
namespace {

constexpr std::string_view kSchema = "headlight.headplan/1";
constexpr int kMaxSide = 4096;  // layers, heads: a limit on what a file can make us allocate

[[noreturn]] void refuse(const std::string& path, const std::string& sentence) {
  throw Error(Errc::bad_format, sentence, {.file = {}, .field = path, .offset = {}, .hint = {}});
}

Json without(const Json& object, const std::set<std::string_view>& known) {
  Json rest = Json::object();
  for (const auto& [key, value] : object.items())
    if (!known.contains(key)) rest[key] = value;
  return rest;
}

/// Array of `rows` arrays of `cols` elements: calls read(element, path) in memory order.
template <class Read>
void read_grid(const Json& json, const std::string& path, int rows, int cols, Read read) {
  if (!json.is_array() || std::ssize(json) != rows) refuse(path, fmt::format("expected an array of {} layers", rows));
  for (int l = 0; l < rows; ++l) {
    const Json& row = json[static_cast<std::size_t>(l)];
    const std::string row_path = fmt::format("{}[{}]", path, l);
    if (!row.is_array() || std::ssize(row) != cols)
      refuse(row_path, fmt::format("expected an array of {} values", cols));
    for (int h = 0; h < cols; ++h) read(row[static_cast<std::size_t>(h)], fmt::format("{}[{}]", row_path, h));
  }
}

std::vector<double> numbers_from(const Json& score, std::string_view key, const std::string& path, int rows, int cols) {
  std::vector<double> values;
  const Json* json = json_find(score, key, path);
  if (json == nullptr) return values;
  read_grid(*json, fmt::format("{}.{}", path, key), rows, cols, [&](const Json& cell, const std::string& at) {
    if (!cell.is_null() && !cell.is_number()) refuse(at, "expected a number or null");
    values.push_back(cell.is_null() ? std::numeric_limits<double>::quiet_NaN() : cell.get<double>());
  });
  return values;
}

std::vector<std::string> strings_from(const Json& json, const std::string& path) {
  std::vector<std::string> list;
  if (!json.is_array()) refuse(path, "expected an array of names");
  for (const Json& name : json) {
    if (!name.is_string()) refuse(path, "expected an array of names");
    list.push_back(name.get<std::string>());
  }
  return list;
}

HeadId head_from(const Json& json, const std::string& path, const HeadGrid& grid) {
  if (!json.is_string()) refuse(path, "expected a head such as \"L3H7\"");
  try {
    return parse_one_head(json.get<std::string>(), {.grid = grid}, path);
  } catch (const Error& error) {
    refuse(path, error.message());
  }
}

int size_from(const Json& json, std::string_view key) {
  const std::int64_t value = json_integer(json, key, "model");
  if (value < 1 || value > kMaxSide)
    refuse(fmt::format("model.{}", key), fmt::format("expected 1 to {}, found {}", kMaxSide, value));
  return static_cast<int>(value);
}

Headplan::Model model_from(const Json& json) {
  Headplan::Model model;
  model.name = json_string_or(json, "name", "", "model");
  model.arch = json_string_or(json, "arch", "", "model");
  model.config_sha256 = json_string_or(json, "config_sha256", "", "model");
  model.tokenizer_sha256 = json_string_or(json, "tokenizer_sha256", "", "model");
  model.grid = {
      .num_layers = size_from(json, "L"), .num_heads = size_from(json, "H"), .num_kv_heads = size_from(json, "G")};
  if (model.grid.num_kv_heads > model.grid.num_heads) refuse("model.G", "there cannot be more KV heads than heads");
  model.head_dim = static_cast<int>(json_integer_or(json, "head_dim", 0, "model"));
  model.other = without(json, {"name", "arch", "L", "H", "G", "head_dim", "config_sha256", "tokenizer_sha256"});
  return model;
}

HeadScore score_from(const std::string& id, const Json& json, const HeadGrid& grid) {
  const std::string path = "scores." + id;
  HeadScore score;
  score.id = id;
  const std::string granularity = json_string_or(json, "granularity", "q", path);
  if (granularity != "q" && granularity != "kv")
    refuse(path + ".granularity", fmt::format("expected q or kv, found {}", granularity));
  score.granularity = granularity == "kv" ? Granularity::kv : Granularity::query;
  const int cols = granularity == "kv" ? grid.num_kv_heads : grid.num_heads;
  score.value = numbers_from(json, "value", path, grid.num_layers, cols);
  if (score.value.empty()) refuse(path + ".value", "is missing");
  score.ci_low = numbers_from(json, "ci_low", path, grid.num_layers, cols);
  score.ci_high = numbers_from(json, "ci_high", path, grid.num_layers, cols);
  score.n = json_integer_or(json, "n", 0, path);
  score.reduce = json_string_or(json, "reduce", "", path);
  score.method = json_string_or(json, "method", "", path);
  score.version = static_cast<int>(json_integer_or(json, "version", 1, path));
  if (const Json* params = json_find(json, "params", path)) score.params = *params;
  score.data_sha256 = json_string_or(json, "data_sha256", "", path);
  score.seed = json_integer_or(json, "seed", 0, path);
  score.other = without(json, {"granularity", "value", "ci_low", "ci_high", "n", "reduce", "method", "version",
                               "params", "data_sha256", "seed"});
  return score;
}

void read_roles(const Json& json, Headplan& plan) {
  const HeadGrid& grid = plan.model.grid;
  if (const Json* primary = json_find(json, "primary", "roles"))
    read_grid(*primary, "roles.primary", grid.num_layers, grid.num_heads, [&](const Json& cell, const std::string& at) {
      if (!cell.is_null() && !cell.is_string()) refuse(at, "expected a name or null");
      plan.primary_lh.push_back(cell.is_null() ? "" : cell.get<std::string>());
    });
  if (const Json* labels = json_find(json, "labels", "roles"))
    read_grid(*labels, "roles.labels", grid.num_layers, grid.num_heads,
              [&](const Json& cell, const std::string& at) { plan.labels_lh.push_back(strings_from(cell, at)); });
  if (plan.labels_lh.empty() && !plan.primary_lh.empty()) plan.labels_lh.resize(grid.size());
  plan.roles_other = without(json, {"primary", "labels", "overrides"});
  const Json* overrides = json_find(json, "overrides", "roles");
  for (std::size_t n = 0; overrides != nullptr && n < overrides->size(); ++n) {
    const std::string path = fmt::format("roles.overrides[{}]", n);
    if (!overrides->is_array()) refuse("roles.overrides", "expected an array");
    const Json& one = (*overrides)[n];
    const Json *head = json_find(one, "head", path), *names = json_find(one, "labels", path);
    if (head == nullptr || names == nullptr) refuse(path, "expected head and labels");
    plan.overrides.push_back({head_from(*head, path + ".head", grid), strings_from(*names, path + ".labels"),
                              json_string_or(one, "note", "", path)});
  }
}

void read_sets(const Json& json, Headplan& plan) {
  if (!json.is_object()) refuse("sets", "expected an object");
  for (const auto& [name, list] : json.items()) {
    const std::string path = "sets." + name;
    if (!list.is_array()) refuse(path, "expected an array of heads");
    auto& heads = plan.sets[name];
    for (const Json& head : list) heads.push_back(head_from(head, path, plan.model.grid));
  }
}

/// [rows][cols] with write(index) for each element.
template <class Write>
Json grid_json(int rows, int cols, Write write) {
  Json json = Json::array();
  for (int l = 0; l < rows; ++l) {
    Json row = Json::array();
    for (int h = 0; h < cols; ++h) row.push_back(write(static_cast<std::size_t>(l * cols + h)));
    json.push_back(std::move(row));
  }
  return json;
}

Json numbers_json(const std::vector<double>& values, int rows, int cols) {
  return grid_json(rows, cols,
                   [&](std::size_t at) { return std::isfinite(values[at]) ? Json(values[at]) : Json(nullptr); });
}

Json score_json(const HeadScore& score, const HeadGrid& grid) {
  const bool kv = score.granularity == Granularity::kv;
  const int cols = kv ? grid.num_kv_heads : grid.num_heads;
  Json json = {{"granularity", kv ? "kv" : "q"}, {"value", numbers_json(score.value, grid.num_layers, cols)}};
  if (!score.ci_low.empty()) json["ci_low"] = numbers_json(score.ci_low, grid.num_layers, cols);
  if (!score.ci_high.empty()) json["ci_high"] = numbers_json(score.ci_high, grid.num_layers, cols);
  json["n"] = score.n;
  json["reduce"] = score.reduce;
  json["method"] = score.method;
  json["version"] = score.version;
  json["params"] = score.params;
  json["data_sha256"] = score.data_sha256;
  json["seed"] = score.seed;
  json.update(score.other);
  return json;
}

Json roles_json(const Headplan& plan) {
  const HeadGrid& grid = plan.model.grid;
  Json json = Json::object();
  if (!plan.primary_lh.empty())
    json["primary"] = grid_json(grid.num_layers, grid.num_heads, [&](std::size_t at) {
      return plan.primary_lh[at].empty() ? Json(nullptr) : Json(plan.primary_lh[at]);
    });
  if (!plan.labels_lh.empty())
    json["labels"] = grid_json(grid.num_layers, grid.num_heads, [&](std::size_t at) {
      Json labels = Json::array();
      for (const std::string& label : plan.labels_lh[at]) labels.push_back(label);
      return labels;
    });
  Json overrides = Json::array();
  for (const RoleOverride& change : plan.overrides) {
    Json one = {{"head", to_string(change.head)}, {"labels", change.labels}};
    if (!change.note.empty()) one["note"] = change.note;
    overrides.push_back(std::move(one));
  }
  json["overrides"] = std::move(overrides);
  json.update(plan.roles_other);
  return json;
}

}  // namespace

Headplan headplan_from_json(const Json& json) {
  const std::string schema = json_string(json, "schema");
  if (schema != kSchema)
    throw Error(schema.starts_with("headlight.headplan/") ? Errc::bad_version : Errc::bad_format,
                fmt::format("expected {}, found {}", kSchema, schema),
                {.file = {}, .field = "schema", .offset = {}, .hint = {}});
  Headplan plan;
  const Json* model = json_find(json, "model");
  if (model == nullptr) refuse("model", "is missing");
  plan.model = model_from(*model);
  if (const Json* scores = json_find(json, "scores")) {
    if (!scores->is_object()) refuse("scores", "expected an object");
    for (const auto& [id, score] : scores->items()) plan.scores.push_back(score_from(id, score, plan.model.grid));
  }
  if (const Json* roles = json_find(json, "roles")) read_roles(*roles, plan);
  if (const Json* sets = json_find(json, "sets")) read_sets(*sets, plan);
  plan.other = without(json, {"schema", "model", "scores", "roles", "sets"});
  return plan;
}

Json to_json(const Headplan& plan) {
  const HeadGrid& grid = plan.model.grid;
  Json json = {{"schema", kSchema},
               {"model",
                {{"name", plan.model.name},
                 {"arch", plan.model.arch},
                 {"L", grid.num_layers},
                 {"H", grid.num_heads},
                 {"G", grid.num_kv_heads},
                 {"head_dim", plan.model.head_dim},
                 {"config_sha256", plan.model.config_sha256},
                 {"tokenizer_sha256", plan.model.tokenizer_sha256}}}};
  json["model"].update(plan.model.other);
  json["scores"] = Json::object();
  for (const HeadScore& score : plan.scores) json["scores"][score.id] = score_json(score, grid);
  if (!plan.labels_lh.empty() || !plan.overrides.empty() || !plan.roles_other.empty()) json["roles"] = roles_json(plan);
  if (!plan.sets.empty()) {
    json["sets"] = Json::object();
    for (const auto& [name, heads] : plan.sets) {
      Json list = Json::array();
      for (const HeadId id : heads) list.push_back(to_string(id));
      json["sets"][name] = std::move(list);
    }
  }
  json.update(plan.other);
  return json;
}

}  // namespace headlight::heads
