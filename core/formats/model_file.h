#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "core/formats/model_spec.h"
#include "core/formats/tokenizer.h"
#include "core/formats/weights.h"

namespace headlight::formats {

struct OpenModelOptions {
  bool use_mmap = true;              ///< false: weights are read into memory
  bool allow_nonfinite = false;      ///< accept NaN/Inf in norm weights
  bool load_weights = true;          ///< false: header, config and tokenizer only (`info`, `tokenize`)
  std::int64_t sliding_window = -1;  ///< >= 0 overrides the file (Mistral's window is lost in GGUF)
  std::string pre_tokenizer;         ///< override of the pre-tokenizer's name
};

/// A model as found on disk, in neutral form.
struct ModelFile {
  ModelSpec spec;
  Weights weights;
  std::unique_ptr<Tokenizer> tokenizer;      ///< null when the folder has none
  std::string chat_template;                 ///< Jinja source; empty = none
  std::vector<std::filesystem::path> files;  ///< weight files in order
  std::vector<FileStamp> stamps;             ///< of `files`, when they were opened
};

/// Opens a `.gguf` file, a `.safetensors` file beside its config.json, or a folder holding either.
///
/// Rules in order: a file that begins with "GGUF"; a *.safetensors file (its folder is opened); a folder with
/// config.json; a folder with exactly one .gguf. Pickled weights are refused.
/// @error not_found, unreadable, bad_format, bad_version, unsupported (architecture or tensor type, by name)
ModelFile open_model(const std::filesystem::path& path, const OpenModelOptions& options = {});

/// Path of a model argument of the command line: an existing path, else a name of data/registry.json looked up in the
/// model store ($HEADLIGHT_MODELS, else $XDG_DATA_HOME/headlight/models, else ~/.local/share/headlight/models).
/// @error not_found  with the command that fetches it
std::filesystem::path resolve_model(const std::string& argument);

/// Throws Error{changed} when a weight file differs from what it was at opening.
void check_unchanged(const ModelFile& model);

/// SHA-256 over each file's bytes, cached by (path, size, mtime, inode) in $XDG_CACHE_HOME/headlight.
std::vector<std::string> file_hashes(const ModelFile& model);

}  // namespace headlight::formats
