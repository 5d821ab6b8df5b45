#include "core/engine/runner.h"

#include <fmt/format.h>

#include "base/error.h"
#include "core/engine/cuda_runner.h"

namespace headlight::engine {
namespace {

class CpuRunner final : public Runner {
 public:
  CpuRunner(const Engine::Impl& engine, bool keep_layers)
      : engine_(engine), cache_(engine.spec(), engine.options.kv_dtype, keep_layers) {}

  std::int64_t capacity() const override { return cache_.capacity(); }
  void reserve(std::int64_t rows) override { cache_.reserve(rows); }
  void forward(const ForwardRequest& request) override { forward_layers(engine_, workspace_, cache_, request); }
  void logits(std::int64_t first, std::int64_t n, std::int64_t start, float* logits) override {
    output_logits(engine_, workspace_, workspace_.x_id.data() + first * engine_.spec().hidden_size, n, start, logits);
  }

 private:
  const Engine::Impl& engine_;
  KvCache cache_;
  Workspace workspace_;
};

}  // namespace

void require_cpu(const Engine::Impl& engine, std::string_view what) {
  if (engine.cuda != nullptr)
    throw Error(Errc::unsupported, fmt::format("{} on CUDA are not in this version", what),
                {.file = {}, .field = "--device", .offset = {}, .hint = "use --device cpu"});
}

std::unique_ptr<Runner> make_runner(const Engine::Impl& engine, bool keep_layers) {
  if (engine.cuda != nullptr) return make_cuda_runner(engine, *engine.cuda);
  return std::make_unique<CpuRunner>(engine, keep_layers);
}

}  // namespace headlight::engine
