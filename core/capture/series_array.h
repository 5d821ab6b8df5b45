#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "base/buffer.h"

namespace headlight::capture {

/// Numbers that arrive row by row: [series][rows][width], rows grow as needed, NaN where nobody wrote.
class SeriesArray {
 public:
  SeriesArray() = default;
  SeriesArray(std::int64_t series, std::int64_t width) : series_(series), width_(width) {}

  std::int64_t series() const { return series_; }
  std::int64_t capacity() const { return capacity_; }
  float* at(std::int64_t series, std::int64_t row) { return data_.data() + (series * capacity_ + row) * width_; }
  const float* at(std::int64_t series, std::int64_t row) const {
    return data_.data() + (series * capacity_ + row) * width_;
  }

  void ensure_rows(std::int64_t rows) {
    if (rows <= capacity_) return;
    SeriesArray grown(series_, width_);
    grown.capacity_ = std::max(rows, capacity_ + capacity_ / 2);
    grown.data_.assign(static_cast<std::size_t>(series_ * grown.capacity_ * width_),
                       std::numeric_limits<float>::quiet_NaN());
    for (std::int64_t s = 0; s < series_ && capacity_ > 0; ++s)
      std::copy_n(at(s, 0), capacity_ * width_, grown.at(s, 0));
    *this = std::move(grown);
  }

  /// Column `column` of every series, [series][rows].
  Buffer<float> column(std::int64_t column, std::int64_t rows) const {
    Buffer<float> out(static_cast<std::size_t>(series_ * rows), std::numeric_limits<float>::quiet_NaN());
    for (std::int64_t s = 0; s < series_; ++s)
      for (std::int64_t i = 0; i < std::min(rows, capacity_); ++i)
        out[static_cast<std::size_t>(s * rows + i)] = at(s, i)[column];
    return out;
  }

  /// Everything, [series][rows][width].
  Buffer<float> all(std::int64_t rows) const {
    Buffer<float> out(static_cast<std::size_t>(series_ * rows * width_), std::numeric_limits<float>::quiet_NaN());
    for (std::int64_t s = 0; s < series_; ++s)
      std::copy_n(at(s, 0), std::min(rows, capacity_) * width_, out.data() + s * rows * width_);
    return out;
  }

 private:
  std::int64_t series_ = 0, width_ = 1, capacity_ = 0;
  std::vector<float> data_;
};

}  // namespace headlight::capture
