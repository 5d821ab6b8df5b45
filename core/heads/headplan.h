#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "core/heads/head_set.h"

namespace headlight::heads {

/// One value per head, [L][H], or per KV head, [L][G].
enum class Granularity { query, kv };

/// A score of every head by one method, with what is needed to judge and repeat it.
struct HeadScore {
  std::string id = {};  ///< name in expressions: "retrieval", "mean-qk"
  Granularity granularity = Granularity::query;
  std::vector<double> value = {};                 ///< [L][H or G], NaN = undefined (null in the file)
  std::vector<double> ci_low = {}, ci_high = {};  ///< bounds of a confidence interval, or empty
  std::int64_t n = 0;                             ///< samples behind each value
  std::string reduce = {};  ///< how samples and heads of a group were combined: "mean", "max", ...
  std::string method = {};  ///< id of the method
  int version = 1;
  Json params = Json::object();
  std::string data_sha256 = {};
  std::int64_t seed = 0;
  Json other = Json::object();  ///< members this version does not know; written back
};

/// A label set by hand. It replaces what the method said of that head.
struct RoleOverride {
  HeadId head;
  std::vector<std::string> labels;  ///< the first one is the primary role; empty = no role
  std::string note;
};

/// What is known about the heads of one model, in one neutral file (`headplan.json`, schema headlight.headplan/1).
struct Headplan {
  struct Model {
    std::string name, arch, config_sha256, tokenizer_sha256;
    HeadGrid grid;
    int head_dim = 0;
    Json other = Json::object();
  } model;
  std::vector<HeadScore> scores;                    ///< in the order of the file; ids are unique
  std::vector<std::string> primary_lh;              ///< [L][H], "" = none; empty without roles
  std::vector<std::vector<std::string>> labels_lh;  ///< [L][H], every label of a head; empty without roles
  std::vector<RoleOverride> overrides;
  Json roles_other = Json::object();
  std::map<std::string, std::vector<HeadId>, std::less<>> sets;  ///< named sets of heads
  Json other = Json::object();  ///< gates, policy, window, prune, budgets, pattern and what is not known

  const HeadScore* find_score(std::string_view id) const;
  /// Adds, or replaces the one of the same id.
  void put_score(HeadScore score);
  /// Score per query head, [L][H]; scores per KV head are repeated. @error invalid_argument unknown id
  std::vector<double> score_per_head(std::string_view id) const;
  /// Labels of every head after the overrides, the primary role first, [L][H]; empty without roles.
  std::vector<std::vector<std::string>> effective_labels() const;
};

/// @error bad_format  names the JSON path: a missing member, a size that is not the model's, a repeated score;
///        bad_version  another schema
Headplan headplan_from_json(const Json& json);
Json to_json(const Headplan& plan);

/// @error as headplan_from_json(), not_found, unreadable; errors name the file
Headplan load_headplan(const std::string& path);
/// @error output_exists (without `overwrite`), io
void save_headplan(const Headplan& plan, const std::string& path, bool overwrite);

/// Adds scores as metrics, roles and sets of the plan; metrics that `facts` already answers stay as they are.
/// @error invalid_argument  the plan is of a model with other numbers of layers or heads
void add_headplan(HeadFacts& facts, const Headplan& plan);

}  // namespace headlight::heads
