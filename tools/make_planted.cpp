// Writes a model whose heads have known roles: make-planted FOLDER [--variant noise --sigma 0.005 --seed 1].

#include <cstdio>

#include <CLI/CLI.hpp>

#include "base/error.h"
#include "core/planted/planted_model.h"

int main(int argc, char** argv) {
  using namespace headlight;
  CLI::App app("Write a transformer whose heads have known roles (config.json, model.safetensors)");
  std::string folder, variant = "roles";
  planted::PlantedOptions options;
  bool force = false;
  app.add_option("folder", folder, "Folder to write to")->required();
  app.add_option("--variant", variant, "roles, mha, mqa, weak, noise, windowed or gpt2")->capture_default_str();
  app.add_option("--sigma", options.sigma, "Standard deviation of the noise")->capture_default_str();
  app.add_option("--seed", options.seed, "Seed of the noise")->capture_default_str();
  app.add_flag("--force", force, "Overwrite");
  CLI11_PARSE(app, argc, argv);
  try {
    options.variant = planted::parse_variant(variant);
    planted::write_planted_model(planted::planted_model(options), folder, force);
  } catch (const Error& error) {
    std::fprintf(stderr, "make-planted: %s\n", error.what());
    return exit_code(error.code());
  }
}
