#include "cli/command.h"

#include "hedgehog/attention/feature_map.h"
#include "hedgehog/base/error.h"
#include "hedgehog/kernels/attention.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/cpu/Utils.h>

#include <sys/resource.h>
#include <cmath>
#include <cstdio>

namespace hedgehog::cli {
namespace {

std::int64_t peak_memory_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return std::int64_t{usage.ru_maxrss} * 1024;
}

/// JSON has no infinity and no NaN; nlohmann writes null for them, which readers take for "not measured". Say which value it
/// was.
void check_finite(const nlohmann::json& value, const std::string& where) {
  if (value.is_number_float()) {
    check(std::isfinite(value.get<double>()), "the result {} is {}; the model's numbers have overflowed", where,
          value.get<double>());
  }
  if (!value.is_structured()) return;
  for (const auto& [key, item] : value.items()) check_finite(item, where + "/" + key);
}

}  // namespace

void add_machine_options(CLI::App& verb, CommonOptions& options) {
  const std::string group = "Common";
  verb.add_option("--device", options.device, "where to compute: cpu (this build has no CUDA)")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str()
      ->group(group);
  verb.add_option("--threads", options.threads, "threads to compute with, 0 for all cores")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str()
      ->group(group);
  verb.add_option("--seed", options.seed, "of all that is random: the same seed and threads give the same result")
      ->capture_default_str()
      ->group(group);
  verb.add_option("--recipe", "a file of 'flag = value' lines, or the name of one such as hybrid; a flag given here wins")
      ->type_name("FILE")
      ->group(group);
}

void add_common_options(CLI::App& verb, CommonOptions& options) {
  const std::string group = "Common";
  add_machine_options(verb, options);
  verb.add_option("--dtype", options.dtype, "fp32, bf16, or auto: bf16 where this machine multiplies it faster")
      ->check(CLI::IsMember({"auto", "fp32", "bf16"}))
      ->capture_default_str()
      ->group(group);
  verb.add_flag("--json", options.json, "print one JSON object on standard output, and nothing else there")->group(group);
}

void apply(const CommonOptions& options) {
  check(options.device == "cpu", "no CUDA device: this build has none; use --device cpu");
  kernels::instruction_set();  // a wrong HEDGEHOG_ISA is told now, not after minutes of other work
  if (options.threads > 0) at::set_num_threads(options.threads);
  at::manual_seed(options.seed);
}

bool bf16_is_fast() {
  // Without these instructions LibTorch multiplies bf16 by a loop a hundred times slower than fp32.
  const auto capabilities = at::cpu::get_cpu_capabilities();
  for (const char* name : {"avx512_bf16", "amx_bf16"}) {
    const auto found = capabilities.find(name);
    if (found != capabilities.end() && found->second.isBool() && found->second.toBool()) return true;
  }
  return false;
}

std::string unknown_map(const std::string& name) {
  try {
    feature_map_named(name);
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

const std::vector<std::string>& state_dtypes() {
  static const std::vector<std::string> names = {"fp32", "bf16", "int8"};
  return names;
}

at::ScalarType state_dtype(const std::string& name) {
  return name == "bf16" ? at::kBFloat16 : name == "int8" ? at::kChar : at::kFloat;
}

at::ScalarType compute_dtype(const CommonOptions& options) {
  if (options.dtype == "bf16" || (options.dtype == "auto" && bf16_is_fast())) return at::kBFloat16;
  return at::kFloat;
}

std::string dtype_name(at::ScalarType dtype) {
  return dtype == at::kFloat ? "fp32" : "bf16";
}

void print_json(const std::string& command, const std::string& model, const CommonOptions& options, double seconds,
                nlohmann::json fields) {
  check_finite(fields, "");
  nlohmann::ordered_json object;
  object["command"] = command;
  object["model"] = model;
  object["seed"] = options.seed;
  object["seconds"] = seconds;
  object["peak_memory_bytes"] = peak_memory_bytes();
  for (const auto& [key, value] : fields.items()) object[key] = value;
  // Bytes that are no UTF-8, as a model may write them, become U+FFFD.
  fmt::print("{}\n", object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  std::fflush(stdout);
}

}  // namespace hedgehog::cli
