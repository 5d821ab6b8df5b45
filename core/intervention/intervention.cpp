#include "core/intervention/intervention.h"

namespace headlight::intervention {

Intervention scale_heads(std::vector<HeadId> heads, double scale) {
  Intervention out;
  out.id = out.method = "head-scale";
  out.scope.heads = std::move(heads);
  out.params["scale"] = scale;
  return out;
}

Intervention mask_keys(std::int64_t begin, std::int64_t end, std::vector<HeadId> heads) {
  Intervention out;
  out.id = out.method = "key-ablation";
  out.scope.heads = std::move(heads);
  out.inputs.spans.push_back({begin, end, {}});
  return out;
}

Intervention replace_heads(std::vector<HeadValues> vectors) {
  Intervention out;
  out.id = out.method = "mean-ablation";
  for (const HeadValues& entry : vectors) out.scope.heads.push_back(entry.head);
  out.inputs.head_values = std::move(vectors);
  return out;
}

}  // namespace headlight::intervention
