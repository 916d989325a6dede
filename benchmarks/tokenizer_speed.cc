// Megabytes a second that one core tokenizes of the tests' mixed text, per tokenizer. Its opponent:
// opponents/tokenizers_speed.py. Usage: hedgehog_benchmark_tokenizer_speed [tokenizer.json | model.gguf] ...   (without
// arguments: the tests' tokenizers and what else is there)
#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/error.h"
#include "hedgehog/checkpoint/checkpoint.h"
#include "hedgehog/tokenizer/tokenizer.h"
#include "tests/tokenizer/fixtures.h"
#include "tests/tokenizer/mixed_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

namespace hedgehog {
namespace {

constexpr std::size_t kChunks = 84;
constexpr int kRepeats = 5;

TokenizerSource read_source(const std::filesystem::path& path) {
  if (path.extension() == ".json") {
    return testing::source_of(nlohmann::json::parse(read_text_file(path)));
  }
  return open_checkpoint(path).tokenizer;
}

std::vector<std::filesystem::path> default_paths() {
  std::vector<std::filesystem::path> paths = {testing::fixtures() / "llama3_like.json",
                                              testing::fixtures() / "qwen2_like.json"};
  const auto gpt2 = testing::data_folder() / "tokenizers/gpt2/tokenizer.json";
  if (std::filesystem::exists(gpt2)) {
    paths.push_back(gpt2);
  }
  if (const auto model = testing::smollm2()) {
    paths.push_back(*model);
  }
  return paths;
}

void measure(const std::filesystem::path& path, const std::vector<std::string>& chunks) {
  const auto tokenizer = make_tokenizer(read_source(path));
  double best = 1e9;
  std::size_t tokens = 0;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    tokens = 0;
    const auto begin = std::chrono::steady_clock::now();
    for (const std::string& chunk : chunks) {
      tokens += tokenizer->encode(chunk).size();
    }
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  const double megabytes = static_cast<double>(chunks.size() * testing::MixedText::kChunkBytes) / 1e6;
  fmt::print("{:<40} {:8.1f} MB/s {:10} tokens\n", path.filename().string(), megabytes / best, tokens);
}

}  // namespace
}  // namespace hedgehog

int main(int count, char** arguments) {
  using namespace hedgehog;
  try {
    testing::MixedText text(testing::fixtures());
    std::vector<std::string> chunks;
    for (std::size_t i = 0; i < kChunks; ++i) {
      chunks.push_back(text.chunk(i));
    }
    std::vector<std::filesystem::path> paths(arguments + 1, arguments + count);
    for (const auto& path : paths.empty() ? default_paths() : paths) {
      measure(path, chunks);
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "tokenizer_speed: %s\n", error.what());
    return 1;
  }
}
