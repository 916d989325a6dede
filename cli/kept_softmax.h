// --keep-softmax of the verbs.
#pragma once

#include "hedgehog/models/layer_attention.h"

#include <CLI/CLI.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace hedgehog::cli {

/// "3", "7.2", in order. Throws CLI::ValidationError that names the flag.
std::vector<KeptSoftmax> kept_softmax_list(const std::vector<std::string>& texts);

/// Adds --keep-softmax LAYER,LAYER.HEAD,… `kept` must outlive the parsing. `heads` (may be null): takes auto:N too, and N.
CLI::Option* add_kept_softmax(CLI::App& verb, std::vector<KeptSoftmax>& kept, const std::string& description,
                              std::int64_t* heads = nullptr);

}  // namespace hedgehog::cli
