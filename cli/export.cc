// hedgehog export MODEL -o DIR: base, LoRA and attention weights in one Hugging Face directory.
#include "cli/command.h"
#include "cli/exported_directory.h"
#include "hedgehog/models/weight_rounding.h"

#include <fmt/format.h>

#include <chrono>
#include <optional>

namespace hedgehog::cli {
namespace {

namespace fs = std::filesystem;

struct ExportOptions {
  CommonOptions common;
  std::string model;
  fs::path output;
  std::string rounded;  // format; empty: as they are
};

std::int64_t bytes_in(const fs::path& folder) {
  std::int64_t bytes = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file()) bytes += static_cast<std::int64_t>(entry.file_size());
  }
  return bytes;
}

void run_export(const ExportOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  apply(options.common);
  check_export_directory(options.output);
  // fp32 unless asked: rounding the merged weights would change the results that the conversion was measured by.
  LoadedModel loaded = load_model(options.model, options.common.dtype == "bf16" ? at::kBFloat16 : at::kFloat);
  std::optional<std::int64_t> weights_bytes;
  if (!options.rounded.empty()) weights_bytes = round_weights(loaded.model, options.rounded);
  write_export(options.output, loaded);
  const std::int64_t bytes = bytes_in(options.output);
  if (!options.common.json) {
    fmt::print("{}: {:.1f} MB\n", options.output.string(), static_cast<double>(bytes) / 1e6);
    if (weights_bytes) {
      fmt::print("its weights in {} would need {:.1f} MB\n", options.rounded, static_cast<double>(*weights_bytes) / 1e6);
    }
    return;
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  nlohmann::json fields = {{"output", options.output.string()}, {"bytes", bytes}};
  if (weights_bytes) fields["rounded_weights_bytes"] = *weights_bytes;
  print_json("export", options.model, options.common, seconds, fields);
}

}  // namespace

void add_export(CLI::App& program) {
  auto options = std::make_shared<ExportOptions>();
  CLI::App* verb = program.add_subcommand("export", "Merge base, LoRA and attention weights into one Hugging Face directory");
  verb->add_option("model", options->model, "an adapter or a checkpoint")->required()->type_name("MODEL");
  verb->add_option("-o,--output", options->output, "the folder to write")->required()->type_name("DIR");
  verb->add_option("--round-weights", options->rounded,
                   "round the matrices to what this format of 8 or 4 bits can hold: q8_0, q4_0; the file keeps them in --dtype")
      ->check(CLI::IsMember(weight_formats()))
      ->type_name("FORMAT");
  add_common_options(*verb, options->common);
  verb->callback([options] { run_export(*options); });
}

}  // namespace hedgehog::cli
