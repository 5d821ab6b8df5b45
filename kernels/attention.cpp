#include "kernels/attention.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "kernels/attention_tiers.h"
#include "kernels/cpu_tier.h"

namespace headlight::kernels {
namespace {

constexpr std::int64_t kScoreFloats =
    192 * 1024;  // scores of a tile: 768 KB, to stay in a core's L2 with K and V panels
constexpr std::int64_t kMinTileRows = 12, kMaxTileRows = kAttentionTileRows;
constexpr std::int64_t kTasks = 64;  // tasks wanted per call, so that many cores share a layer
constexpr std::int64_t kMinChunkRows = 64;
constexpr std::int64_t kPartialFloats = 16 * 1024 * 1024;  // column partials of all tasks together
constexpr std::int64_t kDirectRows = 16;                   // rows per KV head up to which packing the keys does not pay
constexpr std::int64_t kPackKeys = 512;

std::int64_t lanes_up(std::int64_t n) {
  return (n + kAttentionLanes - 1) / kAttentionLanes * kAttentionLanes;
}

std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

/// Query heads of each KV head, in parts of at most kMaxUnitHeads.
std::vector<AttentionUnit> make_units(int num_heads, int num_kv_heads) {
  std::vector<AttentionUnit> units;
  for (int g = 0; g < num_kv_heads; ++g) {
    const auto first_head = [&](int kv) {
      return static_cast<int>(ceil_div(std::int64_t{kv} * num_heads, num_kv_heads));
    };
    const int begin = first_head(g), count = first_head(g + 1) - begin;
    const int parts = static_cast<int>(ceil_div(count, kMaxUnitHeads));
    for (int p = 0; p < parts; ++p) units.push_back({g, begin + p * count / parts, begin + (p + 1) * count / parts});
  }
  return units;
}

int most_heads(const std::vector<AttentionUnit>& units) {
  int most = 0;
  for (const AttentionUnit& unit : units) most = std::max(most, unit.heads());
  return most;
}

std::int64_t score_stride(std::int64_t keys) {
  return lanes_up(keys) + 3 * kAttentionLanes;  // both ends rounded to vectors, and the odd vector of the tile
}

/// Query positions per tile: what fits into the L2, whole register tiles where possible.
std::int64_t tile_positions(std::int64_t keys, int heads) {
  const std::int64_t most = std::max<std::int64_t>(1, kMaxTileRows / heads), least = ceil_div(kMinTileRows, heads);
  const std::int64_t fitting = std::clamp(kScoreFloats / (heads * score_stride(keys)), least, most);
  const std::int64_t step = 6 / std::gcd(6, heads);
  return fitting >= step ? fitting / step * step : fitting;
}

/// Floats of the scores of one tile, at most.
std::int64_t tile_floats(std::int64_t num_queries, std::int64_t keys, int heads) {
  const std::int64_t stride = score_stride(keys), least = ceil_div(kMinTileRows, heads);
  const std::int64_t largest = std::max(kScoreFloats, least * heads * stride);
  return std::min(largest, std::min(num_queries * heads, kMaxTileRows) * stride);
}

bool use_direct(std::int64_t num_queries, int num_heads, int num_kv_heads) {
  return num_queries * ceil_div(num_heads, num_kv_heads) <= kDirectRows;
}

std::int64_t count_chunks(std::int64_t num_queries, std::int64_t num_keys, int num_heads, std::int64_t num_units) {
  const std::int64_t wanted = std::min(ceil_div(kTasks, num_units), ceil_div(num_queries, kMinChunkRows));
  const std::int64_t affordable = std::max(kPartialFloats / (num_heads * lanes_up(num_keys)), ceil_div(8, num_units));
  return std::max<std::int64_t>(1, std::min(wanted, affordable));
}

/// Rows where the chunks of equal work begin, and the end. With a block map every block row lies in one chunk.
std::vector<std::int64_t> chunk_bounds(const AttentionInputs& in, std::int64_t chunks, std::int64_t block_edge) {
  const auto work = [&](std::int64_t row) { return in.mask.visible(in.query_start + row, in.num_keys).size() + 64; };
  std::int64_t total = 0;
  for (std::int64_t i = 0; i < in.num_queries; ++i) total += work(i);
  std::vector<std::int64_t> bounds{0};
  std::int64_t done = 0;
  for (std::int64_t i = 0; i < in.num_queries; ++i) {
    const bool on_edge = block_edge <= 1 || (in.query_start + i) % block_edge == 0;
    const auto next = static_cast<std::int64_t>(bounds.size());
    if (i > bounds.back() && on_edge && done >= total / chunks * next) bounds.push_back(i);
    done += work(i);
  }
  bounds.push_back(in.num_queries);
  return bounds;
}

/// Keys that rows [begin, end) may see; visible ranges move to the right from row to row.
KeyRange visible_to_rows(const AttentionInputs& in, std::int64_t begin, std::int64_t end) {
  const KeyRange first = in.mask.visible(in.query_start + begin, in.num_keys);
  const KeyRange last = in.mask.visible(in.query_start + end - 1, in.num_keys);
  return {first.size() > 0 ? first.begin : std::min(in.mask.first_key, last.begin), last.end};
}

template <class T>
void reserve(Buffer<T>& buffer, std::int64_t size) {
  const auto needed = static_cast<std::size_t>(size);
  if (buffer.size() >= needed) return;
  const std::size_t spare = buffer.empty() ? 0 : needed / 4;  // sizes that grow with each token
  buffer = {};
  buffer = Buffer<T>(needed + spare);
}

struct WorkerScratch {
  Buffer<float> scores, q, out, columns;
  Buffer<AttentionRow> rows;
  Buffer<AttentionRowSums> sums;
};

std::int64_t columns_stride(std::int64_t num_keys, std::int64_t block_edge) {
  return lanes_up(num_keys + 2 * block_edge) + 4 * kAttentionLanes;
}

std::vector<GroupRun> make_runs(const AttentionStatisticsPlan& plan, std::int64_t num_keys) {
  std::vector<GroupRun> runs;
  for (std::int64_t j = 0; j < num_keys && plan.num_groups > 0; ++j) {
    const int group = plan.group_of_key_j[j];
    if (group >= plan.num_groups) continue;
    if (!runs.empty() && runs.back().end == j && runs.back().group == group)
      ++runs.back().end;
    else
      runs.push_back({j, j + 1, group});
  }
  return runs;
}

const AttentionLoops& active_loops() {
#if defined(__x86_64__)
  switch (active_cpu_tier()) {
    case CpuTier::scalar:
      return attention_loops_scalar();
    case CpuTier::avx2:
      return attention_loops_avx2();
    case CpuTier::avx512:
    case CpuTier::avx512vnni:
      return attention_loops_avx512();
  }
#endif
  return attention_loops_scalar();
}

void check_inputs(const AttentionInputs& in, const float* out_ihd, const AttentionStatisticsPlan* plan,
                  const AttentionStatistics* statistics) {
  HEADLIGHT_CHECK(in.num_queries >= 0 && in.query_start >= 0 && in.num_keys >= 0);
  HEADLIGHT_CHECK(in.num_kv_heads > 0 && in.num_heads >= in.num_kv_heads && in.head_dim > 0);
  HEADLIGHT_CHECK(in.kv_dtype == DType::f32 || in.kv_dtype == DType::bf16);
  HEADLIGHT_CHECK(in.mask.window >= 0 && in.mask.first_key >= 0);
  HEADLIGHT_CHECK(in.num_queries == 0 || (in.q_ihd != nullptr && out_ihd != nullptr));
  HEADLIGHT_CHECK(in.num_keys == 0 || (in.k_gjd != nullptr && in.v_gjd != nullptr));
  HEADLIGHT_CHECK((plan == nullptr) == (statistics == nullptr));
  if (plan == nullptr) return;
  HEADLIGHT_CHECK(plan->num_groups >= 0 && plan->num_groups <= 16);
  HEADLIGHT_CHECK(plan->num_groups == 0 || (plan->group_of_key_j != nullptr && statistics->group_mass_hig != nullptr));
  HEADLIGHT_CHECK(statistics->row_stride >= in.num_queries && statistics->col_stride >= in.num_keys);
  HEADLIGHT_CHECK(statistics->received_hj != nullptr && statistics->received_tail_hj != nullptr);
  HEADLIGHT_CHECK(plan->block_edge >= 0);
  HEADLIGHT_CHECK(plan->block_edge == 0 ||
                  (statistics->block_sum != nullptr && statistics->block_max != nullptr &&
                   statistics->block_count * plan->block_edge >= in.num_keys &&
                   statistics->block_count * plan->block_edge >= in.query_start + in.num_queries));
}

}  // namespace

struct AttentionWorkspace::Impl {
  Buffer<float> k_packed, values, partials, scores, q, out;
  Buffer<AttentionRow> rows;
  std::vector<WorkerScratch> workers;
};

namespace {

/// One call of attention(): what its phases share.
class AttentionRun {
 public:
  AttentionRun(ThreadPool& pool, AttentionWorkspace::Impl& space, const AttentionInputs& in, float* out_ihd,
               std::int64_t out_stride, const AttentionStatisticsPlan* plan, const AttentionStatistics* statistics)
      : pool_(pool), space_(space), loops_(active_loops()), units_(make_units(in.num_heads, in.num_kv_heads)) {
    call_.in = in;
    call_.plan = plan;
    call_.statistics = statistics;
    call_.out_ihd = out_ihd;
    call_.out_stride = out_stride;
    call_.dim_padded = lanes_up(in.head_dim);
    if (plan != nullptr) {
      runs_ = make_runs(*plan, in.num_keys);
      call_.runs = runs_.data();
      call_.num_runs = static_cast<std::int64_t>(runs_.size());
      tail_ = plan->tail_rows;
    }
    space_.workers.resize(std::max(space_.workers.size(), static_cast<std::size_t>(pool.num_threads())));
    if (plan != nullptr)
      for (WorkerScratch& worker : space_.workers) {
        reserve(worker.columns, 2 * columns());
        reserve(worker.sums, 1);
      }
  }

  void run() {
    if (call_.in.num_queries == 0) return;
    if (use_direct(call_.in.num_queries, call_.in.num_heads, call_.in.num_kv_heads))
      run_direct();
    else
      run_tiled();
  }

 private:
  std::int64_t columns() const { return columns_stride(call_.in.num_keys, call_.plan->block_edge); }

  bool in_tail(std::int64_t row_begin, std::int64_t row_end) const {
    return call_.statistics != nullptr && call_.in.query_start + row_begin < tail_.end &&
           call_.in.query_start + row_end > tail_.begin;
  }

  /// Partials of chunk c: [2 when some chunk is in the tail][H][keys], received first.
  void place_partials(std::int64_t chunks) {
    if (call_.statistics == nullptr) return;
    partial_stride_ = lanes_up(call_.in.num_keys);
    chunk_floats_ = 2 * call_.in.num_heads * partial_stride_;
    reserve(space_.partials, chunks * chunk_floats_);
  }

  /// The cleared partials of a unit's heads; keys that the chunk's rows do not see stay untouched.
  ColumnPartials clear_partials(std::int64_t chunk, const AttentionUnit& unit, KeyRange keys, bool tail) {
    ColumnPartials partials;
    if (call_.statistics == nullptr) return partials;
    float* const at = space_.partials.data() + chunk * chunk_floats_ + unit.head_begin * partial_stride_;
    partials.stride = partial_stride_;
    partials.received = at;
    if (tail) partials.tail = at + call_.in.num_heads * partial_stride_;
    const std::int64_t begin = keys.begin / kAttentionLanes * kAttentionLanes, end = lanes_up(keys.end);
    for (int h = 0; h < unit.heads(); ++h)
      for (float* array : {partials.received, partials.tail})
        if (array != nullptr) std::fill(array + h * partial_stride_ + begin, array + h * partial_stride_ + end, 0.0f);
    return partials;
  }

  /// Adds the partials of head h in the order of the chunks.
  void add_partials(int h) {
    const std::int64_t at = h * call_.statistics->col_stride;
    for (std::size_t c = 0; c + 1 < bounds_.size(); ++c) {
      const KeyRange keys = visible_to_rows(call_.in, bounds_[c], bounds_[c + 1]);
      const float* const from =
          space_.partials.data() + static_cast<std::int64_t>(c) * chunk_floats_ + h * partial_stride_;
      loops_.add(call_.statistics->received_hj + at + keys.begin, from + keys.begin, keys.size());
      if (!in_tail(bounds_[c], bounds_[c + 1])) continue;
      const float* const tail = from + call_.in.num_heads * partial_stride_;
      loops_.add(call_.statistics->received_tail_hj + at + keys.begin, tail + keys.begin, keys.size());
    }
  }

  void pack() {
    const AttentionInputs& in = call_.in;
    const std::int64_t dim = in.head_dim, groups = ceil_div(in.num_keys, kAttentionLanes);
    call_.k_packed_stride = groups * kAttentionLanes * dim;
    reserve(space_.k_packed, in.num_kv_heads * call_.k_packed_stride);
    call_.k_packed = space_.k_packed.data();
    const bool copied = in.kv_dtype != DType::f32 || call_.dim_padded != dim;
    call_.v_gjd = copied ? nullptr : static_cast<const float*>(in.v_gjd);
    call_.v_row_stride = call_.dim_padded;
    call_.v_head_stride = copied ? in.num_keys * call_.dim_padded : in.kv_stride;
    if (copied) {
      reserve(space_.values, in.num_kv_heads * call_.v_head_stride);
      call_.v_gjd = space_.values.data();
    }
    const std::int64_t slabs = ceil_div(in.num_keys, kPackKeys);
    pool_.parallel_for(in.num_kv_heads * slabs, [&](std::int64_t task, int) {
      const int g = static_cast<int>(task / slabs);
      const std::int64_t begin = task % slabs * kPackKeys, end = std::min(begin + kPackKeys, in.num_keys);
      loops_.pack(call_, g, begin, end, space_.k_packed.data() + g * call_.k_packed_stride,
                  copied ? space_.values.data() + g * call_.v_head_stride : nullptr);
    });
  }

  AttentionScratch scratch_of(int worker) {
    WorkerScratch& own = space_.workers[static_cast<std::size_t>(worker)];
    return {own.scores.data(),
            own.q.data(),
            own.out.data(),
            own.rows.data(),
            own.sums.data(),
            own.columns.data(),
            call_.plan != nullptr ? columns() : 0};
  }

  void run_tiled() {
    const AttentionInputs& in = call_.in;
    const auto num_units = static_cast<std::int64_t>(units_.size());
    bounds_ = chunk_bounds(in, count_chunks(in.num_queries, in.num_keys, in.num_heads, num_units),
                           call_.plan != nullptr ? call_.plan->block_edge : 0);
    const auto chunks = static_cast<std::int64_t>(bounds_.size()) - 1;
    place_partials(chunks);
    const int heads = most_heads(units_);
    for (WorkerScratch& worker : space_.workers) {
      reserve(worker.scores, tile_floats(in.num_queries, in.num_keys, heads));
      reserve(worker.q, kMaxTileRows * in.head_dim);
      reserve(worker.out, kMaxTileRows * call_.dim_padded);
      reserve(worker.rows, kMaxTileRows);
    }
    pack();
    pool_.parallel_for(chunks * num_units, [&](std::int64_t task, int worker) {
      run_chunk(chunks - 1 - task / num_units, units_[static_cast<std::size_t>(task % num_units)], worker);
    });
    if (call_.statistics != nullptr)
      pool_.parallel_for(in.num_heads, [&](std::int64_t h, int) { add_partials(static_cast<int>(h)); });
  }

  void run_chunk(std::int64_t chunk, const AttentionUnit& unit, int worker) {
    const AttentionInputs& in = call_.in;
    const std::int64_t begin = bounds_[static_cast<std::size_t>(chunk)],
                       end = bounds_[static_cast<std::size_t>(chunk) + 1];
    const ColumnPartials partials = clear_partials(chunk, unit, visible_to_rows(in, begin, end), in_tail(begin, end));
    const AttentionScratch scratch = scratch_of(worker);
    const std::int64_t most = kMaxTileRows / unit.heads();
    for (std::int64_t row = begin; row < end;) {
      const KeyRange keys = visible_to_rows(in, row, std::min(end, row + most));
      const std::int64_t next = std::min(end, row + tile_positions(keys.size(), unit.heads()));
      loops_.tile(call_, unit, row, next, scratch, partials);
      row = next;
    }
  }

  // Few rows: scores, softmax and output in three phases over the same key chunks, each key read once.
  void run_direct() {
    const AttentionInputs& in = call_.in;
    const auto num_units = static_cast<std::int64_t>(units_.size());
    const std::int64_t chunks = std::max<std::int64_t>(1, ceil_div(in.num_keys, kDirectChunk));
    const std::int64_t most = most_heads(units_) * in.num_queries;
    bounds_ = {0, in.num_queries};
    place_partials(1);
    stride_ = score_stride(in.num_keys);
    reserve(space_.scores, num_units * most * stride_);
    reserve(space_.q, num_units * most * in.head_dim);
    reserve(space_.out, num_units * chunks * most * call_.dim_padded);
    reserve(space_.rows, num_units * most);
    if (chunks == 1) {
      pool_.parallel_for(num_units, [&](std::int64_t u, int worker) {
        direct_queries(u, most);
        direct_scores(u, most, 0);
        for (int h = 0; h < units_[static_cast<std::size_t>(u)].heads(); ++h) direct_rows(u, most, h, worker);
        direct_values(u, most, 0, 1);
        direct_output(u, most, 1);
      });
    } else {
      pool_.parallel_for(num_units, [&](std::int64_t u, int) { direct_queries(u, most); });
      pool_.parallel_for(num_units * chunks,
                         [&](std::int64_t task, int) { direct_scores(task / chunks, most, task % chunks); });
      pool_.parallel_for(in.num_heads, [&](std::int64_t h, int worker) {
        const auto unit = std::find_if(units_.begin(), units_.end(), [&](const auto& u) { return h < u.head_end; });
        direct_rows(unit - units_.begin(), most, static_cast<int>(h - unit->head_begin), worker);
      });
      pool_.parallel_for(num_units * chunks,
                         [&](std::int64_t task, int) { direct_values(task / chunks, most, task % chunks, chunks); });
      pool_.parallel_for(num_units, [&](std::int64_t u, int) { direct_output(u, most, chunks); });
    }
    for (int h = 0; h < in.num_heads && call_.statistics != nullptr; ++h) add_partials(h);
  }

  const AttentionUnit& unit(std::int64_t u) const { return units_[static_cast<std::size_t>(u)]; }

  void direct_queries(std::int64_t u, std::int64_t most) {
    loops_.scale_queries(call_, unit(u), 0, call_.in.num_queries, space_.q.data() + u * most * call_.in.head_dim);
    const KeyRange keys = visible_to_rows(call_.in, 0, call_.in.num_queries);
    clear_partials(0, unit(u), keys, in_tail(0, call_.in.num_queries));
  }

  void direct_scores(std::int64_t u, std::int64_t most, std::int64_t chunk) {
    loops_.direct_scores(call_, unit(u), chunk * kDirectChunk, std::min((chunk + 1) * kDirectChunk, call_.in.num_keys),
                         space_.q.data() + u * most * call_.in.head_dim, space_.scores.data() + u * most * stride_,
                         stride_);
  }

  void direct_rows(std::int64_t u, std::int64_t most, int head, int worker) {
    AttentionScratch scratch = scratch_of(worker);
    scratch.scores = space_.scores.data() + u * most * stride_;
    scratch.rows = space_.rows.data() + u * most;
    ColumnPartials partials;
    if (call_.statistics != nullptr) {
      partials.stride = partial_stride_;
      partials.received = space_.partials.data() + unit(u).head_begin * partial_stride_;
      partials.tail = partials.received + call_.in.num_heads * partial_stride_;
    }
    loops_.direct_rows(call_, unit(u), head, scratch, stride_, partials);
  }

  void direct_values(std::int64_t u, std::int64_t most, std::int64_t chunk, std::int64_t chunks) {
    loops_.direct_values(call_, unit(u), chunk * kDirectChunk, std::min((chunk + 1) * kDirectChunk, call_.in.num_keys),
                         space_.scores.data() + u * most * stride_, stride_, space_.rows.data() + u * most,
                         space_.out.data() + (u * chunks + chunk) * most * call_.dim_padded);
  }

  void direct_output(std::int64_t u, std::int64_t most, std::int64_t chunks) {
    const std::int64_t heads = unit(u).heads(), dim = call_.in.head_dim;
    for (std::int64_t r = 0; r < call_.in.num_queries * heads; ++r) {
      const AttentionRow& row = space_.rows[static_cast<std::size_t>(u * most + r)];
      float* const to = call_.out_ihd + r / heads * call_.out_stride + (unit(u).head_begin + r % heads) * dim;
      const float* const from = space_.out.data() + (u * chunks * most + r) * call_.dim_padded;
      for (std::int64_t d = 0; d < dim; ++d) {
        float sum = from[d];
        for (std::int64_t c = 1; c < chunks; ++c) sum += from[c * most * call_.dim_padded + d];
        to[d] = row.begin < row.end ? sum * row.inverse : 0.0f;
      }
    }
  }

  ThreadPool& pool_;
  AttentionWorkspace::Impl& space_;
  const AttentionLoops& loops_;
  std::vector<AttentionUnit> units_;
  std::vector<GroupRun> runs_;
  std::vector<std::int64_t> bounds_;
  AttentionCall call_;
  KeyRange tail_;
  std::int64_t partial_stride_ = 0, chunk_floats_ = 0, stride_ = 0;
};

}  // namespace

KeyRange AttentionMask::visible(std::int64_t position, std::int64_t num_keys) const {
  if (position < first_key) return {};
  std::int64_t begin = first_key, end = num_keys;
  if (window > 0) begin = std::max(begin, position - window + 1);
  if (causal)
    end = std::min(end, position + 1);
  else if (window > 0)
    end = std::min(end, position + window);
  return begin < end ? KeyRange{begin, end} : KeyRange{};
}

void deliver_row(RowTap& tap, int head, std::int64_t position, KeyRange keys, const float* attn_j) {
  tap.row(head, position, keys, {attn_j, static_cast<std::size_t>(keys.size())});
}

AttentionWorkspace::AttentionWorkspace() : impl_(new Impl) {}

AttentionWorkspace::~AttentionWorkspace() {
  delete impl_;
}

std::uint64_t AttentionWorkspace::bytes() const {
  std::size_t floats = 0, rows = impl_->rows.size(), sums = 0;
  for (const auto* buffer :
       {&impl_->k_packed, &impl_->values, &impl_->partials, &impl_->scores, &impl_->q, &impl_->out})
    floats += buffer->size();
  for (const WorkerScratch& worker : impl_->workers) {
    floats += worker.scores.size() + worker.q.size() + worker.out.size() + worker.columns.size();
    rows += worker.rows.size();
    sums += worker.sums.size();
  }
  return floats * sizeof(float) + rows * sizeof(AttentionRow) + sums * sizeof(AttentionRowSums);
}

void attention(ThreadPool& pool, AttentionWorkspace& workspace, const AttentionInputs& in, float* out_ihd,
               std::int64_t out_stride, const AttentionStatisticsPlan* plan, const AttentionStatistics* statistics) {
  check_inputs(in, out_ihd, plan, statistics);
  AttentionRun(pool, workspace.impl(), in, out_ihd, out_stride, plan, statistics).run();
}

std::uint64_t attention_workspace_bytes(std::int64_t num_queries, std::int64_t num_keys, int num_heads,
                                        int num_kv_heads, int head_dim, int num_threads, bool statistics) {
  if (num_queries == 0) return 0;
  const std::vector<AttentionUnit> units = make_units(num_heads, num_kv_heads);
  const auto num_units = static_cast<std::int64_t>(units.size());
  const std::int64_t padded = lanes_up(head_dim), keys = lanes_up(num_keys);
  const bool direct = use_direct(num_queries, num_heads, num_kv_heads);
  std::int64_t floats = 0, rows = 0;
  if (direct) {
    const std::int64_t most = num_units * most_heads(units) * num_queries;
    floats += most * (score_stride(num_keys) + head_dim + ceil_div(num_keys, kDirectChunk) * padded);
    rows += most;
  } else {
    floats += num_kv_heads * (keys * head_dim + num_keys * padded);
    floats +=
        num_threads * (tile_floats(num_queries, num_keys, most_heads(units)) + kMaxTileRows * (head_dim + padded));
    rows += num_threads * kMaxTileRows;
  }
  if (statistics) {
    const std::int64_t chunks = direct ? 1 : count_chunks(num_queries, num_keys, num_heads, num_units);
    const std::int64_t block_edge = ceil_div(num_keys, 128);  // the coarsest overview map
    floats += chunks * 2 * num_heads * keys + 2 * num_threads * columns_stride(num_keys, block_edge);
  }
  const std::int64_t sums = statistics ? num_threads : 0;
  return static_cast<std::uint64_t>(floats) * sizeof(float) + static_cast<std::uint64_t>(rows) * sizeof(AttentionRow) +
         static_cast<std::uint64_t>(sums) * sizeof(AttentionRowSums);
}

void attention_scores_row(const AttentionInputs& in, int head, std::int64_t row, KeyRange keys, float* scores) {
  active_loops().scores_row(in, head, row, keys, scores);
}

}  // namespace headlight::kernels
