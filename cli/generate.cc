// hedgehog generate MODEL: a continuation of a prompt, by the recurrent form, streamed to standard output.
#include "cli/command.h"
#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/error.h"
#include "hedgehog/base/interrupt.h"
#include "hedgehog/inference/engine.h"
#include "hedgehog/models/adapter.h"
#include "hedgehog/tokenizer/chat_template.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>

namespace hedgehog::cli {
namespace {

struct GenerateOptions {
  CommonOptions common;
  std::string model, prompt, prompt_file, system, state = "fp32";
  std::int64_t prompt_tokens = 0;
  bool chat = false;
  GenerationRequest request;
};

// --prompt, --prompt-file, or standard input.
std::string read_prompt_text(const GenerateOptions& options, const CLI::App& verb) {
  if (verb.count("--prompt") > 0) {
    return options.prompt;
  }
  if (!options.prompt_file.empty() && options.prompt_file != "-") {
    return read_text_file(options.prompt_file);
  }
  if (options.prompt_file.empty() && ::isatty(STDIN_FILENO) != 0) {
    fmt::print(stderr, "Type the prompt, then Ctrl-D.\n");
  }
  return {std::istreambuf_iterator<char>(std::cin), {}};
}

std::vector<std::int32_t> prompt_tokens(const GenerateOptions& options, const Checkpoint& checkpoint,
                                        const Tokenizer& tokenizer, const std::string& text) {
  if (!options.chat) {
    return tokenizer.encode(text, /*add_special=*/true);
  }
  const TokenizerSource& source = checkpoint.tokenizer;
  check(!source.chat_template.empty(), "{}: has no chat template; leave out --chat", checkpoint.path.string());
  std::vector<ChatMessage> messages;
  if (!options.system.empty()) {
    messages.push_back({"system", options.system});
  }
  messages.push_back({"user", text});
  return tokenizer.encode(render_chat_template(source.chat_template, messages, /*add_generation_prompt=*/true,
                                               tokenizer.begin_text(), tokenizer.end_text()));
}

// Resident memory now, unlike the peak that loading decides.
std::int64_t resident_memory_bytes() {
  std::ifstream file("/proc/self/statm");
  std::int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

void print_statistics(const GenerationResult& result) {
  fmt::print(stderr, "prompt: {} tokens, {:.1f}/s; text: {} tokens, {:.1f}/s; state: {:.2f} MiB; ended by {}\n",
             result.prompt_tokens, result.prompt_tokens_per_second(), result.tokens, result.tokens_per_second(),
             static_cast<double>(result.state_bytes) / (1 << 20), result.stop_reason);
}

void run_generate(GenerateOptions& options, const CLI::App& verb) {
  const auto start = std::chrono::steady_clock::now();
  apply(options.common);
  const std::string text = read_prompt_text(options, verb);
  const LoadedModel loaded = load_model(options.model, compute_dtype(options.common));
  const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(loaded.checkpoint.tokenizer);
  GenerationRequest& request = options.request;
  request.sampler.seed = options.common.seed;
  request.state_dtype = state_dtype(options.state);
  request.prompt = prompt_tokens(options, loaded.checkpoint, *tokenizer, text);
  if (options.prompt_tokens > 0) {
    check(std::ssize(request.prompt) >= options.prompt_tokens, "--prompt-tokens: {} asked for, the prompt has {}",
          options.prompt_tokens, request.prompt.size());
    request.prompt.resize(static_cast<std::size_t>(options.prompt_tokens));
  }
  const GenerationResult result = generate(loaded.model, *tokenizer, request, [&](std::string_view piece) {
    if (!options.common.json) {
      std::fwrite(piece.data(), 1, piece.size(), stdout);
      std::fflush(stdout);
    }
  });
  if (options.common.json) {
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    print_json("generate", options.model, options.common, seconds,
               {{"text", result.text},
                {"prompt_tokens", result.prompt_tokens},
                {"tokens", result.tokens},
                {"tokens_per_second", result.tokens_per_second()},
                {"prompt_tokens_per_second", result.prompt_tokens_per_second()},
                {"state_bytes", result.state_bytes},
                {"resident_memory_bytes", resident_memory_bytes()},
                {"stop_reason", result.stop_reason}});
  } else {
    if (!result.text.ends_with('\n')) {
      fmt::print("\n");
      std::fflush(stdout);
    }
    print_statistics(result);
  }
  if (result.stop_reason == "interrupt") {
    throw Interrupted{};
  }
}

}  // namespace

void add_generate(CLI::App& program) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* verb = program.add_subcommand("generate", "Continue a prompt, in memory that does not grow with its length");
  GenerationRequest& request = options->request;
  SamplerConfig& sampler = request.sampler;
  verb->add_option("model", options->model, "a checkpoint, an adapter or an exported directory")
      ->required()
      ->type_name("MODEL");
  CLI::Option* prompt = verb->add_option("--prompt", options->prompt, "the text to continue")->type_name("TEXT");
  verb->add_option("--prompt-file", options->prompt_file, "a file that holds it; without either, standard input is read")
      ->type_name("FILE")
      ->excludes(prompt);
  verb->add_option("--prompt-tokens", options->prompt_tokens, "cut the prompt to its first N tokens, 0 for all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  CLI::Option* chat =
      verb->add_flag("--chat", options->chat, "the prompt is a user's message: apply the model's chat template");
  verb->add_option("--system", options->system, "the system's message before it")->type_name("TEXT")->needs(chat);
  verb->add_option("--state", options->state,
                   "what the linear states are kept in: bf16 takes half of fp32's memory, int8 a bit more than a quarter")
      ->check(CLI::IsMember(state_dtypes()))
      ->capture_default_str();
  verb->add_option("--max-tokens", request.max_tokens, "the longest continuation")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb->add_option("--temperature", sampler.temperature, "0 takes the likeliest token always")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb->add_option("--top-k", sampler.top_k, "choose among the K likeliest tokens, 0 for all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb->add_option("--top-p", sampler.top_p, "choose among the likeliest tokens that have this probability together")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  verb->add_option("--min-p", sampler.min_p, "leave out tokens less likely than this part of the likeliest")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  verb->add_option("--repetition-penalty", sampler.repetition_penalty, "above 1: tokens that were there become less likely")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->add_option("--stop", request.stop, "end before this text; may be given again")
      ->type_name("TEXT")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  verb->add_flag("--ignore-end", request.ignore_end, "go on past the model's end of text");
  add_common_options(*verb, options->common);
  verb->callback([options, verb] { run_generate(*options, *verb); });
}

}  // namespace hedgehog::cli
