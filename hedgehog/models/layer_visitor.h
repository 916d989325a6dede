// How a model shows each layer's attention input on its way, for distillation and analysis.
#pragma once

#include "hedgehog/attention/attention.h"

#include <cstdint>
#include <functional>

namespace hedgehog {

using LayerVisitor = std::function<void(std::int64_t layer, const AttentionInput& input)>;

}  // namespace hedgehog
