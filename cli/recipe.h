// Recipes: files of "flag = value" lines (a part of TOML), turned into arguments that stand beside the user's own.
#pragma once

#include <CLI/CLI.hpp>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace hedgehog::cli {

struct RecipeItem {
  std::string key;
  std::vector<std::string> values;  // one, or an array's
  int line = 0;
  bool array = false;
};

/// Reads keys with numbers, true, false, "strings", 'literal strings' and arrays of these (also over several lines), and
/// comments. Throws Error with `origin` and the line for all else, and for a key that is set twice.
std::vector<RecipeItem> parse_recipe(std::string_view text, const std::string& origin);

/// A path as it is; a bare name such as "hybrid" is looked for in $HEDGEHOG_RECIPES, beside the program and in the source tree.
std::filesystem::path find_recipe(const std::string& name);

/// The arguments with those of --recipe added, where the command line does not set them itself. A key that is a flag of another
/// verb only is left out, so that one recipe serves a conversion and its stages. Throws Error with file and line for any other
/// key.
std::vector<std::string> expand_recipe(const CLI::App& program, std::vector<std::string> arguments);

}  // namespace hedgehog::cli
