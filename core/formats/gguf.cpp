#include "core/formats/gguf.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>
#include <unordered_set>

#include "base/buffer.h"
#include "base/byte_reader.h"
#include "base/checked.h"
#include "core/formats/fail.h"
#include "core/formats/gguf_types.h"
#include "core/formats/tensor_type.h"
#include "core/formats/utf8.h"

namespace headlight::formats {
namespace {

constexpr std::uint64_t kMaxKeys = 65'536;
constexpr std::uint64_t kMaxTensors = 262'144;
constexpr std::uint64_t kMaxKeyLength = 65'535;
constexpr std::uint64_t kMaxNameLength = 255;
constexpr std::uint64_t kMaxStringLength = 16u << 20;
constexpr std::uint64_t kMaxArrayLength = 1u << 24;
constexpr std::uint64_t kMaxDecodedBytes = 128u << 20;  // metadata as held in memory
constexpr std::uint64_t kMaxHeaderBytes = 64u << 20;
constexpr std::uint64_t kMaxElements = 1ull << 40;
constexpr std::uint64_t kMaxFileBytes = 1ull << 44;

constexpr std::array<std::uint64_t, kNumValueTypes> kTypeBytes{1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

std::string_view view(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// What a GgufValue holds, in words.
std::string_view held_type(const GgufValue& value) {
  constexpr std::array<std::string_view, 9> names{
      "an integer",          "an integer",        "a number",           "a bool", "a string", "an array of integers",
      "an array of numbers", "an array of bools", "an array of strings"};
  return names[value.value.index()];
}

class HeaderParser {
 public:
  HeaderParser(std::span<const std::byte> bytes, std::uint64_t file_size)
      : bytes_(bytes), file_size_(file_size), in_(bytes) {}

  void parse() {
    check_magic();
    version_ = in_.read<std::uint32_t>("version");
    if ((version_ & 0xffffu) == 0 && version_ != 0)
      fail(Errc::unsupported, {"version", 4}, "a big-endian file; only little-endian files are supported");
    if (version_ != 2 && version_ != 3) fail(Errc::bad_version, {"version", 4}, "expected 2 or 3, found {}", version_);
    const auto n_tensors = in_.read_count(kMaxTensors, 24, "tensor count");
    const auto n_keys = in_.read_count(kMaxKeys, 13, "key count");
    for (std::uint64_t i = 0; i < n_keys; ++i) parse_key();
    for (std::uint64_t i = 0; i < n_tensors; ++i) parse_tensor();
    place_tensors();
  }

  std::uint32_t version_ = 0;
  std::vector<std::pair<std::string, GgufValue>> metadata_;
  std::vector<GgufTensor> tensors_;

 private:
  void check_magic() {
    const std::string_view start = view(bytes_.first(std::min<std::size_t>(bytes_.size(), 24)));
    if (start.starts_with("version https://git-l"))
      bad_format({"magic", 0, "Fetch the file itself with `git lfs pull`."},
                 "is a git-LFS pointer, not the model file it stands for");
    if (bytes_.size() < 24) {
      bad_format({"header"}, "a GGUF file has at least 24 bytes, found {}", bytes_.size());
    }
    const std::string_view magic = start.substr(0, 4);
    if (magic == "GGUF") {
      in_.take(4, "magic");
      return;
    }
    for (const std::string_view old : {"ggml", "GGML", "ggmf", "ggjt", "ggla", "lmgg", "fmgg", "tjgg"})
      if (magic == old) bad_format({"magic", 0}, "'{}' is an old format that GGUF replaced; convert the model", old);
    if (magic == "FUGG")
      fail(Errc::unsupported, {"magic", 0}, "a byte-swapped file; only little-endian files are supported");
    bad_format({"magic", 0}, "expected the bytes 'GGUF', found {:02x} {:02x} {:02x} {:02x}",
               static_cast<unsigned char>(magic[0]), static_cast<unsigned char>(magic[1]),
               static_cast<unsigned char>(magic[2]), static_cast<unsigned char>(magic[3]));
  }

  std::string_view read_string(std::uint64_t limit, std::string_view field) {
    const auto length = in_.read_count(limit, 1, field);
    return view(in_.take(length, field));
  }

  void count_decoded(std::uint64_t items, std::uint64_t bytes_per_item, std::string_view key) {
    decoded_ += items * bytes_per_item;
    if (decoded_ > kMaxDecodedBytes)
      bad_format({std::string(key), in_.offset()}, "metadata need more than {} MiB of memory", kMaxDecodedBytes >> 20);
  }

  void parse_key() {
    const auto at = in_.offset();
    const std::string key(read_string(kMaxKeyLength, "key length"));
    if (key.empty()) bad_format({"key", at}, "key {} is empty", metadata_.size());
    if (!is_printable_utf8(key)) bad_format({"key", at}, "key {} is not printable UTF-8", metadata_.size());
    if (!keys_.insert(key).second) bad_format({key, at}, "duplicate key");
    const auto type_at = in_.offset();
    const auto type = in_.read<std::uint32_t>(key);
    if (type >= kNumValueTypes) bad_format({key, type_at}, "unknown value type {}", type);
    count_decoded(1, 256, key);
    GgufValue value = type == kArray ? read_array(key) : read_scalar(type, key);
    if (type != kArray) value.stored_as = type;
    metadata_.emplace_back(key, std::move(value));
  }

  GgufValue read_scalar(std::uint32_t type, const std::string& key) {
    switch (type) {
      case kF32:
        return {static_cast<double>(in_.read<float>(key))};
      case kF64:
        return {in_.read<double>(key)};
      case kBool:
        return {read_bool(key)};
      case kString: {
        const auto text = read_string(kMaxStringLength, key);
        count_decoded(text.size(), 1, key);
        return {std::string(text)};
      }
      case kU64: {
        const auto value = in_.read<std::uint64_t>(key);
        if (value > static_cast<std::uint64_t>(INT64_MAX)) return {value};
        return {static_cast<std::int64_t>(value)};
      }
      default:
        return {read_integer(type, key)};
    }
  }

  bool read_bool(const std::string& key) {
    const auto at = in_.offset();
    const auto value = in_.read<std::uint8_t>(key);
    if (value > 1) bad_format({key, at}, "expected a bool of 0 or 1, found {}", value);
    return value == 1;
  }

  std::int64_t read_integer(std::uint32_t type, const std::string& key) {
    const auto at = in_.offset();
    switch (type) {
      case kU8:
        return in_.read<std::uint8_t>(key);
      case kI8:
        return in_.read<std::int8_t>(key);
      case kU16:
        return in_.read<std::uint16_t>(key);
      case kI16:
        return in_.read<std::int16_t>(key);
      case kU32:
        return in_.read<std::uint32_t>(key);
      case kI32:
        return in_.read<std::int32_t>(key);
      case kI64:
        return in_.read<std::int64_t>(key);
      case kU64: {
        const auto value = in_.read<std::uint64_t>(key);
        if (value > static_cast<std::uint64_t>(INT64_MAX))
          bad_format({key, at}, "expected an integer below 2^63, found {}", value);
        return static_cast<std::int64_t>(value);
      }
      default:
        throw ContractViolation("not an integer type");
    }
  }

  GgufValue read_array(const std::string& key) {
    const auto at = in_.offset();
    const auto type = in_.read<std::uint32_t>(key);
    if (type == kArray) bad_format({key, at}, "arrays of arrays are not supported");
    if (type >= kNumValueTypes) bad_format({key, at}, "unknown element type {}", type);
    const auto count = in_.read_count(kMaxArrayLength, kTypeBytes[type], key);
    if (type == kString) {
      count_decoded(count, sizeof(std::string), key);
      GgufValue::Strings strings;
      strings.reserve(count);
      for (std::uint64_t i = 0; i < count; ++i) {
        const auto text = read_string(kMaxStringLength, key);
        if (text.size() > 15) count_decoded(text.size(), 1, key);  // shorter ones live inside std::string
        strings.emplace_back(text);
      }
      return {std::move(strings), type};
    }
    count_decoded(count, type == kBool ? 1 : 8, key);
    if (type == kBool) {
      std::vector<bool> bools(count);
      for (std::uint64_t i = 0; i < count; ++i) bools[i] = read_bool(key);
      return {std::move(bools), type};
    }
    if (type == kF32 || type == kF64) {
      GgufValue::Floats floats(count);
      for (auto& value : floats)
        value = type == kF32 ? static_cast<double>(in_.read<float>(key)) : in_.read<double>(key);
      return {std::move(floats), type};
    }
    GgufValue::Integers integers(count);
    for (auto& value : integers) value = read_integer(type, key);
    return {std::move(integers), type};
  }

  void parse_tensor() {
    const auto at = in_.offset();
    GgufTensor tensor;
    tensor.name = read_string(kMaxNameLength, "tensor name");
    if (tensor.name.empty()) bad_format({"tensor name", at}, "tensor {} has an empty name", tensors_.size());
    if (!is_printable_utf8(tensor.name))
      bad_format({"tensor name", at}, "name of tensor {} is not printable UTF-8", tensors_.size());
    const std::string field = tensor_field(tensor.name);
    if (!names_.insert(tensor.name).second) bad_format({field, at}, "duplicate tensor name");
    const auto n_dims = in_.read<std::uint32_t>(field);
    if (n_dims < 1 || n_dims > 4) bad_format({field, at}, "expected 1 to 4 dimensions, found {}", n_dims);
    std::uint64_t elements = 1;
    tensor.shape.resize(n_dims);
    for (std::uint32_t d = 0; d < n_dims; ++d) {
      const auto length = in_.read<std::uint64_t>(field);
      const auto product = checked_mul(elements, length);
      if (length < 1 || !product || *product > kMaxElements)
        bad_format({field, at}, "dimension {} is {}; a tensor has 1 to 2^40 elements", d, length);
      elements = *product;
      tensor.shape[n_dims - 1 - d] = static_cast<std::int64_t>(length);
    }
    tensor.ggml_type = in_.read<std::uint32_t>(field);
    tensor.offset = in_.read<std::uint64_t>(field);
    tensor.bytes = tensor_bytes(tensor, elements, field, at);
    tensors_.push_back(std::move(tensor));
  }

  static std::uint64_t tensor_bytes(const GgufTensor& tensor, std::uint64_t elements, const std::string& field,
                                    std::uint64_t at) {
    const auto type = tensor_type_from_ggml(tensor.ggml_type);
    if (!type) {
      const auto name = ggml_type_name(tensor.ggml_type);
      if (name == "unknown") fail(Errc::unsupported, {field, at}, "unsupported tensor type {}", tensor.ggml_type);
      fail(Errc::unsupported, {field, at}, "unsupported tensor type {}", name);
    }
    const auto& facts = info(*type);
    const auto cols = tensor.shape.back();
    if (cols % facts.block_size != 0)
      bad_format({field, at}, "rows of {} elements are not a whole number of {} blocks of {}", cols, facts.name,
                 facts.block_size);
    return elements / facts.block_size * facts.block_bytes;  // below 2^43: elements <= 2^40, at most 4.5 bytes each
  }

  std::uint64_t alignment() const {
    for (const auto& [key, value] : metadata_) {
      if (key != "general.alignment") continue;
      const auto* number = std::get_if<std::int64_t>(&value.value);
      if (!number) bad_format({key}, "expected an integer, found {}", held_type(value));
      if (*number < 8 || *number > (1 << 20) || (*number & (*number - 1)) != 0)
        bad_format({key}, "expected a power of two from 8 to 1048576, found {}", *number);
      return static_cast<std::uint64_t>(*number);
    }
    return 32;
  }

  /// Makes offsets absolute and checks that every tensor lies in the file and none overlaps another.
  void place_tensors() {
    const std::uint64_t align = alignment();
    const std::uint64_t start = (in_.offset() + align - 1) / align * align;
    for (auto& tensor : tensors_) {
      const std::string field = tensor_field(tensor.name);
      if (tensor.offset % align != 0)
        bad_format({field}, "offset {} is not a multiple of the alignment {}", tensor.offset, align);
      const auto absolute = checked_add(start, tensor.offset);
      const auto end = absolute ? checked_add(*absolute, tensor.bytes) : std::nullopt;
      if (!end || *end > file_size_)
        bad_format({field, absolute}, "{} bytes at data offset {} end beyond the file of {} bytes", tensor.bytes,
                   tensor.offset, file_size_);
      tensor.offset = *absolute;
    }
    std::vector<std::size_t> order(tensors_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [&](auto a, auto b) { return tensors_[a].offset < tensors_[b].offset; });
    for (std::size_t i = 1; i < order.size(); ++i) {
      const auto& before = tensors_[order[i - 1]];
      const auto& after = tensors_[order[i]];
      if (before.offset + before.bytes > after.offset)
        bad_format({tensor_field(after.name), after.offset}, "overlaps tensor '{}'", before.name);
    }
  }

  std::span<const std::byte> bytes_;
  std::uint64_t file_size_;
  ByteReader in_;
  std::uint64_t decoded_ = 0;
  std::unordered_set<std::string> keys_, names_;
};

/// Name of part `number` (1-based) of a split model, given any of its parts.
std::filesystem::path part_name(const std::filesystem::path& path, std::int64_t number, std::int64_t count) {
  const std::string stem = path.stem().string();
  constexpr std::size_t kTail = std::string_view("-00001-of-00001").size();
  const bool fits = stem.size() > kTail && stem[stem.size() - kTail] == '-' &&
                    stem.substr(stem.size() - 9) == fmt::format("-of-{:05}", count);
  if (!fits)
    throw Error(Errc::bad_format,
                fmt::format("is one of {} parts, but its name does not end in -NNNNN-of-{:05}.gguf", count, count),
                {.file = path.string(), .field = "split.count", .offset = {}, .hint = {}});
  return path.parent_path() / fmt::format("{}-{:05}-of-{:05}.gguf", stem.substr(0, stem.size() - kTail), number, count);
}

GgufFile open_one(const std::filesystem::path& path) {
  const InputFile file(path);
  // Headers are rarely larger than a few MiB; the longer read is only tried when the first one failed.
  for (std::uint64_t limit = 8u << 20;; limit = kMaxHeaderBytes) {
    Buffer<std::byte> header(std::min(file.size(), limit));
    file.read_at(0, header);
    try {
      return GgufFile::parse(std::span<const std::byte>(header.data(), header.size()), file.size(), path.string());
    } catch (const Error&) {
      if (header.size() == file.size() || limit == kMaxHeaderBytes) throw;
    }
  }
}

template <class T>
const T* typed(const GgufFile& file, std::string_view key, std::string_view expected) {
  const auto* value = file.find(key);
  if (!value) return nullptr;
  const T* held = std::get_if<T>(&value->value);
  if (!held) bad_format({std::string(key)}, "expected {}, found {}", expected, held_type(*value));
  return held;
}

}  // namespace

GgufFile GgufFile::parse(std::span<const std::byte> bytes, std::uint64_t file_size, const std::string& name) {
  try {
    if (file_size > kMaxFileBytes) bad_format({"size"}, "a file of {} bytes exceeds the limit of 2^44", file_size);
    HeaderParser parser(bytes, file_size);
    parser.parse();
    GgufFile file;
    file.paths_ = {name};
    file.version_ = parser.version_;
    file.metadata_ = std::move(parser.metadata_);
    file.tensors_ = std::move(parser.tensors_);
    return file;
  } catch (const Error& error) {
    throw error.in_file(name);
  }
}

GgufFile GgufFile::open(const std::filesystem::path& path) {
  GgufFile given = open_one(path);
  try {
    const std::int64_t count = given.integer("split.count").value_or(1);
    if (count <= 1) return given;
    if (count > 99'999) bad_format({"split.count"}, "expected 1 to 99999, found {}", count);

    GgufFile whole;
    std::unordered_set<std::string> names;
    for (std::int64_t number = 1; number <= count; ++number) {
      const auto name = part_name(path, number, count);
      GgufFile part = open_one(name);
      try {
        if (part.integer("split.count").value_or(1) != count || part.integer("split.no").value_or(-1) != number - 1)
          bad_format({"split.no"}, "expected part {} of {}, found part {} of {}", number, count,
                     part.integer("split.no").value_or(-1) + 1, part.integer("split.count").value_or(1));
        for (auto& tensor : part.tensors_) {
          if (!names.insert(tensor.name).second)
            bad_format({tensor_field(tensor.name)}, "is in an earlier part of the split model already");
          tensor.part = static_cast<int>(number - 1);
          whole.tensors_.push_back(std::move(tensor));
        }
      } catch (const Error& error) {
        throw error.in_file(name.string());
      }
      whole.paths_.push_back(name);
      if (number == 1) {
        whole.version_ = part.version_;
        whole.metadata_ = std::move(part.metadata_);
      }
    }
    const auto total = whole.integer("split.tensors.count");
    if (total && *total != static_cast<std::int64_t>(whole.tensors_.size()))
      bad_format({"split.tensors.count"}, "expected {} tensors, found {}", *total, whole.tensors_.size());
    return whole;
  } catch (const Error& error) {
    throw error.in_file(path.string());
  }
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  const auto it = std::find_if(tensors_.begin(), tensors_.end(), [&](const auto& t) { return t.name == name; });
  return it == tensors_.end() ? nullptr : &*it;
}

const GgufValue* GgufFile::find(std::string_view key) const {
  const auto it =
      std::find_if(metadata_.begin(), metadata_.end(), [&](const auto& entry) { return entry.first == key; });
  return it == metadata_.end() ? nullptr : &it->second;
}

std::optional<std::int64_t> GgufFile::integer(std::string_view key) const {
  const auto* value = find(key);
  if (!value) return std::nullopt;
  if (const auto* huge = std::get_if<std::uint64_t>(&value->value))
    bad_format({std::string(key)}, "expected an integer below 2^63, found {}", *huge);
  return *typed<std::int64_t>(*this, key, "an integer");
}

std::optional<double> GgufFile::number(std::string_view key) const {
  const auto* value = find(key);
  if (!value) return std::nullopt;
  if (const auto* integer = std::get_if<std::int64_t>(&value->value)) return static_cast<double>(*integer);
  const double number = *typed<double>(*this, key, "a number");
  if (!std::isfinite(number)) bad_format({std::string(key)}, "expected a finite number, found {}", number);
  return number;
}

std::optional<bool> GgufFile::boolean(std::string_view key) const {
  const auto* value = typed<bool>(*this, key, "a bool");
  return value ? std::optional(*value) : std::nullopt;
}

const std::string* GgufFile::string(std::string_view key) const {
  return typed<std::string>(*this, key, "a string");
}

const GgufValue::Strings* GgufFile::strings(std::string_view key) const {
  return typed<GgufValue::Strings>(*this, key, "an array of strings");
}

const GgufValue::Integers* GgufFile::integers(std::string_view key) const {
  return typed<GgufValue::Integers>(*this, key, "an array of integers");
}

const GgufValue::Floats* GgufFile::floats(std::string_view key) const {
  return typed<GgufValue::Floats>(*this, key, "an array of numbers");
}

}  // namespace headlight::formats
