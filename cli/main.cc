// The program: verbs, and what becomes of errors. Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
#include "cli/command.h"
#include "cli/recipe.h"
#include "hedgehog/base/error.h"
#include "hedgehog/base/freed_memory.h"
#include "hedgehog/base/interrupt.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdio>
#include <new>

namespace {

constexpr int kFailed = 1, kWrongUsage = 2, kInterrupted = 130;

/// One line, whatever the text: a script reads the last line of standard error, and names out of a hostile file must not move
/// a terminal's cursor.
int report(int status, std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  std::string line;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool control = byte < 0x20 || byte == 0x7f;
    if (control && c != '\n' && c != '\t') {
      line += fmt::format("\\x{:02x}", byte);
    } else {
      line += control ? ' ' : c;
    }
  }
  std::fflush(stdout);
  fmt::print(stderr, "hedgehog: error: {}\n", line);
  return status;
}

std::string chosen_verb(const CLI::App& program) {
  const auto verbs = program.get_subcommands();
  return verbs.empty() ? "hedgehog" : "hedgehog " + verbs.front()->get_name();
}

/// The name that stands where a verb should and is none, or empty.
std::string unknown_verb(const CLI::App& program, const std::vector<std::string>& arguments) {
  const auto word = std::find_if(arguments.begin(), arguments.end(), [](const std::string& a) { return !a.starts_with('-'); });
  if (word == arguments.end()) return "";
  const auto named = program.get_subcommands([&](const CLI::App* verb) { return verb->check_name(*word); });
  return named.empty() ? *word : "";
}

int parse_and_run(CLI::App& program, const std::vector<std::string>& given) {
  if (const std::string word = unknown_verb(program, given); !word.empty()) {
    return report(kWrongUsage, fmt::format("'{}' is no verb (see 'hedgehog --help')", word));
  }
  std::vector<std::string> arguments;
  try {
    arguments = hedgehog::cli::expand_recipe(program, given);
  } catch (const hedgehog::Error& error) {
    return report(kWrongUsage, error.what());
  }
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
  try {
    program.parse(arguments);
  } catch (const CLI::Success& success) {  // --help, --version
    return program.exit(success);
  } catch (const CLI::ParseError& error) {
    return report(kWrongUsage, fmt::format("{} (see '{} --help')", error.what(), chosen_verb(program)));
  }
  return 0;
}

}  // namespace

int main(int count, char** values) {
  hedgehog::catch_interrupts();
  hedgehog::keep_freed_memory();
  CLI::App program{
      "Turns a trained Transformer's softmax attention into linear attention, says what was lost, and runs the result.",
      "hedgehog"};
  program.set_version_flag("--version", "hedgehog " HEDGEHOG_VERSION);
  program.require_subcommand(1);
  program.get_formatter()->column_width(34);
  hedgehog::cli::add_convert(program);
  hedgehog::cli::add_distill(program);
  hedgehog::cli::add_finetune(program);
  hedgehog::cli::add_train(program);
  hedgehog::cli::add_eval(program);
  hedgehog::cli::add_inspect(program);
  hedgehog::cli::add_generate(program);
  hedgehog::cli::add_export(program);
  hedgehog::cli::add_info(program);
  hedgehog::cli::add_bench(program);
  try {
    const int status = parse_and_run(program, {values + 1, values + count});
    // What was printed may still be on its way: a full disk must not pass for success.
    const bool printed = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
    return printed ? status : report(kFailed, "standard output could not be written: is the disk full?");
  } catch (const hedgehog::Interrupted&) {
    fmt::print(stderr, "hedgehog: interrupted\n");
    return kInterrupted;
  } catch (const c10::Error& error) {
    return report(kFailed, error.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    return report(kFailed, "out of memory; a smaller --batch or --length needs less");
  } catch (const std::exception& error) {
    return report(kFailed, error.what());
  }
}
