#include "analysis/roles/text_prompt.h"

namespace headlight::analysis {

std::vector<std::int32_t> text_prompt(const RoleInputs& inputs, std::size_t part, std::size_t parts,
                                      std::int64_t length) {
  if (!inputs.codec || inputs.documents.empty()) return random_sequence(inputs.pool, length, inputs.seed, part);
  std::vector<std::int32_t> ids, all;
  if (inputs.pool.bos) ids.push_back(*inputs.pool.bos);
  for (const auto& document : inputs.documents) {
    const auto more = inputs.codec.encode(document.text);
    all.insert(all.end(), more.begin(), more.end());
  }
  for (std::size_t k = part * all.size() / parts; std::ssize(ids) < length; ++k) ids.push_back(all[k % all.size()]);
  return ids;
}

}  // namespace headlight::analysis
