#include "base/error.h"
#include "core/formats/tokenizer.h"

namespace headlight::formats {

std::unique_ptr<Tokenizer> make_tokenizer(const GgufFile&, std::string_view) {
  return nullptr;
}
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path&) {
  return nullptr;
}

}  // namespace headlight::formats
