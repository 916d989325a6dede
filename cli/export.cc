// hedgehog export MODEL -o DIR: base, LoRA and attention weights in one Hugging Face directory.
#include "cli/command.h"
#include "cli/exported_directory.h"

#include <fmt/format.h>

#include <chrono>

namespace hedgehog::cli {
namespace {

namespace fs = std::filesystem;

struct ExportOptions {
  CommonOptions common;
  std::string model;
  fs::path output;
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
  write_export(options.output, loaded);
  const std::int64_t bytes = bytes_in(options.output);
  if (!options.common.json) {
    fmt::print("{}: {:.1f} MB\n", options.output.string(), static_cast<double>(bytes) / 1e6);
    return;
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  print_json("export", options.model, options.common, seconds, {{"output", options.output.string()}, {"bytes", bytes}});
}

}  // namespace

void add_export(CLI::App& program) {
  auto options = std::make_shared<ExportOptions>();
  CLI::App* verb = program.add_subcommand("export", "Merge base, LoRA and attention weights into one Hugging Face directory");
  verb->add_option("model", options->model, "an adapter or a checkpoint")->required()->type_name("MODEL");
  verb->add_option("-o,--output", options->output, "the folder to write")->required()->type_name("DIR");
  add_common_options(*verb, options->common);
  verb->callback([options] { run_export(*options); });
}

}  // namespace hedgehog::cli
