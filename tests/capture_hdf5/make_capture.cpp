// make_capture PATH [replay|maps|generated|corpus]: writes a synthetic capture, for tests in other languages.

#include <cstdio>
#include <exception>
#include <string>

#include "core/capture_hdf5/capture_file.h"
#include "tests/support/synthetic_capture.h"

int main(int argc, char** argv) {
  using namespace headlight;
  if (argc < 2) return 2;
  const std::string kind = argc > 2 ? argv[2] : "replay";
  testing_support::SyntheticRun run;
  capture::CaptureWriterOptions options;
  options.overwrite = true;
  options.reproducible = true;
  if (kind == "maps") run.level = capture::CaptureLevel::maps;
  if (kind == "generated") run.generated_tokens = 20;
  if (kind == "corpus") {
    run.num_records = 3;
    run.level = capture::CaptureLevel::summary;
    options.stacked_corpus = true;
  }
  try {
    run.write(*capture::create_capture(argv[1], options));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
