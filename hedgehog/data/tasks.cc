#include "hedgehog/data/tasks.h"

#include "hedgehog/base/error.h"
#include "hedgehog/data/aan.h"
#include "hedgehog/data/associative_recall.h"
#include "hedgehog/data/cifar10.h"
#include "hedgehog/data/glue.h"
#include "hedgehog/data/imdb.h"
#include "hedgehog/data/listops.h"
#include "hedgehog/data/packed_images.h"
#include "hedgehog/data/pathfinder.h"
#include "hedgehog/data/text_augmentation.h"
#include "hedgehog/data/text_file.h"

#include <ATen/ATen.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <iterator>
#include <utility>

namespace hedgehog {
namespace {

constexpr std::int64_t kGlueLength = 128;
// The paper's numbers of examples (arXiv 2402.04347), and Long Range Arena's.
constexpr std::int64_t kRecallTraining = 10'000, kRecallEvaluation = 2'000;
constexpr std::int64_t kListOpsTraining = 96'000, kListOpsEvaluation = 2'000;
constexpr std::int64_t kPathfinderTraining = 160'000, kPathfinderEvaluation = 20'000;
constexpr std::int64_t kTextLength = 4096, kPaperLength = 4000;
// Of CIFAR-10's pixels in gray, divided by 255.
constexpr double kImageMean = 0.48, kImageDeviation = 0.24;
constexpr std::int64_t kPixelIds = 257;  // and the token that a sequence begins with

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

std::int64_t or_else(std::int64_t asked, std::int64_t own) {
  return asked > 0 ? asked : own;
}

Task open_glue(const TaskConfig& config, const Tokenizer* tokenizer) {
  const GlueTask& glue = glue_task(config.name);
  check(tokenizer != nullptr, "{}: needs the model's tokenizer", glue.name);
  Task task;
  task.length = or_else(config.length, kGlueLength);
  task.labels = glue.is_regression() ? 1 : std::ssize(glue.label_names);
  const auto read = [&](const std::string& split) { return read_glue(glue, glue_file(config.data, glue, split)).examples; };
  const auto cut = [](std::vector<TextExample>& texts, std::int64_t most) {
    if (most > 0 && most < std::ssize(texts)) texts.resize(static_cast<std::size_t>(most));
  };
  const auto encode = [&](const std::vector<TextExample>& texts) {
    auto examples = std::make_unique<TokenExamples>(!glue.is_regression(), tokenizer->token_to_id("[PAD]").value_or(0));
    for (const TextExample& text : texts) {
      const Encoding encoding = text.second ? tokenizer->encode_pair(text.text, *text.second, task.length)
                                            : tokenizer->encode_text(text.text, task.length);
      examples->add(encoding.ids, encoding.types, text.label);
    }
    return examples;
  };
  std::vector<TextExample> training = read(glue.splits.front()), evaluation = read(glue.splits.at(1));
  const std::vector<TextExample> made = augmented(training, config.augmented, config.seed);
  cut(training, config.training);
  cut(evaluation, config.evaluation);
  training.insert(training.end(), made.begin(), made.end());
  task.training = encode(training);
  task.evaluation = encode(evaluation);
  return task;
}

void add_rows(TokenExamples& examples, const at::Tensor& tokens, const at::Tensor& labels, std::int64_t first,
              std::int64_t end) {
  const auto ids = tokens.to(at::kInt).contiguous();
  for (std::int64_t i = first; i < end; ++i) {
    const std::span row(ids.const_data_ptr<std::int32_t>() + i * ids.size(1), static_cast<std::size_t>(ids.size(1)));
    examples.add(row, {}, static_cast<double>(labels[i].item<std::int64_t>()));
  }
}

Task make_recall(const TaskConfig& config) {
  RecallConfig recall;
  recall.length = or_else(config.length, recall.length);
  const std::int64_t training = or_else(config.training, kRecallTraining),
                     evaluation = or_else(config.evaluation, kRecallEvaluation);
  const RecallData data = generate_associative_recall(recall, training + evaluation, config.seed);
  Task task;
  task.labels = task.vocabulary = recall.vocabulary;
  task.length = data.tokens.size(1);
  auto train = std::make_unique<TokenExamples>(true, 0), test = std::make_unique<TokenExamples>(true, 0);
  add_rows(*train, data.tokens, data.answers, 0, training);
  add_rows(*test, data.tokens, data.answers, training, training + evaluation);
  task.training = std::move(train);
  task.evaluation = std::move(test);
  return task;
}

Task make_listops(const TaskConfig& config) {
  ListOpsConfig listops;
  if (config.length > 0) {
    listops.shorter_than = config.length;
    listops.longer_than = std::min(listops.longer_than, config.length / 4);
  }
  const std::int64_t training = or_else(config.training, kListOpsTraining),
                     evaluation = or_else(config.evaluation, kListOpsEvaluation);
  auto data = generate_listops(listops, training + evaluation, config.seed);
  Task task;
  task.labels = 10;
  task.vocabulary = kListOpsSymbols + 2;
  task.length = listops.shorter_than + 1;
  const auto border = data.begin() + training;
  const auto examples = [&](auto begin, auto end) {
    return std::make_unique<SequenceExamples>(
        std::vector<ByteSequence>(std::make_move_iterator(begin), std::make_move_iterator(end)), task.length,
        task.vocabulary - 1);
  };
  task.training = examples(data.begin(), border);
  task.evaluation = examples(border, data.end());
  return task;
}

// The file or its *.zst.
std::filesystem::path there(const std::filesystem::path& folder, const std::string& name) {
  const auto found = plain_or_packed(folder / name);
  check(found.has_value(), "{}: neither {} nor {}.zst is there; --data names the folder that has it", folder.string(), name,
        name);
  return *found;
}

// Any of them, not the first: the order of a file says something of its labels.
std::vector<ByteSequence> some_of(std::vector<ByteSequence> sequences, std::int64_t most, std::uint64_t seed) {
  if (most <= 0 || most >= std::ssize(sequences)) return sequences;
  Random random{seed, 0};
  shuffle(sequences, random);
  sequences.resize(static_cast<std::size_t>(most));
  return sequences;
}

Task open_text(const TaskConfig& config) {
  Task task;
  task.labels = 2;
  task.vocabulary = kByteIds + 1;
  const std::int64_t length = or_else(config.length, kTextLength);
  task.length = length + 1;
  const auto read = [&](const char* file, std::int64_t most) {
    return std::make_unique<SequenceExamples>(some_of(read_imdb(there(config.data, file)), most, config.seed), length,
                                              task.vocabulary - 1);
  };
  task.training = read("train.jsonl", config.training);
  task.evaluation = read("test.jsonl", config.evaluation);
  return task;
}

Task open_retrieval(const TaskConfig& config) {
  Task task;
  task.labels = 2;
  task.vocabulary = kByteIds + 1;
  task.pairs = true;
  const std::int64_t length = or_else(config.length, kPaperLength);
  task.length = length + 1;
  const auto read = [&](const char* file, std::int64_t most) {
    PaperPairs pairs = read_aan(there(config.data, file), static_cast<std::size_t>(length));
    // The same seed picks the same ones of both.
    return std::make_unique<PairExamples>(some_of(std::move(pairs.first), most, config.seed),
                                          some_of(std::move(pairs.second), most, config.seed), length, task.vocabulary - 1);
  };
  task.training = read("new_aan_pairs.train.tsv", config.training);
  task.evaluation = read("new_aan_pairs.test.tsv", config.evaluation);
  return task;
}

// Images [first, first + count).
GrayImages part(const GrayImages& images, std::int64_t first, std::int64_t count) {
  const std::int64_t pixels = images.side * images.side;
  GrayImages result;
  result.side = images.side;
  result.pixels.assign(images.pixels.begin() + first * pixels, images.pixels.begin() + (first + count) * pixels);
  result.labels.assign(images.labels.begin() + first, images.labels.begin() + first + count);
  return result;
}

Task open_cifar10(const TaskConfig& config, bool as_images) {
  Task task;
  task.labels = kCifar10Classes;
  task.images = as_images;
  const auto read = [&](const std::string& name, std::int64_t most) -> std::unique_ptr<Examples> {
    GrayImages images = read_cifar10(there(config.data, name));
    if (most > 0 && most < images.count()) images = part(images, 0, most);
    task.length = as_images ? images.side : images.side * images.side + 1;
    if (as_images) return std::make_unique<ImageExamples>(std::move(images), kImageMean, kImageDeviation);
    return std::make_unique<PixelExamples>(std::move(images), kPixelIds - 1);
  };
  task.training = read("train_gray.bin", config.training);
  task.evaluation = read("test_gray.bin", config.evaluation);
  task.vocabulary = kPixelIds;
  return task;
}

Task open_images(const TaskConfig& config) {
  Task task;
  const auto read = [&](const char* file, std::int64_t most) {
    const std::filesystem::path path = config.data / file;
    check(std::filesystem::exists(path), "{}: is not there; scripts/pack_images makes it of a folder of pictures",
          path.string());
    return std::make_unique<PackedImages>(path, most);
  };
  auto training = read("train.safetensors", config.training), evaluation = read("validation.safetensors", config.evaluation);
  task.labels = training->classes();
  task.images = true;
  task.channels = training->channels();
  task.length = training->side();
  check(
      evaluation->classes() == task.labels && evaluation->channels() == task.channels && evaluation->side() == task.length,
      "{}: its train and validation parts should be of the same classes and size, found {} and {} classes, {} × {} and {} × {} "
      "pixels in {} and {} channels",
      config.data.string(), task.labels, evaluation->classes(), task.length, task.length, evaluation->side(),
      evaluation->side(), task.channels, evaluation->channels());
  task.training = std::move(training);
  task.evaluation = std::move(evaluation);
  return task;
}

Task make_pathfinder(const TaskConfig& config) {
  const std::int64_t training = or_else(config.training, kPathfinderTraining),
                     evaluation = or_else(config.evaluation, kPathfinderEvaluation);
  const GrayImages images = generate_pathfinder({}, training + evaluation, config.seed);
  Task task;
  task.labels = 2;
  task.vocabulary = kPixelIds;
  task.length = images.side * images.side + 1;
  task.training = std::make_unique<PixelExamples>(part(images, 0, training), kPixelIds - 1);
  task.evaluation = std::make_unique<PixelExamples>(part(images, training, evaluation), kPixelIds - 1);
  return task;
}

}  // namespace

std::vector<std::string> task_names() {
  std::vector<std::string> names;
  for (const GlueTask& task : glue_tasks()) names.push_back(lower(task.name));
  for (const char* name : {"recall", "listops", "text", "retrieval", "image", "pathfinder", "vision", "images"})
    names.emplace_back(name);
  return names;
}

bool task_needs_tokenizer(const std::string& name) {
  return find_glue_task(name) != nullptr;
}

Task open_task(const TaskConfig& config, const Tokenizer* tokenizer) {
  const std::string name = lower(config.name);
  check(config.augmented == 0 || task_needs_tokenizer(name), "task {}: examples are made of texts, GLUE's tasks have them",
        name);
  const bool generated = name == "recall" || name == "listops" || name == "pathfinder";
  const auto known = task_names();
  check(generated || !config.data.empty() || std::find(known.begin(), known.end(), name) == known.end(),
        "task {}: --data names the folder that has its files", name);
  const auto open = [&]() -> Task {
    if (task_needs_tokenizer(name)) return open_glue(config, tokenizer);
    if (name == "recall") return make_recall(config);
    if (name == "listops") return make_listops(config);
    if (name == "text") return open_text(config);
    if (name == "retrieval") return open_retrieval(config);
    if (name == "image" || name == "vision") return open_cifar10(config, name == "vision");
    if (name == "images") return open_images(config);
    if (name == "pathfinder") return make_pathfinder(config);
    fail("task \"{}\" is not known; there are: {}", config.name, fmt::join(known, ", "));
  };
  Task task = open();
  task.name = name;
  return task;
}

}  // namespace hedgehog
