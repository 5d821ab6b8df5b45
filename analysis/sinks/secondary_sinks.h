#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace headlight::analysis {

/// Tokens whose hidden state points the way of the first sink's for some layers: secondary sinks.
///
/// States y[m], m in [0, L), are the outputs of the layers. b = position of the primary sink.
///
///     delta[m] = |y[m+1,b]| - |y[m,b]|;   begin = argmax delta + 1;   end = begin + argmin delta[begin:] + 1
///
/// where the primary sink's norm has jumped up and not yet collapsed; end = L when `begin` is the last state. Inside
/// [begin, end), (m, j) with j > b is marked when |cos(y[m,j], y[m,b])| > min_cosine.
/// Source: On the Existence and Behaviour of Secondary Attention Sinks.
struct SecondarySinkOptions {
  double min_cosine = 0.9;
  double primary_share = 0.6;  ///< marked in at least this share of [begin, end): like the primary sink
  int min_lifetime = 5;        ///< fewer marks are noise
  /// Constants of the released program: primary-like from L - 15 marks, secondary above 4. Only for L >= 32.
  bool released_constants = false;
};

enum class SinkKind { noise, secondary, primary_like };

struct SecondarySink {
  std::int64_t position = 0;
  int created = 0;      ///< first marked state: the layer whose output it is
  int lifetime = 0;     ///< number of marked states, gaps allowed
  int longest_run = 0;  ///< of consecutive marked states
  SinkKind kind = SinkKind::noise;
};

struct SecondarySinks {
  int begin = 0, end = 0;             ///< states that were looked at
  std::vector<SecondarySink> tokens;  ///< every token with a mark, ascending position
};

/// Position among `candidates` with the largest mean norm over all states. norm_mj: [L][N].
std::int64_t primary_sink(std::span<const double> norm_mj, std::int64_t num_tokens,
                          std::span<const std::int64_t> candidates);

/// @param norm_m  norm of the primary sink in every state, [L]
/// @param cos_mj  cosine of every state to the primary sink's, [L][N]
SecondarySinks secondary_sinks(std::span<const double> norm_m, std::span<const double> cos_mj, std::int64_t num_tokens,
                               std::int64_t primary, const SecondarySinkOptions& options = {});

/// Levels: groups of (created, lifetime) pairs of secondary sinks. Cells with at least `min_share` of all secondary
/// sinks, 8-connected. Each level lists its cells as {created, lifetime, count}.
std::vector<std::vector<std::array<int, 3>>> sink_levels(std::span<const SecondarySink> tokens,
                                                         double min_share = 0.01);

}  // namespace headlight::analysis
