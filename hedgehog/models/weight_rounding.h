// What becomes of a model's matrices when they are stored in 8 or 4 bits a weight, without a file in such a format.
#pragma once

#include "hedgehog/models/decoder.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace hedgehog {

/// ggml's formats of whole numbers times a scale in fp16 for each 32 weights of a row: "q8_0", "q4_0".
std::vector<std::string> weight_formats();

/// `matrix` [rows, columns] as it would come back from that format, fp32: q8_0's scale is max|x| / 127, q4_0's that of the
/// largest |x|, x / −8. Equal to ggml's own rounding. Throws Error for columns that are no multiple of 32.
at::Tensor rounded_weights(const at::Tensor& matrix, const std::string& format);

/// Every matrix of the model whose rows are whole blocks, the embedding too, in new tensors of the old dtype. Others, norms,
/// biases and the attention's own weights stay. Returns the bytes that all would need, those that stay in fp32.
std::int64_t round_weights(Decoder& model, const std::string& format);

}  // namespace hedgehog
