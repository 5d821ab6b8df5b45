// make_capture PATH [replay|maps|generated|masked|bf16|corpus]: writes a synthetic capture, for tests in other
// languages.

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
  if (kind == "maps") {
    run.level = capture::CaptureLevel::maps;
  } else if (kind == "generated") {
    run.generated_tokens = 20;
  } else if (kind == "masked") {  // everything that hides keys or heads
    run.window = 9;
    run.soft_cap = 1.5f;
    run.null_logit = true;
    run.first_key = 3;
    run.row_begin = 5;
    run.some_heads_only = true;
  } else if (kind == "bf16") {
    run.replay_dtype = DType::bf16;
  } else if (kind == "corpus") {
    run.num_records = 3;
    run.level = capture::CaptureLevel::summary;
    options.stacked_corpus = true;
  } else if (kind != "replay") {
    std::fprintf(stderr, "unknown kind '%s'\n", kind.c_str());
    return 2;
  }
  try {
    run.write(*capture::create_capture(argv[1], options));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
