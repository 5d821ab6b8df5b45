#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace headlight::engine {

/// Seconds spent, by phase; those of a device count where the host waits for them.
class PhaseClock {
 public:
  /// Adds the time until the returned object dies.
  class Scope {
   public:
    explicit Scope(double& seconds) : seconds_(seconds), begin_(std::chrono::steady_clock::now()) {}
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope() { seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }

   private:
    double& seconds_;
    std::chrono::steady_clock::time_point begin_;
  };

  double prefill = 0.0, decode = 0.0, logits = 0.0, norms = 0.0, hidden = 0.0, sink = 0.0;

  std::vector<std::pair<std::string, double>> list() const {
    return {{"prefill", prefill}, {"decode", decode}, {"logits", logits},
            {"norms", norms},     {"hidden", hidden}, {"sink", sink}};
  }
};

}  // namespace headlight::engine
