// Body of the units elementwise_<tier>.cpp: written with the compiler's vector types, kLanes floats wide. Everything
// here has internal linkage, because each unit is compiled for another instruction set.

namespace headlight::kernels {
namespace {

typedef float Vec __attribute__((vector_size(4 * kLanes)));
typedef std::int32_t IntVec __attribute__((vector_size(4 * kLanes)));
typedef double WideVec __attribute__((vector_size(8 * kLanes)));

inline Vec load(const float* p) {
  Vec v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
inline void store(float* p, Vec v) {
  __builtin_memcpy(p, &v, sizeof v);
}

/// The first `count` < kLanes values, zeros behind them.
inline Vec load_part(const float* p, std::int64_t count) {
  float lanes[kLanes] = {};
  __builtin_memcpy(lanes, p, static_cast<std::size_t>(count) * sizeof(float));
  return load(lanes);
}
inline void store_part(float* p, Vec v, std::int64_t count) {
  __builtin_memcpy(p, &v, static_cast<std::size_t>(count) * sizeof(float));
}

inline Vec splat(float value) {
  return Vec{} + value;
}

template <class V>
inline auto sum_lanes(V v) {
  auto total = v[0];
  for (int lane = 1; lane < kLanes; ++lane) total += v[lane];
  return total;
}

/// y[k] = f(x[k]) over vectors, the tail through a padded copy.
template <class F>
inline void map(const float* x, float* y, std::int64_t count, F f) {
  std::int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes) store(y + k, f(load(x + k)));
  if (k < count) store_part(y + k, f(load_part(x + k, count - k)), count - k);
}
template <class F>
inline void map(const float* a, const float* b, float* y, std::int64_t count, F f) {
  std::int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes) store(y + k, f(load(a + k), load(b + k)));
  if (k < count) store_part(y + k, f(load_part(a + k, count - k), load_part(b + k, count - k)), count - k);
}

/// sum_k f(x[k]) in f32 with 4 kLanes running sums. f(0) must be 0: the tail is padded with zeros.
template <class F>
inline float reduce(const float* x, std::int64_t count, F f) {
  Vec sums[4] = {};
  std::int64_t k = 0;
  for (; k + 4 * kLanes <= count; k += 4 * kLanes)
    for (int u = 0; u < 4; ++u) sums[u] += f(load(x + k + u * kLanes));
  for (; k + kLanes <= count; k += kLanes) sums[0] += f(load(x + k));
  if (k < count) sums[1] += f(load_part(x + k, count - k));
  return sum_lanes((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

/// e^x within 2 ulp: e^r as a polynomial of degree 6 on |r| <= ln(2)/2, times 2^n in two exact steps.
/// NaN stays NaN, overflow gives infinity, below the normal range gives 0.
inline Vec exp(Vec x) {
  const Vec bounded = x < -104.0f ? splat(-104.0f) : (x > 89.0f ? splat(89.0f) : x);
  const Vec shifted = bounded * 1.44269504088896341f + 12582912.0f;  // 1.5 * 2^23: the low bits hold round(x / ln 2)
  const Vec n = shifted - 12582912.0f;
  const Vec r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
  Vec p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const IntVec exponent = reinterpret_cast<IntVec>(shifted) - 0x4b400000;
  const IntVec half = exponent >> 1;
  return p * reinterpret_cast<Vec>((half + 127) << 23) * reinterpret_cast<Vec>((exponent - half + 127) << 23);
}

inline Vec sigmoid(Vec x) {
  return 1.0f / (1.0f + exp(-x));
}

/// tanh within 3 ulp: odd polynomial near 0, by e^2x elsewhere (Cephes).
inline Vec tanh(Vec x) {
  const Vec magnitude = x < 0.0f ? -x : x, z = x * x;
  Vec p = splat(-5.70498872745e-3f);
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const Vec near = p * z * x + x;
  const Vec far = 1.0f - 2.0f / (exp(magnitude + magnitude) + 1.0f);
  return magnitude < 0.625f ? near : (x < 0.0f ? -far : far);
}

/// erf with an absolute error below 3e-7: rational on [-4, 4], +-1 beyond.
inline Vec erf(Vec x) {
  const Vec z = x * x;
  Vec p = splat(-2.72614225801306e-10f);
  p = p * z + 2.77068142495902e-08f;
  p = p * z - 2.10102402082508e-06f;
  p = p * z - 5.69250639462346e-05f;
  p = p * z - 7.34990630326855e-04f;
  p = p * z - 2.95459980854025e-03f;
  p = p * z - 1.60960333262415e-02f;
  Vec q = splat(-1.45660718464996e-05f);
  q = q * z - 2.13374055278905e-04f;
  q = q * z - 1.68282697438203e-03f;
  q = q * z - 7.37332916720468e-03f;
  q = q * z - 1.42647390514189e-02f;
  const Vec inside = x * p / q;
  return x > 4.0f ? splat(1.0f) : (x < -4.0f ? splat(-1.0f) : inside);
}

inline Vec silu(Vec x) {
  return x / (1.0f + exp(-x));
}
inline Vec quick_gelu(Vec x) {
  return x / (1.0f + exp(-1.702f * x));
}
inline Vec gelu_exact(Vec x) {
  return 0.5f * x * (1.0f + erf(x * 0.70710678118654752f));
}
/// 0.5 x (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2/pi) (x + 0.044715 x^3)
inline Vec gelu_tanh(Vec x) {
  return x / (1.0f + exp(-1.59576912160573071f * (x + 0.044715f * x * x * x)));
}
inline Vec clamped_swiglu(Vec g, Vec u) {
  g = g > 7.0f ? splat(7.0f) : g;
  u = u > 7.0f ? splat(7.0f) : (u < -7.0f ? splat(-7.0f) : u);
  return (u + 1.0f) * (g * sigmoid(1.702f * g));
}

void rms_norm_row(const float* x, float* y, std::int64_t d, const float* weight, float eps) {
  const float mean_square = reduce(x, d, [](Vec v) { return v * v; }) / static_cast<float>(d);
  const float factor = 1.0f / __builtin_sqrtf(mean_square + eps);
  map(x, weight, y, d, [&](Vec v, Vec w) { return w * (v * factor); });
}

void layer_norm_row(const float* x, float* y, std::int64_t d, const float* weight, const float* bias, float eps) {
  const float mean = reduce(x, d, [](Vec v) { return v; }) / static_cast<float>(d);
  // Padding would count as deviations: the centred row goes to y first and is squared there.
  map(x, y, d, [&](Vec v) { return v - mean; });
  const float variance = reduce(y, d, [](Vec v) { return v * v; }) / static_cast<float>(d);
  const float factor = 1.0f / __builtin_sqrtf(variance + eps);
  map(y, weight, y, d, [&](Vec v, Vec w) { return w * (v * factor); });
  if (bias) map(y, bias, y, d, [](Vec v, Vec b) { return v + b; });
}

void rope_head(float* x, std::int64_t half, const float* cosines, const float* sines) {
  std::int64_t j = 0;
  for (; j + kLanes <= half; j += kLanes) {
    const Vec a = load(x + j), b = load(x + half + j), c = load(cosines + j), s = load(sines + j);
    store(x + j, a * c - b * s);
    store(x + half + j, b * c + a * s);
  }
  for (; j < half; ++j) {
    const float a = x[j], b = x[half + j];
    x[j] = a * cosines[j] - b * sines[j];
    x[half + j] = b * cosines[j] + a * sines[j];
  }
}

template <class F>
inline void activate_with(const float* gate, const float* up, float* out, std::int64_t count, F act) {
  if (up)
    map(gate, up, out, count, [&](Vec g, Vec u) { return act(g) * u; });
  else
    map(gate, out, count, act);
}

void activate(ActivationKind kind, const float* gate, const float* up, float* out, std::int64_t count) {
  switch (kind) {
    case ActivationKind::silu:
      return activate_with(gate, up, out, count, [](Vec v) { return silu(v); });
    case ActivationKind::gelu_exact:
      return activate_with(gate, up, out, count, [](Vec v) { return gelu_exact(v); });
    case ActivationKind::gelu_tanh:
      return activate_with(gate, up, out, count, [](Vec v) { return gelu_tanh(v); });
    case ActivationKind::quick_gelu:
      return activate_with(gate, up, out, count, [](Vec v) { return quick_gelu(v); });
    case ActivationKind::clamped_swiglu:
      return map(gate, up, out, count, [](Vec g, Vec u) { return clamped_swiglu(g, u); });
  }
}

void add_to(float* x, const float* y, std::int64_t count) {
  map(x, y, x, count, [](Vec a, Vec b) { return a + b; });
}
void scale_by(float* x, float factor, std::int64_t count) {
  map(x, x, count, [&](Vec v) { return v * factor; });
}
void soft_cap_at(float* x, float cap, std::int64_t count) {
  map(x, x, count, [&](Vec v) { return cap * tanh(v / cap); });
}

void exp_of_shifted(float* x, std::int64_t count, float factor, float shift) {
  map(x, x, count, [&](Vec v) { return exp(v * factor - shift); });
}

void row_facts_of(const float* x, std::int64_t count, RowFacts& facts) {
  WideVec sum = {}, square = {};
  Vec largest = {};
  const auto take = [&](Vec v) {
    const WideVec wide = __builtin_convertvector(v, WideVec);
    sum += wide;
    square += wide * wide;
    const Vec magnitude = v < 0.0f ? -v : v;
    largest = magnitude > largest ? magnitude : largest;
  };
  std::int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes) take(load(x + k));
  if (k < count) take(load_part(x + k, count - k));
  for (int lane = 0; lane < kLanes; ++lane) facts.absmax = largest[lane] > facts.absmax ? largest[lane] : facts.absmax;
  for (std::int64_t i = 0; i < count; ++i) {
    if (__builtin_fabsf(x[i]) != facts.absmax) continue;
    facts.absmax_index = static_cast<std::int32_t>(i);
    break;
  }
  const double n = static_cast<double>(count), total_square = sum_lanes(square);
  facts.mean = static_cast<float>(sum_lanes(sum) / n);
  facts.rms = static_cast<float>(__builtin_sqrt(total_square / n));
  facts.norm_l2 = static_cast<float>(__builtin_sqrt(total_square));
}

constexpr ElementwiseLoops kLoops{rms_norm_row, layer_norm_row, rope_head,      activate,    add_to,
                                  scale_by,     soft_cap_at,    exp_of_shifted, row_facts_of};

}  // namespace
}  // namespace headlight::kernels
