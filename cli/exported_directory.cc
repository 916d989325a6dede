#include "cli/exported_directory.h"

#include "hedgehog/base/error.h"
#include "hedgehog/tokenizer/tokenizer.h"

#include <unistd.h>

namespace hedgehog::cli {
namespace {

namespace fs = std::filesystem;

/// A folder that is deleted with its owner.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(fs::path path) : path_(std::move(path)) {
    std::error_code error;
    fs::create_directories(path_, error);
    check(!error, "{}: cannot make the folder: {}", path_.string(), error.message());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

}  // namespace

void check_export_directory(const fs::path& folder) {
  std::error_code error;
  if (!fs::exists(folder, error)) return;
  check(fs::is_directory(folder, error), "{}: is no folder; give a new one", folder.string());
  if (fs::is_empty(folder, error)) return;
  bool ours = false;
  if (fs::exists(folder / "config.json", error) && !fs::exists(folder / "hedgehog.json", error)) {
    ours = open_checkpoint(folder).config.contains("hedgehog");
  }
  check(ours, "{}: holds files that are no export; give an empty or new folder", folder.string());
}

void write_export(const fs::path& folder, LoadedModel& loaded) {
  check_export_directory(folder);
  std::error_code error;
  check(!fs::equivalent(folder, loaded.checkpoint.path, error),
        "{}: the base model is there, and it is never written to; choose another directory", folder.string());
  make_tokenizer(loaded.checkpoint.tokenizer);  // throws for one that is not known
  fs::path beside = folder.filename().empty() ? folder.parent_path() : folder;
  beside += fmt::format(".partial-{}", ::getpid());
  const TemporaryFolder temporary(beside);
  export_model(temporary.path(), loaded);
  write_tokenizer(loaded.checkpoint.tokenizer, temporary.path());
  fs::create_directories(folder, error);
  check(!error, "{}: cannot make the folder: {}", folder.string(), error.message());
  // Without config.json it is no model, so that a stop half way leaves none rather than a mixture of two.
  fs::remove(folder / "config.json", error);
  const auto move = [&](const fs::path& name) {
    fs::rename(temporary.path() / name, folder / name, error);
    check(!error, "{}: cannot be moved to {}: {}", (temporary.path() / name).string(), folder.string(), error.message());
  };
  for (const fs::directory_entry& entry : fs::directory_iterator(temporary.path())) {
    if (entry.path().filename() != "config.json") move(entry.path().filename());
  }
  move("config.json");
}

}  // namespace hedgehog::cli
