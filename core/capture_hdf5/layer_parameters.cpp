#include "core/capture_hdf5/layer_parameters.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace headlight::capture::hdf5 {

std::vector<ArraySpec> layer_parameter_arrays(const std::string& group, const CaptureHeader& header) {
  std::vector<ArraySpec> arrays;
  const hsize_t layers = header.plan.layers.size(), heads = static_cast<hsize_t>(header.model.num_heads);
  const auto add = [&](const char* name, Element element, const char* long_name, bool per_head = false) {
    ArraySpec spec;
    spec.path = group + "/" + name;
    spec.axes = per_head ? "layer,head" : "layer";
    spec.element = element;
    spec.dims = per_head ? Sizes{layers, heads} : Sizes{layers};
    spec.long_name = long_name;
    spec.fill_is_missing = element == Element::f32;
    if (!spec.fill_is_missing) spec.fill = 0;
    arrays.push_back(std::move(spec));
  };
  add("scale", Element::f32, "factor of q.k");
  add("soft_cap", Element::f32, "soft cap of the scores, 0 = off");
  add("window", Element::i64, "sliding window, 0 = none");
  add("causal", Element::u8, "1 = keys after the row are invisible");
  add("null_logit", Element::f32, "learned sink logit, -inf = none", true);
  return arrays;
}

void write_layer_parameters(PartFile& file, const std::string& group, const CaptureHeader& header,
                            const std::vector<LayerParameters>& layers) {
  const hsize_t count = layers.size(), heads = static_cast<hsize_t>(header.model.num_heads);
  std::vector<float> scale, cap, null_logit(count * heads, -std::numeric_limits<float>::infinity());
  std::vector<std::int64_t> window;
  std::vector<std::uint8_t> causal;
  for (const LayerParameters& layer : layers) {
    std::copy(layer.null_logit_h.begin(), layer.null_logit_h.end(),
              null_logit.begin() + static_cast<std::ptrdiff_t>(scale.size() * heads));
    scale.push_back(layer.scale);
    cap.push_back(layer.soft_cap);
    window.push_back(layer.window);
    causal.push_back(layer.causal);
  }
  file.array(group + "/scale").write({0}, {count}, scale.data());
  file.array(group + "/soft_cap").write({0}, {count}, cap.data());
  file.array(group + "/window").write({0}, {count}, window.data());
  file.array(group + "/causal").write({0}, {count}, causal.data());
  file.array(group + "/null_logit").write({0, 0}, {count, heads}, null_logit.data());
}

std::vector<LayerParameters> read_layer_parameters(const StoredFile& file, const std::string& group,
                                                   const CaptureHeader& header) {
  const hsize_t count = header.plan.layers.size(), heads = static_cast<hsize_t>(header.model.num_heads);
  for (const char* name : {"scale", "soft_cap", "window", "causal", "null_logit"}) {
    const bool per_head = std::string_view(name) == "null_logit";
    const auto& dims = file.array(group + "/" + name, per_head ? 2 : 1).dims;
    if (dims[0] != count || (per_head && dims[1] != heads))
      file.refuse(Errc::damaged, group + "/" + name, fmt::format("expected {} layers, found {}", count, dims[0]));
  }
  const Buffer<float> scale = file.read_floats(group + "/scale", {0}, {count});
  const Buffer<float> cap = file.read_floats(group + "/soft_cap", {0}, {count});
  const Buffer<float> null_logit = file.read_floats(group + "/null_logit", {0, 0}, {count, heads});
  const auto window = file.read_integers(group + "/window", count);
  const auto causal = file.read_integers(group + "/causal", count);
  std::vector<LayerParameters> layers;
  for (std::size_t l = 0; l < count; ++l) {
    LayerParameters layer{header.plan.layers[l], scale[l], cap[l], window[l], causal[l] != 0, {}};
    if (!std::isfinite(layer.scale) || !std::isfinite(layer.soft_cap) || layer.soft_cap < 0.0f || layer.window < 0 ||
        layer.window > (std::int64_t{1} << 40))
      file.refuse(Errc::damaged, group, fmt::format("has impossible parameters of layer {}", layer.layer));
    const float* begin = null_logit.data() + l * heads;
    if (std::any_of(begin, begin + heads, [](float logit) { return std::isfinite(logit); }))
      layer.null_logit_h.assign(begin, begin + heads);
    layers.push_back(std::move(layer));
  }
  return layers;
}

}  // namespace headlight::capture::hdf5
