// What the verbs of the program share: common flags, the progress bar, the JSON object. One file a verb; main.cc lists them.
#pragma once

#include "hedgehog/base/progress.h"

#include <c10/core/ScalarType.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace hedgehog::cli {

struct CommonOptions {
  std::string device = "cpu";
  std::string dtype = "auto";  // "auto", "fp32", "bf16": auto is bf16 where the machine multiplies it faster than fp32
  int threads = 0;             // 0: all cores
  std::uint64_t seed = 0;
  bool json = false;
};

/// Adds --device --dtype --threads --seed --json --recipe and keeps their values in `options`.
/// --recipe FILE holds "flag = value" lines (TOML); a flag on the command line wins.
void add_common_options(CLI::App& verb, CommonOptions& options);

/// Those of them that say on what and with what numbers is computed: --device --threads --seed --recipe.
void add_machine_options(CLI::App& verb, CommonOptions& options);

/// Applies threads and seed, checks device. Call first in a verb's callback.
void apply(const CommonOptions& options);

/// Whether this machine has instructions for bf16, without which multiplying it is far slower than fp32.
bool bf16_is_fast();

/// What --dtype means on this machine: at::kFloat or at::kBFloat16.
at::ScalarType compute_dtype(const CommonOptions& options);
/// "fp32" or "bf16".
std::string dtype_name(at::ScalarType dtype);

/// For a flag that names a feature map: what is wrong with the name; empty: nothing.
std::string unknown_map(const std::string& name);

/// What a linear state is kept in: "fp32", "bf16", "int8".
const std::vector<std::string>& state_dtypes();
at::ScalarType state_dtype(const std::string& name);

/// What info tells of the machine: processor, isa, threads, bf16_is_fast, memory_bytes.
nlohmann::ordered_json machine_fields();

/// A bar on a terminal, plain lines otherwise, both on standard error.
std::unique_ptr<Progress> make_progress();

/// Prints one object on standard output: command, model, seed, seconds, peak_memory_bytes, then `fields`.
void print_json(const std::string& command, const std::string& model, const CommonOptions& options, double seconds,
                nlohmann::json fields);

void add_convert(CLI::App& program);
void add_distill(CLI::App& program);
void add_finetune(CLI::App& program);
void add_eval(CLI::App& program);
void add_inspect(CLI::App& program);
void add_generate(CLI::App& program);
void add_export(CLI::App& program);
void add_info(CLI::App& program);
void add_bench(CLI::App& program);
void add_train(CLI::App& program);

}  // namespace hedgehog::cli
