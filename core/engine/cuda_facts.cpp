#include "core/engine/cuda_facts.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "base/error.h"
#include "core/engine/hidden_facts.h"

namespace headlight::engine {
namespace {

constexpr std::int64_t kWord = 4;  // bytes of every element of a staging
constexpr std::int64_t kHiddenArrays = 6;
constexpr std::int64_t kMassiveCopied = 4096;  // with every level; more are fetched when there are more
constexpr std::int64_t kRowsPerTask = 64;

std::size_t words(std::int64_t count) {
  return static_cast<std::size_t>(count * kWord);
}

float widened(DType dtype, std::uint16_t x) {
  return dtype == DType::bf16 ? bf16_to_f32(x) : f16_to_f32(x);
}

std::int64_t topk_rows(const AttentionWish& wish, int num_heads) {
  return wish.topk > 0 ? std::ssize(wish.topk_positions) * num_heads : 0;
}

}  // namespace

CudaFacts::CudaFacts(const Engine::Impl& engine, const CudaModel& model, const SequenceUse& use)
    : engine_(engine),
      model_(model),
      table_(device_table()),
      facts_(*cuda::fact_kernels()),
      rows_follow_(use.rows_follow),
      stream_(model.queue().stream),
      copies_(table_.open_stream(stream_.device)),
      d_(engine.spec().hidden_size),
      q_size_(std::int64_t{engine.spec().num_heads} * engine.spec().head_dim),
      kv_size_(std::int64_t{engine.spec().num_kv_heads} * engine.spec().head_dim),
      stagings_{Staging(stream_.device, model.pinned()), Staging(stream_.device, model.pinned())},
      later_(static_cast<std::size_t>(engine.spec().num_layers)) {
  const std::int64_t levels = engine.spec().num_layers + 1;
  first_states_.ensure(stream_, words(levels * d_));
  medians_.ensure(stream_, words(levels));
  largest_.ensure(stream_, words(levels));
  median_scratch_.ensure(stream_, facts_.median_scratch_bytes());
}

CudaFacts::~CudaFacts() {
  drain();
  table_.close_stream(copies_);
}

void CudaFacts::drain() noexcept {
  try {
    table_.synchronize(copies_);
    table_.synchronize(stream_);
  } catch (const Error&) {
    // What failed was reported where the results were wanted.
  }
  for (Staging& each : stagings_) each.level = -1;
}

// ---- queueing
// ---------------------------------------------------------------------------------------------------------

void CudaFacts::begin(const ForwardRequest& request, const int* first_bad) {
  drain();  // what an interrupted pass left
  n_ = static_cast<std::int64_t>(request.ids.size());
  request_ = &request;
  first_bad_ = first_bad;
  groups_are_there_ = false;
  uploaded_spans_.clear();
  if (request.start > 0) return;
  for (LaterColumns& later : later_) later.target = nullptr;
  table_.fill(stream_, largest_.as<void>(), 0, words(engine_.spec().num_layers + 1));
}

CudaFacts::Layout CudaFacts::layout_for(const AttentionWish* wish) const {
  const formats::ModelSpec& spec = engine_.spec();
  Layout out;
  out.counts = kHiddenArrays * n_;
  out.rows = out.counts + 1 + spec.num_layers + 1;  // massive entries found; places that were bad so far
  out.size = out.rows;
  if (wish == nullptr) return out;
  out.norms = out.rows + RowLayout{spec.num_heads, n_, wish->plan.num_groups}.size();
  out.columns = out.norms + (2 * spec.num_kv_heads + spec.num_heads) * n_;
  out.topk = out.columns + (wish->columns_later ? 0 : wish->columns->layout().size());
  out.size = out.topk + topk_rows(*wish, spec.num_heads) * (2 * wish->topk + 1);
  return out;
}

void CudaFacts::ensure_memory(Staging& to) {
  to.device.ensure(stream_, words(to.layout.size));
  to.host.ensure(words(to.layout.size));
  if (to.massive.bytes() == 0) {
    to.massive.ensure(stream_, kMassiveCapacity * sizeof(cuda::MassiveEntry));
    table_.fill(stream_, to.massive.as<void>(), 0, kMassiveCopied * sizeof(cuda::MassiveEntry));
  }
  to.massive_host.ensure(kMassiveCopied * sizeof(cuda::MassiveEntry));
}

void CudaFacts::hidden(int level, const float* x_id) {
  const formats::ModelSpec& spec = engine_.spec();
  Staging& to = staging(level);
  HEADLIGHT_CHECK(to.level < 0);
  to.level = level;
  to.wish = level < spec.num_layers ? request_->observer->wish(level) : nullptr;
  to.layout = layout_for(to.wish);
  ensure_memory(to);
  float* first = first_states_.as<float>() + level * d_;
  if (request_->start == 0) table_.copy_within(stream_, first, x_id, words(d_));
  float* arrays = to.on_device(to.layout.hidden);
  const auto array = [&](int index) { return arrays + index * n_; };
  facts_.hidden(stream_, {.x_id = x_id,
                          .n = n_,
                          .d = d_,
                          .first_d = first,
                          .norm_l2 = array(0),
                          .absmax = array(1),
                          .mean = array(2),
                          .rms = array(3),
                          .cos_first = array(4),
                          .absmax_dim = reinterpret_cast<std::int32_t*>(array(5)),
                          .largest = largest_.as<float>() + level});
  float* median = medians_.as<float>() + level;
  // The median is that of the prompt, and wanted only where something could be massive or rows may still bring it.
  if (request_->start == 0)
    facts_.median(stream_, {.x = x_id,
                            .count = n_ * d_,
                            .largest = largest_.as<float>() + level,
                            .only_above = rows_follow_ ? -1.0f : kMassiveAbsolute,
                            .scratch = median_scratch_.as<void>(),
                            .median = median});
  auto* found = reinterpret_cast<std::int32_t*>(to.on_device(to.layout.counts));
  table_.fill(stream_, found, 0, kWord);
  facts_.massive(stream_, {.x_id = x_id,
                           .n = n_,
                           .d = d_,
                           .absmax = array(1),
                           .median = median,
                           .absolute = kMassiveAbsolute,
                           .over_median = kMassiveOverMedian,
                           .entries = to.massive.as<cuda::MassiveEntry>(),
                           .capacity = kMassiveCapacity,
                           .found = found});
  table_.copy_within(stream_, found + 1, first_bad_, words(spec.num_layers + 1));
  if (!request_->observer->wants_states()) return;
  to.states.ensure(words(n_ * d_));
  table_.copy_out(stream_, to.states.as<void>(), x_id, words(n_ * d_));  // before the layer changes it
}

float* CudaFacts::columns_on_device(Staging& to, int layer) {
  const std::int64_t size = to.wish->columns->layout().size();
  if (!to.wish->columns_later) {
    float* columns = to.on_device(to.layout.columns);
    table_.fill(stream_, columns, 0, words(size));
    return columns;
  }
  LaterColumns& later = later_[static_cast<std::size_t>(layer)];
  later.memory.ensure(stream_, words(size));
  if (later.target == nullptr) table_.fill(stream_, later.memory.as<void>(), 0, words(size));
  later.target = to.wish->columns;
  return later.memory.as<float>();
}

void CudaFacts::attention(int layer, const AttentionWish& wish, const cuda::AttentionInputs& in, void* out_ihd) {
  Staging& to = staging(layer);
  to.in = in;
  kernels::AttentionStatisticsPlan plan = wish.plan;
  if (plan.num_groups > 0) {
    groups_.ensure(stream_, static_cast<std::size_t>(in.num_keys));
    if (!groups_are_there_)
      table_.copy_in(stream_, groups_.as<void>(), plan.group_of_key_j, static_cast<std::size_t>(in.num_keys));
    groups_are_there_ = true;
    plan.group_of_key_j = groups_.as<std::uint8_t>();
  }
  const RowLayout layout{in.num_heads, n_, plan.num_groups};
  kernels::AttentionStatistics statistics = layout.statistics(to.on_device(to.layout.rows), 0);
  wish.columns->layout().attach(columns_on_device(to, layer), statistics);
  attention_scratch_.ensure(stream_, table_.attention_workspace_bytes(in, plan));
  table_.attention(stream_, in, out_ihd, q_size_, &plan, &statistics, attention_scratch_.as<void>(),
                   cuda::AttentionTier::automatic);
  queue_norms(to, layer);
  queue_topk(to);
}

void CudaFacts::queue_norms(Staging& to, int layer) {
  const cuda::AttentionInputs& in = to.in;
  const std::int64_t row = in.query_start * in.head_dim;  // of this call, in the cache
  float* key_norm = to.on_device(to.layout.norms);
  cuda::HeadNormsCall norms{.dtype = in.dtype,
                            .x = static_cast<const std::uint16_t*>(in.k_gjd) + row,
                            .n = n_,
                            .head_stride = in.kv_stride,
                            .num_heads = in.num_kv_heads,
                            .head_dim = in.head_dim,
                            .out = key_norm,
                            .out_stride = n_};
  facts_.head_norms(stream_, norms);
  norms.x = static_cast<const std::uint16_t*>(in.v_gjd) + row;
  norms.out = key_norm + in.num_kv_heads * n_;
  facts_.head_norms(stream_, norms);
  const DeviceGram& gram = model_.gram(layer);
  facts_.value_norms(stream_, {.dtype = in.dtype,
                               .v = norms.x,
                               .n = n_,
                               .head_stride = in.kv_stride,
                               .num_heads = in.num_heads,
                               .num_kv_heads = in.num_kv_heads,
                               .head_dim = in.head_dim,
                               .parts = gram.parts.as<void>(),
                               .scale_h = gram.scale_h.as<float>(),
                               .out = norms.out + in.num_kv_heads * n_,
                               .out_stride = n_});
}

// Heads, then positions, as the rows of a TopkTap.
void CudaFacts::upload_topk_rows(const Staging& to) {
  const AttentionWish& wish = *to.wish;
  std::vector<cuda::MapRow> rows;
  std::vector<cuda::KeySpan> spans;
  for (int head = 0; head < to.in.num_heads; ++head)
    for (const std::int64_t position : wish.topk_positions) {
      rows.push_back({head, static_cast<std::int32_t>(position - to.in.query_start)});
      const kernels::KeyRange keys = to.in.mask.visible(position, to.in.num_keys);
      spans.push_back({static_cast<std::int32_t>(keys.begin), static_cast<std::int32_t>(keys.begin + keys.size())});
    }
  const auto same = [](const cuda::KeySpan& a, const cuda::KeySpan& b) { return a.begin == b.begin && a.end == b.end; };
  if (std::ranges::equal(spans, uploaded_spans_, same)) return;
  map_rows_.ensure(stream_, rows.size() * sizeof(cuda::MapRow));
  spans_.ensure(stream_, spans.size() * sizeof(cuda::KeySpan));
  table_.copy_in(stream_, map_rows_.as<void>(), rows.data(), rows.size() * sizeof(cuda::MapRow));
  table_.copy_in(stream_, spans_.as<void>(), spans.data(), spans.size() * sizeof(cuda::KeySpan));
  table_.synchronize(stream_);  // the copies read local memory
  uploaded_spans_ = std::move(spans);
}

void CudaFacts::queue_topk(Staging& to) {
  const std::int64_t count = topk_rows(*to.wish, to.in.num_heads), k = to.wish->topk;
  if (count == 0) return;
  upload_topk_rows(to);
  const std::int64_t block = std::clamp<std::int64_t>(kMapElements / to.in.num_keys, 1, count);
  map_.ensure(stream_, words(block * to.in.num_keys));
  float* keys = to.on_device(to.layout.topk);
  for (std::int64_t first = 0; first < count; first += block) {
    const std::int64_t rows = std::min(block, count - first);
    table_.attention_map_rows(stream_, to.in, map_rows_.as<cuda::MapRow>() + first, rows, map_.as<float>());
    facts_.topk(stream_, {.attn = map_.as<float>(),
                          .num_rows = rows,
                          .num_keys = to.in.num_keys,
                          .visible = spans_.as<cuda::KeySpan>() + first,
                          .k = to.wish->topk,
                          .keys = reinterpret_cast<std::int32_t*>(keys) + first * k,
                          .values = keys + (count + first) * k,
                          .remainder = keys + 2 * count * k + first});
  }
}

void CudaFacts::queue_operands(Staging& to) {
  const cuda::AttentionInputs& in = to.in;
  const std::size_t element = size_of(in.dtype), head = static_cast<std::size_t>(n_ * in.head_dim) * element;
  to.q.ensure(static_cast<std::size_t>(n_ * q_size_) * element);
  table_.copy_out(copies_, to.q.as<void>(), in.q_ihd, static_cast<std::size_t>(n_ * q_size_) * element);
  for (const auto& [host, device] : {std::pair(&to.k, in.k_gjd), std::pair(&to.v, in.v_gjd)}) {
    host->ensure(static_cast<std::size_t>(in.num_kv_heads) * head);
    for (int g = 0; g < in.num_kv_heads; ++g)
      table_.copy_out(copies_, host->as<std::byte>() + static_cast<std::size_t>(g) * head,
                      static_cast<const std::uint16_t*>(device) + g * in.kv_stride + in.query_start * in.head_dim,
                      head);
  }
}

void CudaFacts::close(int level) {
  Staging& to = staging(level);
  to.computed.record(stream_);
  to.computed.hold(copies_);
  table_.copy_out(copies_, to.host.as<void>(), to.device.as<void>(), words(to.layout.size));
  table_.copy_out(copies_, to.massive_host.as<void>(), to.massive.as<void>(),
                  kMassiveCopied * sizeof(cuda::MassiveEntry));
  if (to.wish != nullptr && to.wish->operands) queue_operands(to);
  to.copied.record(copies_);
}

// ---- handing over
// -----------------------------------------------------------------------------------------------------

void CudaFacts::hand_over_before(int level) {
  if (level > 0) hand_over(staging(level - 1));
}

void CudaFacts::finish() {
  hand_over(staging(engine_.spec().num_layers));
  request_ = nullptr;
}

void CudaFacts::hand_over(Staging& from) {
  from.copied.await();
  const auto* counts = reinterpret_cast<const int*>(from.on_host(from.layout.counts));
  throw_if_not_finite({counts + 1, static_cast<std::size_t>(from.level + 1)});
  hand_over_hidden(from);
  if (from.wish != nullptr) hand_over_attention(from);
  if (from.level < engine_.spec().num_layers) request_->observer->layer_done(from.level);
  from.level = -1;
}

std::vector<capture::MassiveActivation> CudaFacts::massive_of(Staging& from) {
  const int found = *reinterpret_cast<const int*>(from.on_host(from.layout.counts));
  if (found > kMassiveCapacity)
    throw Error(Errc::unsupported,
                fmt::format("more than {} massive activations enter layer {}", kMassiveCapacity, from.level));
  std::vector<cuda::MassiveEntry> entries(static_cast<std::size_t>(found));
  if (found <= kMassiveCopied) {
    std::copy_n(from.massive_host.as<cuda::MassiveEntry>(), found, entries.data());
  } else {
    table_.copy_out(copies_, entries.data(), from.massive.as<void>(), entries.size() * sizeof(cuda::MassiveEntry));
    table_.synchronize(copies_);
  }
  std::ranges::sort(entries,
                    [](const auto& a, const auto& b) { return std::pair(a.row, a.dim) < std::pair(b.row, b.dim); });
  std::vector<capture::MassiveActivation> out;
  for (const cuda::MassiveEntry& entry : entries)
    out.push_back({from.level, entry.dim, request_->start + entry.row, entry.value});
  return out;
}

void CudaFacts::hand_over_hidden(Staging& from) {
  const float* arrays = from.on_host(from.layout.hidden);
  capture::HiddenRows rows;
  rows.level = from.level;
  rows.row_begin = request_->start;
  rows.num_rows = n_;
  rows.norm_l2 = arrays;
  rows.absmax = arrays + n_;
  rows.mean = arrays + 2 * n_;
  rows.rms = arrays + 3 * n_;
  rows.cos_first = arrays + 4 * n_;
  rows.absmax_dim = reinterpret_cast<const std::int32_t*>(arrays + 5 * n_);
  rows.x_id = request_->observer->wants_states() ? from.states.as<float>() : nullptr;
  request_->observer->hidden(rows, massive_of(from));
}

void CudaFacts::hand_over_attention(Staging& from) {
  const AttentionWish& wish = *from.wish;
  AttentionFacts facts;
  facts.rows.row_begin = request_->start;
  facts.rows.num_rows = n_;
  RowLayout{from.in.num_heads, n_, wish.plan.num_groups}.describe(from.on_host(from.layout.rows), facts.rows);
  const float* norms = from.on_host(from.layout.norms);
  facts.rows.key_norm_gi = norms;
  facts.rows.value_norm_gi = norms + from.in.num_kv_heads * n_;
  facts.rows.u_norm_hi = norms + 2 * from.in.num_kv_heads * n_;
  if (wish.operands) widen_operands(from, facts.rows);
  if (!wish.columns_later) wish.columns->merge(engine_.pool, from.on_host(from.layout.columns));
  collect_topk(from);
  facts.topk = topk_;
  request_->observer->attended(from.level, facts);
}

void CudaFacts::widen_operands(const Staging& from, capture::LayerRows& rows) {
  const DType dtype = from.in.dtype;
  const std::int64_t dim = from.in.head_dim;
  float *q = ensure(q_ihd_, n_ * q_size_), *k = ensure(k_igd_, n_ * kv_size_), *v = ensure(v_igd_, n_ * kv_size_);
  const auto widen = [&](const PinnedBuffer& bits, std::int64_t at, std::int64_t count, float* to) {
    const auto* source = bits.as<std::uint16_t>() + at;
    for (std::int64_t e = 0; e < count; ++e) to[e] = widened(dtype, source[e]);
  };
  engine_.pool.parallel_for((n_ + kRowsPerTask - 1) / kRowsPerTask, [&](std::int64_t task, int) {
    const std::int64_t begin = task * kRowsPerTask, end = std::min(n_, begin + kRowsPerTask);
    widen(from.q, begin * q_size_, (end - begin) * q_size_, q + begin * q_size_);
    for (std::int64_t g = 0; g < from.in.num_kv_heads; ++g)
      for (std::int64_t i = begin; i < end; ++i) {
        widen(from.k, (g * n_ + i) * dim, dim, k + i * kv_size_ + g * dim);
        widen(from.v, (g * n_ + i) * dim, dim, v + i * kv_size_ + g * dim);
      }
  });
  rows.q_ihd = q;
  rows.q_stride = q_size_;
  rows.k_igd = k;
  rows.v_igd = v;
  rows.kv_stride = kv_size_;
}

void CudaFacts::collect_topk(const Staging& from) {
  const AttentionWish& wish = *from.wish;
  const std::int64_t count = topk_rows(wish, from.in.num_heads), k = wish.topk;
  topk_.resize(static_cast<std::size_t>(count));
  const float* keys = from.on_host(from.layout.topk);
  for (std::int64_t r = 0; r < count; ++r) {
    capture::TopkRow& row = topk_[static_cast<std::size_t>(r)];
    row.layer = from.level;
    row.head = static_cast<std::int32_t>(r / std::ssize(wish.topk_positions));
    row.query = wish.topk_positions[static_cast<std::size_t>(r % std::ssize(wish.topk_positions))];
    const std::int64_t kept = std::min(k, from.in.mask.visible(row.query, from.in.num_keys).size());
    const auto* ids = reinterpret_cast<const std::int32_t*>(keys) + r * k;
    const float* values = keys + (count + r) * k;
    row.keys.assign(ids, ids + kept);
    row.values.assign(values, values + kept);
    row.remainder = keys[2 * count * k + r];
  }
}

void CudaFacts::finish_columns() {
  for (LaterColumns& later : later_) {
    if (later.target == nullptr) continue;
    PinnedBuffer host(model_.pinned());
    const std::int64_t size = later.target->layout().size();
    host.ensure(words(size));
    table_.copy_out(stream_, host.as<void>(), later.memory.as<void>(), words(size));
    table_.synchronize(stream_);
    later.target->merge(engine_.pool, host.as<float>());
    later.target = nullptr;
  }
}

void throw_if_not_finite(std::span<const int> first_bad) {
  for (std::size_t place = 0; place < first_bad.size(); ++place) {
    if (first_bad[place] == std::numeric_limits<int>::max()) continue;
    const std::string tensor =
        place == 0 ? "the embeddings" : fmt::format("the residual stream after layer {}", place - 1);
    throw Error(Errc::failed, fmt::format("NaN or Inf appeared in {}: first at token {}", tensor, first_bad[place]));
  }
}

}  // namespace headlight::engine
