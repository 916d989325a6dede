// How a call's rows are cut into tasks, and what a task is given.
#pragma once

#include "hedgehog/kernels/attention.h"

#include <vector>

namespace hedgehog::kernels {

/// Keys are transposed, mapped and absorbed this many rows at a time.
inline constexpr std::int64_t kChunkRows = 64;

/// Query rows [begin, end) of one task; `state` [F, D + 1] (null: nothing) holds the key rows before `absorbed`.
struct RowBlock {
  std::int64_t begin, end, absorbed;
  const float* state;
};

/// The first key row that query row `row` sees otherwise than through the state: where the chunk of its window's first key
/// begins.
inline std::int64_t first_near_row(const AttentionShape& shape, std::int64_t row) {
  const std::int64_t first = shape.window > 0 && row >= shape.window ? row - shape.window + 1 : (shape.window > 0 ? 0 : row);
  return first / kChunkRows * kChunkRows;
}

/// Consecutive blocks of one call's query rows; all begin with a chunk but the first. A matter of the shape alone, so that
/// results do not depend on the number of threads.
std::vector<RowBlock> row_blocks(const AttentionShape& shape);

/// Heads (batch · key/value) that are enough to keep any machine's threads busy; with fewer the blocks of a head are tasks of
/// their own. Not the number of threads, so that results do not depend on it.
inline constexpr std::int64_t kEnoughHeads = 8;

/// states [batch · kv_heads, blocks, F, D + 1]: the state before each block's near keys. Each block's own sum first, on all
/// threads, then one after the other. `before` [batch · kv_heads, F, D + 1]: before key row 0, or null.
void block_states(const AttentionArguments& arguments, const float* before, const std::vector<RowBlock>& blocks, float* states,
                  const ParallelFor& parallel_for);

/// attention_backward's call.
struct BackwardArguments {
  const AttentionArguments& forward;
  const Rows &out, &out_gradient;
  const float *row_max, *inverse_sum;
  const AttentionGradients& gradients;
  const float* row_dots;  // y_i·dy_i [B, H, N]
};

/// One block of the backward pass. Gradients for key rows of earlier blocks and for the map are summed in memory of the task's
/// own.
struct BackwardBlock {
  RowBlock rows;
  std::int64_t next_absorbed;   // key rows before it are in the state that later blocks begin with
  const float* state_gradient;  // [F, D + 1], of that state; null: nothing
  float* gradient_before;       // [F, D + 1], may be state_gradient: of the state that this block begins with; null: not wanted
  std::int64_t sink_begin;      // the document of key row rows.absorbed
  float *k, *v, *phi_k, *k_dot;  // a row for each key row [absorbed, begin), then for each sink
  float *q_weight, *q_bias, *k_weight, *k_bias;

  std::int64_t index(std::int64_t key_row) const {
    if (key_row >= rows.absorbed) return key_row - rows.absorbed;
    return rows.begin - rows.absorbed + key_row - sink_begin;
  }
};

}  // namespace hedgehog::kernels
