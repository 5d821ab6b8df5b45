#include <cmath>
#include <cstdlib>
#include <random>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "kernels_cuda/cuda_kernels.h"

#include "app/cli/build_info.h"
#include "app/cli/invocation.h"
#include "app/cli/ranges.h"
#include "base/error.h"
#include "base/thread_pool.h"
#include "core/capture_hdf5/capture_file.h"
#include "core/formats/registry.h"
#include "kernels/attention.h"
#include "kernels/attention_ref.h"
#include "kernels/cpu_tier.h"

namespace headlight::cli {
namespace {

/// Largest output difference between the fast kernel and the float64 definition on a small random problem.
double attention_self_test(ThreadPool& pool) {
  constexpr int kHeads = 4, kGroups = 2, kDim = 64;
  constexpr std::int64_t kRows = 100;
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> q(kRows * kHeads * kDim), k(kGroups * kRows * kDim), v(kGroups * kRows * kDim), fast(q.size());
  for (auto* values : {&q, &k, &v})
    for (float& x : *values) x = normal(random);
  kernels::AttentionInputs in;
  in.num_queries = in.num_keys = kRows;
  in.num_heads = kHeads;
  in.num_kv_heads = kGroups;
  in.head_dim = kDim;
  in.q_ihd = q.data();
  in.q_stride = kHeads * kDim;
  in.k_gjd = k.data();
  in.v_gjd = v.data();
  in.kv_stride = kRows * kDim;
  in.scale = 0.125f;
  kernels::AttentionWorkspace workspace;
  kernels::attention(pool, workspace, in, fast.data(), kHeads * kDim, nullptr, nullptr);
  const auto exact = kernels::attention_reference(in, nullptr);
  double worst = 0;
  for (std::size_t i = 0; i < fast.size(); ++i)
    worst = std::max(worst, std::abs(static_cast<double>(fast[i]) - exact.out_ihd[i]));
  return worst;
}

/// Devices that can run models, or why there is none.
std::string cuda_text() {
  const cuda::CudaKernels* kernels = cuda::cuda_kernels();
  if (kernels == nullptr) return "not in this build (HEADLIGHT_CUDA=OFF)";
  std::string why, text;
  for (const cuda::DeviceInfo& device : kernels->devices(why))
    text +=
        fmt::format("{}cuda:{} {} (compute capability {}.{}, {} free of {})", text.empty() ? "" : "; ", device.index,
                    device.name, device.major, device.minor, human_bytes(static_cast<std::int64_t>(device.free_bytes)),
                    human_bytes(static_cast<std::int64_t>(device.total_bytes)));
  return text.empty() ? why : text;
}

void doctor(Invocation& invocation) {
  std::string tiers;
  for (const auto tier : kernels::available_cpu_tiers())
    tiers += (tiers.empty() ? "" : " ") + std::string(kernels::to_string(tier));
  const auto pages = static_cast<std::int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
  ThreadPool pool(ThreadPool::available_threads());
  const double error = attention_self_test(pool);
  const bool passed = error < 1e-5;
  Json json;
  json["version"] = version();
  json["commit"] = build_commit();
  json["build"] = build_type();
  json["compiler"] = build_compiler();
  json["cpu"] = cpu_name();
  json["cpu_tiers"] = tiers;
  json["cpu_tier_in_use"] = kernels::to_string(kernels::active_cpu_tier());
  json["threads"] = pool.num_threads();
  json["memory"] = human_bytes(pages);
  json["cuda"] = cuda_text();
  json["hdf5"] = capture::hdf5_library_version();
#ifdef HEADLIGHT_HAS_FIGURES
  json["pictures"] = "png svg pdf";
#else
  json["pictures"] = "not in this build (HEADLIGHT_QT=OFF)";
#endif
  json["model_store"] = formats::model_store().string();
  json["self_test"] = {{"attention_error", error}, {"passed", passed}};
  if (invocation.json) {
    print_json(invocation, {}, json);
  } else {
    std::string text;
    for (const auto& [key, value] : json.items())
      if (key != "self_test")
        text += fmt::format("{:<18} {}\n", key, value.is_string() ? value.get<std::string>() : value.dump());
    print_text(text + fmt::format("{:<18} attention against float64: largest difference {:.2e}, {}\n", "self_test",
                                  error, passed ? "ok" : "FAILED"));
  }
  if (!passed)
    throw Error(Errc::check_failed, fmt::format("attention differs from its float64 definition by {:.3g}", error));
}

void models(Invocation& invocation) {
  const auto registry = formats::load_registry();
  Json list = Json::array();
  std::string text = fmt::format("{:<28} {:>9} {:<10} {}\n", "name", "size", "state", "title");
  for (const auto& model : registry) {
    const auto path = formats::model_store() / model.file;
    std::error_code ignored;
    const bool present = std::filesystem::exists(path, ignored);
    list.push_back({{"name", model.name},
                    {"title", model.title},
                    {"bytes", model.bytes},
                    {"present", present},
                    {"path", path.string()},
                    {"licence", model.licence}});
    text += fmt::format("{:<28} {:>9} {:<10} {}\n", model.name, human_bytes(model.bytes), present ? "present" : "-",
                        model.title);
  }
  if (invocation.json)
    print_json(invocation, {}, {{"store", formats::model_store().string()}, {"models", list}});
  else
    print_text(text +
               fmt::format("store: {}\nfetch one with: scripts/fetch-model NAME\n", formats::model_store().string()));
}

}  // namespace

Verb doctor_verb() {
  return {.name = "doctor",
          .summary = "What this build and machine can do, with a self-test of the kernels",
          .examples = {"headlight doctor"},
          .define = [](CLI::App&) -> Action { return doctor; }};
}

Verb models_verb() {
  return {.name = "models",
          .summary = "Models of the registry and which of them are here",
          .examples = {"headlight models"},
          .define = [](CLI::App&) -> Action { return models; }};
}

}  // namespace headlight::cli
