#include "hedgehog/data/text_file.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/mapped_file.h"

#include <zstd.h>

#include <algorithm>

namespace hedgehog {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kReadBytes = 64 << 10;

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_word(char c) {
  return is_letter(c) || (c >= '0' && c <= '9');
}

bool is_text(const fs::path& path) {
  const fs::path name = path.extension() == ".zst" ? path.stem() : path.filename();
  return name.extension() == ".txt" || name.extension() == ".jsonl";
}

}  // namespace

struct TextFile::Source {
  explicit Source(const fs::path& path) : file(path) {}
  MappedFile file;
  std::size_t position = 0;  // of the bytes on disk
  std::unique_ptr<ZSTD_DStream, decltype(&ZSTD_freeDStream)> zstd{nullptr, &ZSTD_freeDStream};
  bool inside_frame = false;
};

TextFile::TextFile(const fs::path& path) : source_(std::make_unique<Source>(path)) {
  if (path.extension() == ".zst") {
    source_->zstd.reset(ZSTD_createDStream());
    check(source_->zstd != nullptr, "{}: no memory to unpack it", path.string());
  }
}

TextFile::~TextFile() = default;

bool TextFile::read_more(std::string& text) {
  Source& source = *source_;
  const auto bytes = source.file.bytes();
  if (source.zstd == nullptr) {
    const std::size_t count = std::min(kReadBytes, bytes.size() - source.position);
    text.append(reinterpret_cast<const char*>(bytes.data()) + source.position, count);
    source.position += count;
    return count > 0;
  }
  const std::size_t before = text.size();
  text.resize(before + kReadBytes);
  ZSTD_outBuffer output{text.data() + before, kReadBytes, 0};
  ZSTD_inBuffer input{bytes.data(), bytes.size(), source.position};
  // An ended frame leaves nothing behind; inside one the decoder may hold output even when all input is taken.
  while (output.pos == 0 && (input.pos < input.size || source.inside_frame)) {
    const std::size_t taken = input.pos;
    const std::size_t left = ZSTD_decompressStream(source.zstd.get(), &output, &input);
    check(ZSTD_isError(left) == 0, "{}: damaged zstd data near byte {}: {}", source.file.path().string(), input.pos,
          ZSTD_getErrorName(left));
    source.inside_frame = left != 0;
    check(!source.inside_frame || output.pos > 0 || input.pos > taken, "{}: the zstd data is truncated after byte {}",
          source.file.path().string(), input.size);
  }
  source.position = input.pos;
  text.resize(before + output.pos);
  return output.pos > 0;
}

std::vector<fs::path> text_files(const std::vector<fs::path>& paths) {
  std::vector<fs::path> files;
  for (const fs::path& path : paths) {
    std::error_code problem;
    const fs::file_status status = fs::status(path, problem);
    check(fs::exists(status), "{}: is not there", path.string());
    if (!fs::is_directory(status)) {
      files.push_back(path);
      continue;
    }
    std::vector<fs::path> found;
    for (fs::recursive_directory_iterator entry(path, problem), end; !problem && entry != end; entry.increment(problem)) {
      if (entry->is_regular_file() && is_text(entry->path())) found.push_back(entry->path());
    }
    check(!problem, "{}: cannot be listed: {}", path.string(), problem.message());
    check(!found.empty(), "{}: holds no *.txt, *.jsonl, *.txt.zst or *.jsonl.zst", path.string());
    std::sort(found.begin(), found.end());
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
}

std::optional<fs::path> plain_or_packed(const fs::path& path) {
  fs::path packed = path;
  packed += ".zst";
  for (const fs::path& each : {path, packed}) {
    if (fs::exists(each)) return each;
  }
  return std::nullopt;
}

std::size_t last_cut(const std::string& text, std::size_t at_least, bool at_blanks) {
  for (std::size_t i = text.size(); i-- > std::max<std::size_t>(at_least, 2);) {
    const char before = text[i - 2], middle = text[i - 1], after = text[i];
    if (middle == '\n' && (is_word(before) || before == '.') && is_word(after)) return i;
    if (at_blanks && middle == ' ' && is_letter(before) && is_letter(after)) return i - 1;
  }
  return 0;
}

}  // namespace hedgehog
