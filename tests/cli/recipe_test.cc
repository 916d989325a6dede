#include "cli/recipe.h"

#include "hedgehog/base/error.h"
#include "tests/cli/program.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace hedgehog::cli {
namespace {

using testing::Outcome;
using testing::run_program;
using testing::TemporaryFolder;

std::string error_of(std::string_view text) {
  try {
    parse_recipe(text, "r.toml");
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(ParseRecipe, ReadsNumbersBooleansStringsAndArrays) {
  const auto items = parse_recipe(
      "# a comment\n"
      "window = 32   # keys\n"
      "\n"
      "gate=true\r\n"
      "lr = -1.5e-3\n"
      "data = \"a # b.txt\"\n"
      "stop = 'C:\\n'\n"
      "note = \"x\\n\\\"y\\\"\"\n"
      "targets = [\"q\", 'k',\n  v, # more\n  o,\n]\n"
      "none = []",
      "r.toml");
  ASSERT_EQ(items.size(), 8u);
  EXPECT_EQ(items[0].key, "window");
  EXPECT_EQ(items[0].values, std::vector<std::string>{"32"});
  EXPECT_EQ(items[0].line, 2);
  EXPECT_FALSE(items[0].array);
  EXPECT_EQ(items[1].values[0], "true");
  EXPECT_EQ(items[1].line, 4);
  EXPECT_EQ(items[2].values[0], "-1.5e-3");
  EXPECT_EQ(items[3].values[0], "a # b.txt");
  EXPECT_EQ(items[4].values[0], "C:\\n");
  EXPECT_EQ(items[5].values[0], "x\n\"y\"");
  EXPECT_EQ(items[6].values, (std::vector<std::string>{"q", "k", "v", "o"}));
  EXPECT_TRUE(items[6].array);
  EXPECT_EQ(items[7].line, 13);
  EXPECT_TRUE(items[7].values.empty());
}

TEST(ParseRecipe, SaysWhereItWentWrong) {
  EXPECT_NE(error_of("a = 1\nb 2\n").find("r.toml:2: expected '='"), std::string::npos) << error_of("a = 1\nb 2\n");
  EXPECT_NE(error_of("a =\nb = 2\n").find("r.toml:1: expected a value"), std::string::npos);
  EXPECT_NE(error_of("a = 1 2\n").find("r.toml:1: expected the end of the line"), std::string::npos);
  EXPECT_NE(error_of("a = \"x\n").find("closing quote"), std::string::npos);
  EXPECT_NE(error_of("a = \"x").find("closing quote"), std::string::npos);
  EXPECT_NE(error_of("a = \"\\q\"").find("\\n"), std::string::npos);
  EXPECT_NE(error_of("a = [1, 2").find("','"), std::string::npos) << error_of("a = [1, 2");
  EXPECT_NE(error_of("[section]\n").find("r.toml:1"), std::string::npos);
  EXPECT_NE(error_of("a = 1\n\na = 2").find("r.toml:3: 'a' was already set in line 1"), std::string::npos);
  EXPECT_NE(error_of("a =").find("end of the file"), std::string::npos);
  EXPECT_NE(error_of("a = [").find("r.toml:1"), std::string::npos);
  EXPECT_NE(error_of("#").find("no error"), std::string::npos);
}

class ExpandRecipe : public ::testing::Test {
 protected:
  ExpandRecipe() {
    program_.require_subcommand(1);
    CLI::App* verb = program_.add_subcommand("go");
    verb->add_option("model", model_)->required();
    verb->add_option("--data", data_);
    verb->add_option("-w,--window", window_);
    verb->add_option("--targets", targets_)->delimiter(',');
    verb->add_option("--text", text_);
    verb->add_flag("--gate,!--no-gate", gate_);
    verb->add_option("--recipe");
    program_.add_subcommand("stay")->add_option("--other", other_);
  }

  void parse(const std::string& recipe, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin() + 1, {"--recipe", folder_.write("r.toml", recipe)});  // after the verb
    std::vector<std::string> expanded = expand_recipe(program_, arguments);
    std::reverse(expanded.begin(), expanded.end());
    program_.parse(expanded);
  }

  TemporaryFolder folder_;
  CLI::App program_;
  std::string model_, text_ = "unset", other_;
  std::vector<std::string> data_, targets_;
  int window_ = 0;
  bool gate_ = false;
};

TEST_F(ExpandRecipe, SetsWhatTheCommandLineDoesNot) {
  parse("window = 32\ndata = [\"a\", \"b\"]\ntargets = [\"q\", \"v\"]\ngate = true\ntext = \"\"\n", {"go", "m"});
  EXPECT_EQ(model_, "m");
  EXPECT_EQ(window_, 32);
  EXPECT_EQ(data_, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(targets_, (std::vector<std::string>{"q", "v"}));
  EXPECT_TRUE(gate_);
  EXPECT_EQ(text_, "");
}

TEST_F(ExpandRecipe, AFlagWins) {
  parse("window = 32\ndata = [\"a\", \"b\"]\ngate = true\ntext = 'x'",
        {"go", "--no-gate", "-w7", "--data=c", "--text", "y", "--", "m"});
  EXPECT_EQ(model_, "m");
  EXPECT_EQ(window_, 7);
  EXPECT_EQ(data_, std::vector<std::string>{"c"});
  EXPECT_FALSE(gate_);
  EXPECT_EQ(text_, "y");
}

TEST_F(ExpandRecipe, FalseTurnsOff) {
  gate_ = true;
  parse("gate = false", {"go", "m"});
  EXPECT_FALSE(gate_);
}

TEST_F(ExpandRecipe, AnotherVerbsFlagIsLeftOutAndAnUnknownOneIsAnError) {
  parse("other = 1\nwindow = 2", {"go", "m"});
  EXPECT_EQ(window_, 2);
  EXPECT_EQ(other_, "");
  try {
    parse("window = 2\nwidnow = 1", {"go", "m"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("r.toml:2: 'widnow'"), std::string::npos) << error.what();
  }
  EXPECT_THROW(parse("recipe = 'other.toml'", {"go", "m"}), Error);
  EXPECT_THROW(parse("window = [1, 2]", {"go", "m"}), Error);
}

TEST(Recipe, ReachesTheProgram) {
  const TemporaryFolder folder;
  const std::string recipe = folder.write("mine.toml", "seed = 7\nthreads = 1\n");
  const auto json = [](const Outcome& outcome) {
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return nlohmann::json::parse(outcome.out);
  };
  EXPECT_EQ(json(run_program({"info", "--json", "--recipe", recipe}))["seed"], 7);
  EXPECT_EQ(json(run_program({"info", "--json", "--recipe=" + recipe, "--seed", "3"}))["seed"], 3);
  const std::string place = "HEDGEHOG_RECIPES=" + std::filesystem::path(recipe).parent_path().string();
  EXPECT_EQ(json(run_program({"info", "--json", "--recipe", "mine"}, {place}))["seed"], 7);

  const Outcome unknown = run_program({"info", "--recipe", folder.write("bad.toml", "\nsede = 1\n")});
  EXPECT_EQ(unknown.status, 2);
  EXPECT_NE(unknown.err.find("bad.toml:2: 'sede'"), std::string::npos) << unknown.err;
  const Outcome absent = run_program({"info", "--recipe", "nonesuch"});
  EXPECT_EQ(absent.status, 2);
  EXPECT_NE(absent.err.find("nonesuch"), std::string::npos);
  const Outcome senseless = run_program({"info", "--recipe", folder.write("text.toml", "seed = \"abc\"")});
  EXPECT_EQ(senseless.status, 2) << senseless.err;
}

TEST(Recipe, ThoseOfTheRepositoryAreFoundByNameAndHoldNoUnknownFlag) {
  const std::vector<std::pair<const char*, const char*>> recipes = {
      {"convert", "paper"}, {"convert", "gated"}, {"convert", "hybrid"}, {"train", "encoder"}, {"train", "text_encoder"}};
  for (const auto& [verb, name] : recipes) {
    const Outcome outcome = run_program({verb, "--help", "--recipe", name});
    EXPECT_EQ(outcome.status, 0) << name << ": " << outcome.err;
  }
}

}  // namespace
}  // namespace hedgehog::cli
