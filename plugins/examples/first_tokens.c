/* An intervention: the weight of the first tokens of a text, all of them where ZeroTuning takes the first one.
 *
 *     A'_j ~ weight * A_j for j < count, rows sum to 1; computed as s'_j = s_j + ln(weight)
 */
#include <math.h>

#include "headlight_plugin.h"

static int compile(const headlight_changes* in) {
  for (int64_t n = 0; n < in->num_heads_in_scope; ++n) {
    const headlight_head head = in->heads[n];
    const double weight = in->number(in->self, "weight", head);
    const headlight_run run = {0, (int64_t)in->number(in->self, "count", head), (float)log(weight)};
    if (in->add_step(in->self, head, "bias", &run, 1, 0, 0) != 0) return 1;
  }
  return 0;
}

static const headlight_parameter kParameters[] = {
    {"weight", 2.0, 0.01, 100.0, 1.0, "Weight of the first tokens."},
    {"count", 4.0, 1.0, 1024.0, NAN, "How many they are."},
};

static const headlight_intervention kInterventions[] = {{
    "example-first-tokens",
    "Weight of the first tokens",
    "A'_j ~ weight A_j for j < count",
    "ZeroTuning: Unlocking the Initial Token's Power to Enhance Large Language Models Without Training",
    kParameters,
    2,
    compile,
}};

static const headlight_plugin kPlugin = {
    HEADLIGHT_PLUGIN_ABI, sizeof(headlight_plugin), "first-tokens", "1.0", kInterventions, 1, 0, 0};

const headlight_plugin* headlight_plugin_entry(void) { return &kPlugin; }
