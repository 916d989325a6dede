#include "cli/recipe.h"

#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/error.h"

#include <algorithm>
#include <cstdlib>
#include <optional>

namespace hedgehog::cli {
namespace {

namespace fs = std::filesystem;

class Parser {
 public:
  Parser(std::string_view text, const std::string& origin) : text_(text), origin_(origin) {}

  std::vector<RecipeItem> parse() {
    std::vector<RecipeItem> items;
    for (skip_blank(true); !at_end(); skip_blank(true)) {
      RecipeItem item;
      item.line = line_;
      item.key = bare_word("a flag's name");
      skip_blank(false);
      expect('=');
      skip_blank(false);
      item.array = peek() == '[';
      if (item.array) {
        item.values = array();
      } else {
        item.values = {value()};
      }
      skip_blank(false);
      if (!at_end() && peek() != '\n') bad("the end of the line");
      for (const RecipeItem& other : items) {
        check(other.key != item.key, "{}:{}: '{}' was already set in line {}", origin_, item.line, item.key, other.line);
      }
      items.push_back(std::move(item));
    }
    return items;
  }

 private:
  bool at_end() const { return at_ == text_.size(); }
  char peek() const { return at_end() ? '\0' : text_[at_]; }

  [[noreturn]] void bad(std::string_view expected) const {
    const std::string found = at_end()         ? "the end of the file"
                              : peek() == '\n' ? "the end of the line"
                                               : fmt::format("'{}'", peek());
    fail("{}:{}: expected {}, found {}; a recipe holds lines such as: window = 32", origin_, line_, expected, found);
  }

  void expect(char wanted) {
    if (peek() != wanted || at_end()) bad(fmt::format("'{}'", wanted));
    ++at_;
  }

  /// Blanks and a comment, and line ends if `lines`.
  void skip_blank(bool lines) {
    for (; !at_end(); ++at_) {
      const char c = peek();
      if (c == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size()) - 1;
      } else if (c == '\n' && lines) {
        ++line_;
      } else if (c != ' ' && c != '\t' && c != '\r') {
        return;
      }
    }
  }

  std::string bare_word(std::string_view expected) {
    const std::size_t start = at_;
    const auto is_word = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' ||
             c == '+';
    };
    while (!at_end() && is_word(peek())) ++at_;
    if (at_ == start) bad(expected);
    return std::string(text_.substr(start, at_ - start));
  }

  std::string value() {
    const char quote = peek();
    if (quote != '"' && quote != '\'') return bare_word("a value");
    std::string result;
    for (++at_; peek() != quote; ++at_) {
      if (at_end() || peek() == '\n') bad("a closing quote");
      if (peek() != '\\' || quote == '\'') {
        result += peek();
        continue;
      }
      ++at_;
      switch (peek()) {
        case 'n':
          result += '\n';
          break;
        case 't':
          result += '\t';
          break;
        case '"':
          result += '"';
          break;
        case '\\':
          result += '\\';
          break;
        default:
          bad("one of \\n \\t \\\" \\\\");
      }
    }
    ++at_;
    return result;
  }

  std::vector<std::string> array() {
    std::vector<std::string> values;
    expect('[');
    for (skip_blank(true); peek() != ']'; skip_blank(true)) {
      if (!values.empty()) {
        expect(',');
        skip_blank(true);
        if (peek() == ']') break;
      }
      values.push_back(value());
    }
    expect(']');
    return values;
  }

  std::string_view text_;
  const std::string& origin_;
  std::size_t at_ = 0;
  int line_ = 1;
};

/// Whether `argument` is `option` as a user writes it: --name, --name=value, -n, -nvalue.
bool is_option(const std::string& argument, const CLI::Option& option) {
  if (argument.size() < 2 || argument[0] != '-') return false;
  if (argument[1] != '-') return option.check_sname(argument.substr(1, 1));
  return option.check_lname(argument.substr(2, argument.find('=') - 2));
}

const CLI::Option* find_option(const CLI::App& verb, const std::string& key) {
  const CLI::Option* option = verb.get_option_no_throw("--" + key);
  return key == "recipe" || key == "help" ? nullptr : option;
}

std::optional<std::string> recipe_argument(const std::vector<std::string>& arguments) {
  for (std::size_t i = 0; i < arguments.size() && arguments[i] != "--"; ++i) {
    if (arguments[i].starts_with("--recipe=")) return arguments[i].substr(9);
    if (arguments[i] == "--recipe" && i + 1 < arguments.size()) return arguments[i + 1];
  }
  return std::nullopt;
}

void append(std::vector<std::string>& arguments, const RecipeItem& item, const std::string& value) {
  if (value.empty()) {  // CLI11 takes "--key=" for a key whose value follows
    arguments.push_back("--" + item.key);
    arguments.push_back(value);
  } else {
    arguments.push_back("--" + item.key + "=" + value);
  }
}

}  // namespace

std::vector<RecipeItem> parse_recipe(std::string_view text, const std::string& origin) {
  return Parser(text, origin).parse();
}

fs::path find_recipe(const std::string& name) {
  if (fs::path(name).has_parent_path() || name.ends_with(".toml")) return name;
  std::vector<fs::path> folders;
  if (const char* folder = std::getenv("HEDGEHOG_RECIPES")) folders.emplace_back(folder);
  std::error_code ignored;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
  if (!program.empty()) {
    const fs::path folder = program.parent_path();
    folders.insert(folders.end(), {folder / "../recipes", folder / "../share/hedgehog/recipes", folder / "../../recipes"});
  }
  folders.emplace_back(fs::path(HEDGEHOG_SOURCE_DIR) / "recipes");
  std::string tried;
  for (const fs::path& folder : folders) {
    const fs::path path = (folder / (name + ".toml")).lexically_normal();
    if (fs::is_regular_file(path, ignored)) return path;
    tried += (tried.empty() ? "" : ", ") + path.string();
  }
  fail("no recipe '{}': tried {}; give a path, or set HEDGEHOG_RECIPES to a folder of recipes", name, tried);
}

std::vector<std::string> expand_recipe(const CLI::App& program, std::vector<std::string> arguments) {
  const auto verb_at =
      std::find_if(arguments.begin(), arguments.end(), [](const std::string& a) { return !a.starts_with('-'); });
  const auto name = recipe_argument(arguments);
  if (verb_at == arguments.end() || !name) return arguments;
  const auto named = program.get_subcommands([&](const CLI::App* verb) { return verb->check_name(*verb_at); });
  if (named.empty()) return arguments;
  const CLI::App* verb = named.front();

  const fs::path path = find_recipe(*name);
  std::vector<std::string> added;
  const auto separator = std::find(arguments.begin(), arguments.end(), "--");
  for (const RecipeItem& item : parse_recipe(read_text_file(path, 1 << 20), path.string())) {
    const CLI::Option* option = find_option(*verb, item.key);
    if (option == nullptr) {
      const auto verbs =
          program.get_subcommands([&](const CLI::App* other) { return find_option(*other, item.key) != nullptr; });
      check(!verbs.empty(), "{}:{}: '{}' is no flag of 'hedgehog {}'; see 'hedgehog {} --help'", path.string(), item.line,
            item.key, verb->get_name(), verb->get_name());
      continue;
    }
    if (std::any_of(arguments.begin(), separator, [&](const std::string& a) { return is_option(a, *option); })) continue;
    const bool many =
        option->get_items_expected_max() > 1 || option->get_multi_option_policy() == CLI::MultiOptionPolicy::TakeAll;
    check(!item.array || many, "{}:{}: '{}' takes one value, found an array", path.string(), item.line, item.key);
    for (const std::string& value : item.values) append(added, item, value);
  }
  // Last, so that an option of many values cannot swallow a positional argument of the user's.
  arguments.insert(separator, added.begin(), added.end());
  return arguments;
}

}  // namespace hedgehog::cli
