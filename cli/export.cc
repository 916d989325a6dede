// hedgehog export MODEL -o DIR: base, LoRA and attention weights in one Hugging Face directory.
#include "cli/command.h"
#include "hedgehog/base/error.h"
#include "hedgehog/models/adapter.h"
#include "hedgehog/tokenizer/tokenizer.h"

#include <chrono>

namespace hedgehog::cli {
namespace {

namespace fs = std::filesystem;

struct ExportOptions {
  CommonOptions common;
  std::string model;
  fs::path output;
};

/// The base checkpoint is never written to: the folder must be new, empty, or an export of before.
void prepare(const fs::path& folder) {
  std::error_code error;
  if (fs::exists(folder, error)) {
    check(fs::is_directory(folder, error), "{}: is no folder; give a new one with -o", folder.string());
    if (fs::is_empty(folder, error)) return;
    bool ours = false;
    if (fs::exists(folder / "config.json", error) && !fs::exists(folder / "hedgehog.json", error)) {
      ours = open_checkpoint(folder).config.contains("hedgehog");
    }
    check(ours, "{}: holds files that are no export; give an empty or new folder with -o", folder.string());
  }
  fs::create_directories(folder, error);
  check(!error, "{}: cannot make the folder: {}", folder.string(), error.message());
}

std::int64_t bytes_in(const fs::path& folder) {
  std::int64_t bytes = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file()) bytes += static_cast<std::int64_t>(entry.file_size());
  }
  return bytes;
}

void run(const ExportOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  apply(options.common);
  // fp32 unless asked: rounding the merged weights would change the results that the conversion was measured by.
  LoadedModel loaded = load_model(options.model, options.common.dtype == "bf16" ? at::kBFloat16 : at::kFloat);
  prepare(options.output);
  export_model(options.output, loaded);
  write_tokenizer(loaded.checkpoint.tokenizer, options.output);
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
  verb->callback([options] { run(*options); });
}

}  // namespace hedgehog::cli
