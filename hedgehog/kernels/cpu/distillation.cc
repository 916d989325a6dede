// The weights' distillation of kernels/attention.h: for a tile of query rows at a time, softmax's scores and this attention's
// products over all keys that it sees, the rows' losses, and the gradients back through the maps.
#include "hedgehog/kernels/attention.h"
#include "hedgehog/kernels/cpu/distillation_task.h"
#include "hedgehog/kernels/cpu/instruction_set.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hedgehog/kernels/cpu/distillation.cc"
#include <hwy/foreach_target.h>

#include "hedgehog/kernels/cpu/chunk_tile-inl.h"
#include "hedgehog/kernels/cpu/distillation_row-inl.h"
#include "hedgehog/kernels/cpu/map_backward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

template <class Math>
class TaskDistillation {
  using Number = typename Math::Number;

 public:
  TaskDistillation(const DistillationCall& call, const DistillationTask& task)
      : call_(call),
        a_(call.arguments),
        s_(a_.shape),
        task_(task),
        decay_memory_(a_.log_gate == nullptr ? 1 : s_.length),
        head_(a_, task.b, task.h / (s_.heads / s_.kv_heads), decay_memory_.get()),
        wanted_(call.gradient_scale != 0),
        chunks_(head_, chunk_of(task.keys - 1) + 1,
                {.keys = true,
                 .values = static_cast<bool>(call.output.teacher),
                 .key_rows = wanted_ && a_.map.width > 0,
                 .feature_rows = wanted_}),
        queries_(head_, task.h, task.h + 1),
        map_backward_(head_),
        strip_row_(padded(task.keys)),
        scores_(kTileRows * strip_row_),
        products_(kTileRows * strip_row_),
        relative_(strip_row_),
        feature_row_(padded(s_.features)),
        feature_gradients_(kTileRows * feature_row_),
        out_row_(padded(s_.dim)),
        numerator_(kTileRows * out_row_),
        key_sums_(wanted_ ? (chunk_of(task.keys - 1) + 1) * s_.features * kTileRows : 1),
        query_memory_(kTileRows * even(s_.dim)),
        left_memory_(kTileRows * kTileRows),
        right_memory_(kTileRows * kTileRows),
        transposed_memory_(kTileRows * even(s_.features)),
        features_right_memory_(kTileRows * even(s_.features)),
        temporary_(kTileRows * s_.features) {}

  void run() {
    if (wanted_) {
      const std::int64_t size = (chunk_of(task_.keys - 1) + 1) * s_.features * kTileRows;
      std::memset(key_sums_.get(), 0, sizeof(float) * static_cast<std::size_t>(size));
    }
    for (std::int64_t begin = task_.begin; begin < task_.end; begin += kTileRows) {
      const std::int64_t end = least(begin + kTileRows, task_.end);
      Tile tile{};
      tile.t0 = call_.rows.at(begin);
      tile.t1 = keys_end(call_.rows.at(end - 1));
      tile.n0 = chunk_of(head_.segment_of(tile.t0)) * kTileRows;
      run_tile(tile, begin, end - begin);
    }
    for (std::int64_t chunk = 0; wanted_ && chunk * kTileRows < task_.keys; ++chunk) finish_keys(chunk);
  }

 private:
  // The end of the keys that the query at key row i sees.
  std::int64_t keys_end(std::int64_t i) const {
    if (s_.causal) return i + 1;
    const std::int64_t start = head_.segment_of(i);
    return head_.keys_end(start, head_.document_end(start));
  }

  // `rows` query rows from number `first` on, which stand at key rows from tile.t0 on and see none from tile.t1 on.
  void run_tile(const Tile& tile, std::int64_t first, std::int64_t rows) {
    const std::int64_t h = task_.h, offset = (task_.b * s_.heads + h) * call_.rows.count(s_.length);
    const View<Number> q = Math::input(a_.q, task_.b, h, first, rows, s_.dim, query_memory_.get());
    const View<Number> phi = queries_.of(first, rows, h, q);
    for_chunks(tile.n0, tile.t1, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t chunk = chunk_of(begin), column = begin - tile.n0;
      Math::product(rows, end - begin, s_.dim, q, chunks_.keys(chunk), scores_.get() + column, strip_row_, Store::kOverwrite);
      Math::product(rows, end - begin, s_.features, phi, chunks_.features(chunk), products_.get() + column, strip_row_,
                    Store::kOverwrite);
    });
    tile_decay(head_, tile, relative_.get());
    float inverses[kTileRows];
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t at = offset + first + r;
      const RowLoss loss = distil_row(row_of(tile, call_.rows.at(first + r), r, at), tile.t1 - tile.n0, wanted_,
                                      scores_.get() + r * strip_row_, products_.get() + r * strip_row_);
      call_.output.cross_entropy[at] = loss.cross_entropy;
      call_.output.entropy[at] = loss.entropy;
      inverses[r] = loss.teacher_inverse;
    }
    if (call_.output.teacher) write_teacher(tile, first, rows, inverses);
    if (wanted_) give_back(tile, first, rows, q, phi);
  }

  // The tile's row r, at key row i.
  DistillationRow row_of(const Tile& tile, std::int64_t i, std::int64_t r, std::int64_t at) const {
    const std::int64_t start = head_.segment_of(i);
    DistillationRow row{};
    row.begin = start - tile.n0;
    row.end = keys_end(i) - tile.n0;
    row.linear_begin = clamp(start + s_.sinks - tile.n0, row.begin, row.end);
    row.linear_end = clamp(row.end - s_.window, row.linear_begin, row.end);
    row.teacher_begin = call_.teacher_window > 0 ? most(row.begin, i - call_.teacher_window + 1 - tile.n0) : row.begin;
    row.scale = s_.scale;
    row.log_scale = (a_.row_log_scale == nullptr ? 0 : a_.row_log_scale[at]) + queries_.log_scales()[r];
    row.own_decay = head_.decay == nullptr ? 0 : relative_.get()[i - tile.n0];
    row.key_decay = head_.decay == nullptr ? nullptr : relative_.get();
    row.gradient_scale = call_.gradient_scale;
    return row;
  }

  // y = Σ_j p_j v_j
  void write_teacher(const Tile& tile, std::int64_t first, std::int64_t rows, const float* inverses) {
    for_chunks(tile.n0, tile.t1, [&](std::int64_t begin, std::int64_t end) {
      const View<Number> weights =
          Math::left(scores_.get() + (begin - tile.n0), strip_row_, rows, end - begin, left_memory_.get());
      Math::product(rows, s_.dim, end - begin, weights, chunks_.values(chunk_of(begin)), numerator_.get(), out_row_,
                    begin == tile.n0 ? Store::kOverwrite : Store::kAdd);
    });
    for (std::int64_t r = 0; r < rows; ++r) {
      write_row(numerator_.get() + r * out_row_, s_.dim, inverses[r], call_.output.teacher, task_.b, task_.h, first + r);
    }
  }

  // dφ(q), through the map where there is one; dφ(k) is summed.
  void give_back(const Tile& tile, std::int64_t first, std::int64_t rows, View<Number> q, View<Number> phi) {
    const View<Number> phi_transposed =
        Math::sides(phi, rows, s_.features, transposed_memory_.get(), features_right_memory_.get()).left_transposed;
    for_chunks(tile.n0, tile.t1, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t chunk = chunk_of(begin), columns = end - begin;
      const float* strip = products_.get() + (begin - tile.n0);
      Math::product(rows, s_.features, columns, Math::left(strip, strip_row_, rows, columns, left_memory_.get()),
                    chunks_.feature_rows(chunk), feature_gradients_.get(), feature_row_,
                    begin == tile.n0 ? Store::kOverwrite : Store::kAdd);
      Math::product(s_.features, columns, rows, phi_transposed,
                    Math::right_of_fp32(strip, strip_row_, rows, columns, right_memory_.get()),
                    key_sums_.get() + chunk * s_.features * kTileRows, kTileRows, Store::kAdd);
    });
    float* dots = task_.q_dot == nullptr ? nullptr : task_.q_dot + (first - task_.begin);
    if (a_.map.width > 0) {
      map_backward_.queries(rows, phi, feature_gradients_.get(), feature_row_, nullptr, nullptr, q, task_.q_weight,
                            task_.q_bias, dots);
      return;
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      const float* gradient = feature_gradients_.get() + r * feature_row_;
      if (dots != nullptr) dots[r] = dot_of(phi.data + r * phi.row, gradient, s_.features);
      scale_row(gradient, s_.features, 1, false, call_.gradients.phi_q.at(task_.b, task_.h, first + r));
    }
  }

  void finish_keys(std::int64_t chunk) {
    const std::int64_t begin = chunk * kTileRows, rows = least(kTileRows, task_.keys - begin);
    const float* sums = key_sums_.get() + chunk * s_.features * kTileRows;
    const View<Number> phi = chunks_.features_left(chunk);
    if (task_.k_dot != nullptr) {
      float dots[kTileRows];
      chunk_dots(s_.features, phi.data, sums, dots);
      for (std::int64_t r = 0; r < rows; ++r) task_.k_dot[begin + r] = dots[r];
    }
    if (a_.map.width > 0) {
      map_backward_.keys(rows, phi, sums, chunks_.key_rows(chunk), task_.k_weight, task_.k_bias);
      return;
    }
    transpose(s_.features, rows, sums, kTileRows, temporary_.get(), s_.features);
    std::memcpy(task_.phi_k + begin * s_.features, temporary_.get(),
                sizeof(float) * static_cast<std::size_t>(rows * s_.features));
  }

  const DistillationCall& call_;
  const AttentionArguments& a_;
  const AttentionShape& s_;
  const DistillationTask& task_;
  Buffer<double> decay_memory_;
  KeyHead head_;
  bool wanted_;
  KeyChunks<Math> chunks_;
  QueryFeatures<Math> queries_;
  MapBackward<Math> map_backward_;
  std::int64_t strip_row_;
  Buffer<float> scores_, products_, relative_;  // strips
  std::int64_t feature_row_;
  Buffer<float> feature_gradients_;
  std::int64_t out_row_;
  Buffer<float> numerator_, key_sums_;  // key_sums_: dφ(k)ᵀ [F, kTileRows] of each chunk
  Buffer<Number> query_memory_, left_memory_, right_memory_, transposed_memory_, features_right_memory_;
  Buffer<float> temporary_;
};

void distil(const DistillationCall& call, const DistillationTask& task) {
#if HEDGEHOG_HAS_HALF_MATH
  if (takes_half(call.arguments.k)) {
    const TileScope tiles;
    return TaskDistillation<HalfMath>(call, task).run();
  }
#endif
  TaskDistillation<FullMath>(call, task).run();
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

namespace hedgehog::kernels {

HWY_EXPORT(distil);

namespace {

// Query heads that are enough to keep any machine's threads busy; with fewer each is cut in two. Not the number of threads, so
// that results do not depend on it.
constexpr std::int64_t kEnoughHeads = 32;

// The tasks of one call, and their memory.
class DistillationPlan {
 public:
  DistillationPlan(const DistillationCall& call, const ParallelFor& parallel_for)
      : call_(call), s_(call.arguments.shape), rows_(call.rows.count(s_.length)), parallel_for_(parallel_for) {
    // The second part has about as many pairs of query and key as the first.
    const auto middle = static_cast<std::int64_t>((s_.causal ? std::sqrt(0.5) : 0.5) * static_cast<double>(rows_));
    cut_ = s_.batch * s_.heads < kEnoughHeads ? (middle + kChunkRows - 1) / kChunkRows * kChunkRows : 0;
    if (cut_ >= rows_) cut_ = 0;
    parts_ = cut_ > 0 ? 2 : 1;
    plan();
  }

  void run() {
    parallel_for_(static_cast<std::int64_t>(tasks_.size()), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n) {
        const DistillationTask& task = tasks_[static_cast<std::size_t>(n)];
        if (task.begin < task.end) HEDGEHOG_DISPATCH(distil)(call_, task);
      }
    });
    if (call_.gradient_scale == 0) return;
    parallel_for_(s_.kv_heads, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t g = begin; g < end; ++g) sum(g);
    });
  }

 private:
  std::int64_t width() const { return call_.arguments.map.width; }
  std::int64_t group() const { return s_.heads / s_.kv_heads; }
  // Key rows of batch entry b that are no padding.
  std::int64_t keys_of(std::int64_t b) const {
    const std::int32_t* count = call_.arguments.key_count;
    return count == nullptr ? s_.length : std::clamp<std::int64_t>(count[b], 0, s_.length);
  }
  const DistillationTask& task(std::int64_t b, std::int64_t h, std::int64_t part) const {
    return tasks_[static_cast<std::size_t>((b * s_.heads + h) * parts_ + part)];
  }

  void plan() {
    const AttentionGradients& to = call_.gradients;
    const bool wanted = call_.gradient_scale != 0, mapped = width() > 0, dots = to.q_dot != nullptr;
    const std::int64_t map = wanted && mapped ? width() * (s_.dim + 1) : 0;
    const std::int64_t keys = wanted && !mapped ? s_.length * s_.features : 0, key_dots = wanted && dots ? s_.length : 0;
    const std::int64_t count = s_.batch * s_.heads * parts_;
    memory_.resize(static_cast<std::size_t>(count * (2 * map + keys + key_dots)));
    float* memory = memory_.data();
    const auto take = [&memory](std::int64_t size) { return std::exchange(memory, memory + size); };
    for (std::int64_t n = 0; n < count; ++n) {
      const std::int64_t head = n / parts_, part = n % parts_;
      DistillationTask task{};
      task.b = head / s_.heads;
      task.h = head % s_.heads;
      const std::int64_t key_rows = keys_of(task.b), rows = call_.rows.count(key_rows);
      task.begin = std::min(rows, part == 0 ? 0 : cut_);
      task.end = part + 1 < parts_ ? std::min(rows, cut_) : rows;
      if (task.begin < task.end) task.keys = s_.causal ? call_.rows.at(task.end - 1) + 1 : key_rows;
      if (map > 0) {
        task.q_weight = take(width() * s_.dim);
        task.q_bias = take(width());
        task.k_weight = take(width() * s_.dim);
        task.k_bias = take(width());
      }
      if (keys > 0) task.phi_k = take(keys);
      if (key_dots > 0) {
        task.k_dot = take(key_dots);
        task.q_dot = to.q_dot + head * rows_ + task.begin;
      }
      tasks_.push_back(task);
    }
  }

  // All that belongs to one key/value head, in the order of the tasks.
  void sum(std::int64_t g) {
    const AttentionGradients& to = call_.gradients;
    const auto add = [](const float* from, std::int64_t count, float* sums) {
      for (std::int64_t i = 0; i < count; ++i) sums[i] += from[i];
    };
    const std::int64_t size = width() * s_.dim;
    if (width() > 0) {
      std::fill_n(to.q_weight + g * group() * size, group() * size, 0.0f);
      std::fill_n(to.q_bias + g * group() * width(), group() * width(), 0.0f);
      std::fill_n(to.k_weight + g * size, size, 0.0f);
      std::fill_n(to.k_bias + g * width(), width(), 0.0f);
    }
    for (std::int64_t b = 0; b < s_.batch; ++b) {
      for (std::int64_t j = 0; width() == 0 && j < s_.length; ++j) std::fill_n(to.phi_k.at(b, g, j), s_.features, 0.0f);
      float* k_dot = to.k_dot == nullptr ? nullptr : to.k_dot + (b * s_.kv_heads + g) * s_.length;
      if (k_dot != nullptr) std::fill_n(k_dot, s_.length, 0.0f);
      for (std::int64_t h = g * group(); h < (g + 1) * group(); ++h) {
        for (std::int64_t part = 0; part < parts_; ++part) {
          const DistillationTask& from = task(b, h, part);
          if (k_dot != nullptr) add(from.k_dot, from.keys, k_dot);
          if (width() > 0) {
            add(from.q_weight, size, to.q_weight + h * size);
            add(from.q_bias, width(), to.q_bias + h * width());
            add(from.k_weight, size, to.k_weight + g * size);
            add(from.k_bias, width(), to.k_bias + g * width());
            continue;
          }
          for (std::int64_t j = 0; j < from.keys; ++j) add(from.phi_k + j * s_.features, s_.features, to.phi_k.at(b, g, j));
        }
      }
    }
  }

  const DistillationCall& call_;
  const AttentionShape& s_;
  std::int64_t rows_;
  const ParallelFor& parallel_for_;
  std::int64_t cut_ = 0, parts_ = 1;
  std::vector<float> memory_;
  std::vector<DistillationTask> tasks_;
};

}  // namespace

void attention_distillation(const AttentionArguments& arguments, const QueryRows& rows, std::int64_t teacher_window,
                            float gradient_scale, const DistillationResult& output, const AttentionGradients& gradients,
                            const ParallelFor& parallel_for) {
  const DistillationCall call{arguments, rows, teacher_window, gradient_scale, output, gradients};
  DistillationPlan(call, parallel_for).run();
}

}  // namespace hedgehog::kernels

#endif  // HWY_ONCE
