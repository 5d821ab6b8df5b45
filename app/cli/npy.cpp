#include "app/cli/npy.h"

#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/file.h"

namespace headlight::cli {

void write_npy(const std::filesystem::path& path, std::span<const float> values, const std::vector<std::int64_t>& shape,
               bool overwrite) {
  std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}{}), }}",
                                   fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
  // Magic (8 bytes), length (2), header and newline together fill a multiple of 64 bytes.
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  const std::string magic = {'\x93',
                             'N',
                             'U',
                             'M',
                             'P',
                             'Y',
                             1,
                             0,
                             static_cast<char>(header.size() & 255),
                             static_cast<char>(header.size() >> 8)};
  OutputFile file(path, overwrite);
  file.write(magic);
  file.write(header);
  file.write(std::as_bytes(values));
  file.commit();
}

}  // namespace headlight::cli
