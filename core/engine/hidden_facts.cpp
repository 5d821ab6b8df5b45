#include "core/engine/hidden_facts.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/elementwise.h"

namespace headlight::engine {
namespace {

constexpr std::int64_t kRowsPerTask = 64;
constexpr std::int64_t kValuesPerTask = std::int64_t{1} << 18;
constexpr std::int64_t kSmallCount = std::int64_t{1} << 15;  // below, clearing the histograms would cost the most
constexpr int kHighBits = 16, kLowBits = 15;                 // of the 31 bits of |x|

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

// Counts digit(bits) of every value that digit() does not refuse (-1); one histogram per worker, then their sum.
template <class Digit>
std::vector<std::int64_t> histogram(ThreadPool& pool, const float* x, std::int64_t count, int bits,
                                    const Digit& digit) {
  const std::size_t bins = std::size_t{1} << bits;
  std::vector<std::vector<std::uint32_t>> per_worker(static_cast<std::size_t>(pool.num_threads()));
  pool.parallel_for((count + kValuesPerTask - 1) / kValuesPerTask, [&](std::int64_t task, int worker) {
    std::vector<std::uint32_t>& mine = per_worker[static_cast<std::size_t>(worker)];
    if (mine.empty()) mine.resize(bins);
    const std::int64_t end = std::min(count, (task + 1) * kValuesPerTask);
    for (std::int64_t k = task * kValuesPerTask; k < end; ++k)
      if (const std::int64_t bin = digit(magnitude_bits(x[k])); bin >= 0) ++mine[static_cast<std::size_t>(bin)];
  });
  std::vector<std::int64_t> sum(bins);
  for (const auto& mine : per_worker)
    for (std::size_t bin = 0; bin < mine.size(); ++bin) sum[bin] += mine[bin];
  return sum;
}

// Bin that holds the element of the given rank; rank becomes the rank inside the bin.
std::int64_t bin_of_rank(const std::vector<std::int64_t>& counts, std::int64_t& rank) {
  for (std::size_t bin = 0; bin < counts.size(); ++bin) {
    if (rank < counts[bin]) return static_cast<std::int64_t>(bin);
    rank -= counts[bin];
  }
  return static_cast<std::int64_t>(counts.size()) - 1;
}

}  // namespace

HiddenFacts::HiddenFacts(std::int64_t rows)
    : norm_l2(static_cast<std::size_t>(rows)),
      absmax(static_cast<std::size_t>(rows)),
      mean(static_cast<std::size_t>(rows)),
      rms(static_cast<std::size_t>(rows)),
      cos_first(static_cast<std::size_t>(rows)),
      absmax_dim(static_cast<std::size_t>(rows)) {}

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
  if (n <= kRowsPerTask) return fill(0, n);
  pool.parallel_for((n + kRowsPerTask - 1) / kRowsPerTask,
                    [&](std::int64_t task, int) { fill(task * kRowsPerTask, std::min(n, (task + 1) * kRowsPerTask)); });
}

float median_abs(ThreadPool& pool, const float* x, std::int64_t count) {
  std::int64_t rank = (count - 1) / 2;
  if (count <= kSmallCount) {
    std::vector<float> magnitudes(static_cast<std::size_t>(count));
    std::transform(x, x + count, magnitudes.begin(), [](float v) { return std::bit_cast<float>(magnitude_bits(v)); });
    std::nth_element(magnitudes.begin(), magnitudes.begin() + rank, magnitudes.end());
    return magnitudes[static_cast<std::size_t>(rank)];
  }
  const auto high = histogram(pool, x, count, kHighBits,
                              [](std::uint32_t bits) { return static_cast<std::int64_t>(bits >> kLowBits); });
  const std::int64_t high_bin = bin_of_rank(high, rank);
  const auto low = histogram(pool, x, count, kLowBits, [&](std::uint32_t bits) {
    return static_cast<std::int64_t>(bits >> kLowBits) == high_bin
               ? static_cast<std::int64_t>(bits & ((1u << kLowBits) - 1))
               : std::int64_t{-1};
  });
  const std::int64_t low_bin = bin_of_rank(low, rank);
  return std::bit_cast<float>(static_cast<std::uint32_t>(high_bin << kLowBits | low_bin));
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
