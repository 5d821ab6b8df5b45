// Writes a GGUF file with its weight matrices stored in another type, so that two quantisations of one model can be
// compared: requantize IN.gguf OUT.gguf --type q8_0. Everything else is copied.

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <deque>
#include <numeric>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"
#include "core/formats/gguf.h"
#include "core/formats/gguf_writer.h"
#include "core/formats/quantize.h"
#include "kernels/dequantize.h"

namespace headlight {
namespace {

constexpr TensorType kTypes[] = {TensorType::f32,  TensorType::f16,  TensorType::bf16, TensorType::q4_0,
                                 TensorType::q4_1, TensorType::q5_0, TensorType::q5_1, TensorType::q8_0,
                                 TensorType::q4_k, TensorType::q5_k, TensorType::q6_k};

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

TensorType parse_type(const std::string& name) {
  std::string known;
  for (const TensorType type : kTypes) {
    const std::string own = lower(info(type).name);
    if (own == lower(name)) return type;
    known += (known.empty() ? "" : ", ") + own;
  }
  throw Error(Errc::invalid_argument, fmt::format("type: expected one of {}, found \"{}\"", known, name));
}

std::vector<std::byte> requantized(const formats::GgufTensor& tensor, TensorType from, TensorType to,
                                   std::span<const std::byte> stored) {
  const auto cols = static_cast<std::size_t>(tensor.shape.back());
  const std::size_t rows = static_cast<std::size_t>(
      std::accumulate(tensor.shape.begin(), tensor.shape.end() - 1, std::int64_t{1}, std::multiplies<>{}));
  std::vector<float> row(cols);
  std::vector<std::byte> out;
  for (std::size_t r = 0; r < rows; ++r) {
    kernels::dequantize_row(from, stored.data() + r * stored.size() / rows, row);
    const auto bytes = formats::quantize_row(to, row);
    out.insert(out.end(), bytes.begin(), bytes.end());
  }
  return out;
}

void requantize(const std::string& in, const std::string& out, TensorType type, bool overwrite) {
  const auto file = formats::GgufFile::open(in);
  std::deque<MappedFile> parts;
  for (const auto& path : file.paths()) parts.emplace_back(InputFile(path));
  std::deque<std::vector<std::byte>> made;
  formats::GgufWriter writer;
  writer.add_metadata_of(file);
  for (const auto& tensor : file.tensors()) {
    const auto stored = parts[static_cast<std::size_t>(tensor.part)].bytes().subspan(tensor.offset, tensor.bytes);
    const auto from = tensor_type_from_ggml(tensor.ggml_type);
    if (!from) throw Error(Errc::unsupported, fmt::format("tensor {}: ggml type {}", tensor.name, tensor.ggml_type));
    const bool matrix = tensor.shape.size() > 1;
    if (matrix) made.push_back(requantized(tensor, *from, type, stored));
    writer.add_tensor(tensor.name, matrix ? type : *from, tensor.shape,
                      matrix ? std::span<const std::byte>(made.back()) : stored);
  }
  writer.write(out, overwrite);
}

}  // namespace
}  // namespace headlight

int main(int argc, char** argv) {
  CLI::App app("Write a GGUF file with its weight matrices in another type, by round-to-nearest");
  std::string in, out, type;
  bool force = false;
  app.add_option("in", in, "GGUF file")->required();
  app.add_option("out", out, "GGUF file to write")->required();
  app.add_option("--type", type, "f32, f16, bf16, q4_0, q4_1, q5_0, q5_1, q8_0, q4_k, q5_k or q6_k")->required();
  app.add_flag("--force", force, "Overwrite");
  CLI11_PARSE(app, argc, argv);
  try {
    headlight::requantize(in, out, headlight::parse_type(type), force);
  } catch (const headlight::Error& error) {
    std::fprintf(stderr, "requantize: %s\n", error.what());
    return headlight::exit_code(error.code());
  }
}
