/* An analysis: how alike the attention of neighbouring rows is.
 *
 *     stillness = 1 - mean over rows i >= first of 1/2 sum_j |A[i,j] - A[i-1,j]|, in [0, 1]
 */
#include <math.h>
#include <stdlib.h>

#include "headlight_plugin.h"

static double distance(const float* a, const float* b, int64_t n) {
  double sum = 0.0;
  for (int64_t j = 0; j < n; ++j) sum += fabs((double)a[j] - (double)b[j]);
  return 0.5 * sum;
}

static int run(const headlight_record* in) {
  const int64_t first = (int64_t)in->number(in->self, "first"), rows = in->num_rows - first;
  const int64_t shape[2] = {in->num_layers, in->num_heads};
  double* value = calloc((size_t)(shape[0] * shape[1]), sizeof(double));
  float* attn = calloc((size_t)(in->num_rows * in->num_rows), sizeof(float));
  int failed = value == 0 || attn == 0;
  for (int32_t l = 0; l < in->num_layers && !failed; ++l)
    for (int32_t h = 0; h < in->num_heads && !failed; ++h) {
      failed = in->attention(in->self, l, h, 0, in->num_rows, attn);
      double sum = 0.0;
      for (int64_t i = first; i < in->num_rows && !failed; ++i)
        sum += distance(attn + i * in->num_rows, attn + (i - 1) * in->num_rows, in->num_rows);
      value[l * in->num_heads + h] = rows > 0 ? 1.0 - sum / (double)rows : NAN;
    }
  if (!failed)
    failed = in->add_series(in->self, "stillness", "1", "1 - mean_i 1/2 sum_j |A_ij - A_(i-1)j|", "layer,head", shape, 2,
                            value, 0.0, 1.0);
  free(attn);
  free(value);
  return failed;
}

static const headlight_parameter kParameters[] = {{"first", 4.0, 1.0, 1e6, NAN, "First row that counts."}};

static const headlight_analysis kAnalyses[] = {{"example-stillness", "Stillness of attention",
                                                "How alike the attention of neighbouring rows is.", "", 1, kParameters, 1,
                                                run}};

static const headlight_plugin kPlugin = {
    HEADLIGHT_PLUGIN_ABI, sizeof(headlight_plugin), "stillness", "1.0", 0, 0, kAnalyses, 1};

const headlight_plugin* headlight_plugin_entry(void) { return &kPlugin; }
