// What inspect -o and convert leave: a page, Markdown and JSON of the same figures; the page used in a browser.
#include "hedgehog/base/atomic_file.h"
#include "tests/cli/program.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdlib>

namespace hedgehog::testing {
namespace {

using nlohmann::json;

constexpr int kNoBrowser = 77;  // check_page.py's exit status

void expect_success(const Outcome& outcome) {
  ASSERT_EQ(outcome.status, 0) << outcome.err;
}

/// The data that a page carries.
json data_of(const std::string& page) {
  const std::string text = read_text_file(page), opening = "<script id=\"report\" type=\"application/json\">";
  const std::size_t begin = text.find(opening) + opening.size();
  return json::parse(text.substr(begin, text.find("</script>", begin) - begin));
}

std::vector<std::string> names(const json& report) {
  std::vector<std::string> result;
  for (const json& model : report["models"]) result.push_back(model["name"]);
  return result;
}

/// Skips where there is no browser.
void use_in_browser(const std::string& page, const TemporaryFolder& folder) {
  const std::string words = folder / "browser.txt";
  const std::string command = "python3 '" HEDGEHOG_SOURCE_DIR "/tests/cli/check_page.py' '" + page + "' >'" + words + "' 2>&1";
  const int status = std::system(command.c_str());
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNoBrowser)
    GTEST_SKIP() << "the page in a browser: " << read_text_file(words);
  EXPECT_EQ(status, 0) << read_text_file(words);
}

class Report : public ::testing::Test {
 protected:
  Report() : model_(folder_ / "model"), text_(folder_.write("text.txt", "</script>" + simple_text(1000))) {
    write_tiny_model(model_);
  }

  void convert(const std::string& output, const std::string& map) {
    expect_success(run_program({"convert",
                                model_,
                                "--data",
                                text_,
                                "-o",
                                output,
                                "--attention",
                                "linear",
                                "--map",
                                map,
                                "--distill-tokens",
                                "1024",
                                "--distill-length",
                                "32",
                                "--distill-batch",
                                "2",
                                "--finetune-tokens",
                                "1024",
                                "--finetune-length",
                                "32",
                                "--eval-window",
                                "64",
                                "--eval-tokens",
                                "512",
                                "--contexts",
                                "16,32",
                                "--threads",
                                "1"}));
  }

  TemporaryFolder folder_;
  std::string model_, text_;
};

TEST_F(Report, OfAConversionComparesItsStages) {
  const std::string output = folder_ / "converted";
  convert(output, "hedgehog-softmax");
  const json page = data_of(output + "/report.html"), report = json::parse(read_text_file(output + "/report.json"));
  EXPECT_EQ(names(page), (std::vector<std::string>{"softmax", "before training", "after distillation 1", "converted"}));
  const json& converted = page["models"][3];
  EXPECT_EQ(converted["heads"].size(), 8u);
  EXPECT_EQ(converted["maps"]["heads"].size(), 8u);
  EXPECT_EQ(converted["contexts"].size(), 2u);
  EXPECT_NEAR(converted["scores"]["perplexity"].get<double>() / report["metrics"]["perplexity"].get<double>(), 1, 1e-3);
  EXPECT_EQ(converted["samples"][0]["prompt"], page["models"][0]["samples"][0]["prompt"]);
  EXPECT_TRUE(page["models"][0]["heads"].empty());
  ASSERT_EQ(report["stages"].size(), 3u);
  EXPECT_LT(report["stages"][1]["means"]["kl"], report["stages"][0]["means"]["kl"].get<double>());
  for (const json& stage : report["training"]) EXPECT_FALSE(stage.contains("measured"));
  use_in_browser(output + "/report.html", folder_);
}

TEST_F(Report, OfSeveralModelsComparesThem) {
  // A name that does not fit into a narrow window.
  const std::string hedgehog = folder_ / "converted_with_hedgehogs_map_on_a_text_of_three_hundred_bytes_and_a_little_more";
  const std::string t2r = folder_ / "t2r", output = folder_ / "report";
  convert(hedgehog, "hedgehog-softmax");
  convert(t2r, "t2r");
  const Outcome outcome = run_program(
      {"inspect",      model_, hedgehog,   t2r,         "--data",   text_, "--sequences",     "2", "--length",   "48",
       "-o",           output, "--prompt", "the ",      "--prompt", "a ",  "--sample-tokens", "8", "--contexts", "16",
       "--map-tokens", "12",   "--json",   "--threads", "1"});
  expect_success(outcome);
  const json printed = json::parse(outcome.out), report = json::parse(read_text_file(output + "/report.json"));
  EXPECT_EQ(names(report), (std::vector<std::string>{model_, hedgehog, t2r}));
  ASSERT_EQ(printed["models"].size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    const json& model = report["models"][i];
    EXPECT_EQ(model["heads"], printed["models"][i]["heads"]);
    EXPECT_EQ(model["samples"].size(), 2u);
    EXPECT_EQ(model["contexts"].size(), 1u);
    EXPECT_EQ(model["maps"]["labels"].size(), 12u);
  }
  EXPECT_EQ(report["models"][0]["means"]["kl"], 0.0);
  EXPECT_NE(report["models"][1]["means"]["kl"], report["models"][2]["means"]["kl"]);
  EXPECT_EQ(report["models"][0]["maps"]["labels"][0], "<");
  const std::string markdown = read_text_file(output + "/report.md");
  for (const std::string& name : names(report)) EXPECT_NE(markdown.find("## " + name), std::string::npos) << name;
  use_in_browser(output + "/report.html", folder_);
}

TEST_F(Report, OfAClassifierShowsAnExample) {
  const std::string config = folder_.write(
      "config.json", R"({"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 4, "activation_function": "gelu_new"})");
  const std::string output = folder_ / "classifier", report = folder_ / "report";
  expect_success(run_program({"train", config, "--task", "recall", "--examples", "64", "--eval-examples", "16", "--batch", "16",
                              "--epochs", "1", "--attention", "linear", "-o", output, "--threads", "1"}));
  expect_success(run_program({"inspect", output, "-o", report, "--threads", "1"}));
  const json data = data_of(report + "/report.html");
  EXPECT_GT(data["models"][0]["maps"]["labels"].size(), 4u);
  EXPECT_FALSE(data["models"][0].contains("contexts"));
  use_in_browser(report + "/report.html", folder_);
}

TEST_F(Report, LayersThatAreKeptFitTheMemoryThatWasNamed) {
  const std::string output = folder_ / "kept", all = folder_ / "all";
  const std::vector<std::string> convert = {
      "convert",          model_, "--data",          text_, "--attention",       "linear", "--distill-tokens",  "1024",
      "--distill-length", "32",   "--distill-batch", "2",   "--finetune-tokens", "512",    "--finetune-length", "32",
      "--eval-tokens",    "512",  "--eval-window",   "64",  "--contexts",        "16",     "--threads",         "1"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), convert.begin(), convert.end());
    return run_program(more);
  };
  // One layer of softmax takes 131 kB at 1,024 tokens, a linear one 5 kB.
  expect_success(with({"--keep-softmax", "auto", "--memory", "150kB@1k", "-o", output}));
  const json description = json::parse(read_text_file(output + "/hedgehog.json"));
  const json changes = description["kept_layers"]["changes"];
  ASSERT_GE(changes.size(), 1u);
  EXPECT_LE(changes.back()["bytes"], 150'000);
  // The layers of a model of two, by their attention; the first linear one is the common one.
  const auto attention_of = [&](std::int64_t layer) {
    const std::string key = std::to_string(layer);
    return description["layer_attention"].contains(key) ? description["layer_attention"][key] : description["attention"];
  };
  std::vector<std::size_t> heads(2);
  for (const json& change : changes) {
    const std::string what = change["what"];  // a layer, or layer.head
    heads[static_cast<std::size_t>(what[0] - '0')] += what.size() == 1 ? 2 : 1;
  }
  for (std::int64_t layer = 0; layer < 2; ++layer) {
    const json attention = attention_of(layer);
    EXPECT_EQ(attention["kind"], heads[static_cast<std::size_t>(layer)] == 2 ? "softmax" : "linear") << layer;
    EXPECT_EQ(attention.contains("softmax_heads"), heads[static_cast<std::size_t>(layer)] == 1) << layer;
  }
  EXPECT_EQ(data_of(output + "/report.html")["models"].back()["kept_layers"]["uniform"].size(), 2u);
  EXPECT_NE(read_text_file(output + "/report.md").find(fmt::format("| + {} |", changes[0]["what"].get<std::string>())),
            std::string::npos);

  // eval puts a layer back for the time of a measurement.
  expect_success(with({"--finetune", "none", "-o", all}));
  const std::vector<std::string> eval = {"eval", all,      "--data",    text_, "--eval-window", "64", "--limit-tokens",
                                         "512",  "--json", "--threads", "1"};
  auto kept = eval;
  for (const char* everything : {"0,1", "0.0,0.1,1"}) {
    auto all_kept = eval;
    all_kept.insert(all_kept.end(), {"--keep-softmax", everything});
    EXPECT_NEAR(json::parse(run_program(all_kept).out)["kl_to_softmax"].get<double>(), 0, 1e-6);
  }
  kept.insert(kept.end(), {"--keep-softmax", "1,0.1"});
  const double by_hand = json::parse(run_program(kept).out)["kl_to_softmax"];
  EXPECT_GT(by_hand, 1e-5);
  EXPECT_LT(by_hand, json::parse(run_program(eval).out)["kl_to_softmax"].get<double>());
  EXPECT_GT(json::parse(run_program(eval).out)["kl_to_softmax"], 1e-4);

  const std::string head = folder_ / "head";
  expect_success(with({"--finetune", "none", "--keep-softmax", "1.1", "-o", head}));
  EXPECT_NE(run_program({"info", head}).out.find("key/value heads 1 softmax"), std::string::npos);
  const Outcome written = run_program({"generate", head, "--prompt", "the ", "--max-tokens", "8", "--threads", "1"});
  expect_success(written);

  EXPECT_NE(with({"--keep-softmax", "auto:1kB@1k", "-o", folder_ / "small"}).err.find("keeps"), std::string::npos);
  const Outcome wrong = with({"--keep-softmax", "some", "-o", folder_ / "wrong"});
  EXPECT_EQ(wrong.status, 2);
  EXPECT_NE(wrong.err.find("'some'"), std::string::npos) << wrong.err;
  EXPECT_EQ(with({"--memory", "1MB@1k", "-o", folder_ / "wrong"}).status, 2);
}

TEST_F(Report, WhatItShowsNeedsAFolderToGoTo) {
  const Outcome outcome = run_program({"inspect", model_, "--data", text_, "--prompt", "the "});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_NE(outcome.err.find("--prompt requires --output"), std::string::npos) << outcome.err;
}

TEST_F(Report, ThatCannotBeWrittenSaysWhere) {
  const std::string file = folder_.write("file", "");
  const Outcome outcome = run_program({"inspect", model_, "--data", text_, "--sequences", "1", "--length", "32", "--contexts",
                                       "8", "-o", file + "/report", "--threads", "1"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_NE(outcome.err.find(file + "/report: cannot be made"), std::string::npos) << outcome.err;
}

}  // namespace
}  // namespace hedgehog::testing
