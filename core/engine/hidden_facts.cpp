#include "core/engine/hidden_facts.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/elementwise.h"

namespace headlight::engine {
namespace {

constexpr std::int64_t kFactRows = 64;
constexpr std::int64_t kValuesPerTask = std::int64_t{1} << 15;
constexpr std::int64_t kSmallCount = std::int64_t{1} << 15;
constexpr std::int64_t kSample = 4096, kPiece = 1024;

double dot(const float* a, const float* b, std::int64_t count) {
  double sums[4] = {};
  std::int64_t k = 0;
  for (; k + 4 <= count; k += 4)
    for (int lane = 0; lane < 4; ++lane)
      sums[lane] += static_cast<double>(a[k + lane]) * static_cast<double>(b[k + lane]);
  for (; k < count; ++k) sums[0] += static_cast<double>(a[k]) * static_cast<double>(b[k]);
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

std::uint32_t magnitude_bits(float x) {
  return std::bit_cast<std::uint32_t>(x) & 0x7fffffffu;
}

// Element of the given rank, by bisection: counting what is smaller needs no branch per value.
std::uint32_t element_of_rank(const std::vector<std::uint32_t>& magnitudes, std::int64_t rank) {
  std::int32_t element = 0, beyond = std::numeric_limits<std::int32_t>::max();  // 31 bits: signed order is theirs
  while (beyond - element > 1) {
    const std::int32_t middle = element + (beyond - element) / 2;
    std::int32_t smaller = 0;
    for (const std::uint32_t magnitude : magnitudes) smaller += static_cast<std::int32_t>(magnitude) < middle ? 1 : 0;
    (smaller <= rank ? element : beyond) = middle;
  }
  return static_cast<std::uint32_t>(element);
}

struct Bracket {
  std::uint32_t low, high;  ///< of the bits of |x|, both inside
};

// Where the median is, almost certainly: around that of a sample.
Bracket probable_median(const float* x, std::int64_t count) {
  std::vector<std::uint32_t> sample;
  for (std::int64_t k = 0; k < kSample; ++k) sample.push_back(magnitude_bits(x[k * count / kSample]));
  return {element_of_rank(sample, kSample * 46 / 100), element_of_rank(sample, kSample * 54 / 100)};
}

}  // namespace

HiddenFacts::HiddenFacts(std::int64_t rows)
    : norm_l2(static_cast<std::size_t>(rows)),
      absmax(static_cast<std::size_t>(rows)),
      mean(static_cast<std::size_t>(rows)),
      rms(static_cast<std::size_t>(rows)),
      cos_first(static_cast<std::size_t>(rows)),
      absmax_dim(static_cast<std::size_t>(rows)) {}

capture::HiddenRows HiddenFacts::rows() const {
  capture::HiddenRows out;
  out.norm_l2 = norm_l2.data();
  out.absmax = absmax.data();
  out.mean = mean.data();
  out.rms = rms.data();
  out.absmax_dim = absmax_dim.data();
  out.cos_first = cos_first.data();
  return out;
}

void hidden_facts(ThreadPool& pool, const float* x_id, std::int64_t n, std::int64_t d, const float* first_d,
                  HiddenFacts& out, std::int64_t slot) {
  const double first_norm = std::sqrt(dot(first_d, first_d, d));
  const auto fill = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const float* x = x_id + i * d;
      const auto at = static_cast<std::size_t>(slot + i);
      const kernels::RowFacts facts = kernels::row_facts({x, static_cast<std::size_t>(d)});
      out.norm_l2[at] = facts.norm_l2;
      out.absmax[at] = facts.absmax;
      out.absmax_dim[at] = facts.absmax_index;
      out.mean[at] = facts.mean;
      out.rms[at] = facts.rms;
      const double norms = static_cast<double>(facts.norm_l2) * first_norm;
      out.cos_first[at] = norms > 0.0 ? static_cast<float>(std::clamp(dot(x, first_d, d) / norms, -1.0, 1.0)) : 0.0f;
    }
  };
  if (n <= kFactRows) return fill(0, n);
  pool.parallel_for((n + kFactRows - 1) / kFactRows,
                    [&](std::int64_t task, int) { fill(task * kFactRows, std::min(n, (task + 1) * kFactRows)); });
}

float median_abs(ThreadPool& pool, const float* x, std::int64_t count) {
  const std::int64_t rank = (count - 1) / 2;
  const auto all = [&] {
    std::vector<std::uint32_t> magnitudes(static_cast<std::size_t>(count));
    std::transform(x, x + count, magnitudes.begin(), magnitude_bits);
    return std::bit_cast<float>(element_of_rank(magnitudes, rank));
  };
  if (count <= kSmallCount) return all();
  // Only what lies near the median of a sample is put in order; how much lies below is counted.
  const Bracket bracket = probable_median(x, count);
  const std::int64_t tasks = (count + kValuesPerTask - 1) / kValuesPerTask;
  std::vector<std::vector<std::uint32_t>> inside(static_cast<std::size_t>(tasks));
  std::vector<std::int64_t> below(static_cast<std::size_t>(tasks));
  pool.parallel_for(tasks, [&](std::int64_t task, int) {
    const std::int64_t end = std::min(count, (task + 1) * kValuesPerTask);
    for (std::int64_t begin = task * kValuesPerTask; begin < end; begin += kPiece) {
      std::array<std::uint32_t, kPiece> kept;
      std::size_t num_kept = 0;
      std::int32_t less = 0;
      for (std::int64_t k = begin; k < std::min(end, begin + kPiece); ++k) {
        const std::uint32_t magnitude = magnitude_bits(x[k]);
        less += magnitude < bracket.low ? 1 : 0;
        kept[num_kept] = magnitude;
        num_kept += magnitude - bracket.low <= bracket.high - bracket.low ? 1 : 0;
      }
      below[static_cast<std::size_t>(task)] += less;
      auto& mine = inside[static_cast<std::size_t>(task)];
      mine.insert(mine.end(), kept.begin(), kept.begin() + num_kept);
    }
  });
  std::vector<std::uint32_t> near;
  for (const auto& part : inside) near.insert(near.end(), part.begin(), part.end());
  const std::int64_t inner = rank - std::accumulate(below.begin(), below.end(), std::int64_t{0});
  return inner >= 0 && inner < std::ssize(near) ? std::bit_cast<float>(element_of_rank(near, inner)) : all();
}

void find_massive(const float* x_id, std::int64_t n, std::int64_t d, std::int64_t start, int level, float median,
                  const float* absmax_i, std::vector<capture::MassiveActivation>& out) {
  const float threshold = std::max(kMassiveAbsolute, kMassiveOverMedian * median);
  for (std::int64_t i = 0; i < n; ++i) {
    if (!(absmax_i[i] > threshold)) continue;
    for (std::int64_t e = 0; e < d; ++e)
      if (const float value = x_id[i * d + e]; std::abs(value) > threshold)
        out.push_back({level, static_cast<std::int32_t>(e), start + i, value});
  }
}

}  // namespace headlight::engine
