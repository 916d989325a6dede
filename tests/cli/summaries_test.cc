// --task samsum as a user types it: finetune, convert, distill on dialogues and summaries, then eval with ROUGE; what goes
// wrong.
#include "tests/cli/program.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace hedgehog::testing {
namespace {

using nlohmann::json;

json parsed_output(std::vector<std::string> arguments) {
  arguments.insert(arguments.end(), {"--json", "--threads", "1"});
  const Outcome outcome = run_program(arguments);
  EXPECT_EQ(outcome.status, 0) << arguments[0] << ": " << outcome.err;
  return json::parse(outcome.out, nullptr, false);
}

class Summaries : public ::testing::Test {
 protected:
  Summaries() : model_(folder_ / "model"), data_(folder_ / "data") {
    write_tiny_model(model_);
    folder_.write("data/train.jsonl", dialogues("a", 60));
    folder_.write("data/validation.jsonl", dialogues("b", 10));
    folder_.write("data/test.jsonl", dialogues("c", 6));
  }

  /// Dialogues whose summary can be learnt: it is always of the same words.
  static std::string dialogues(const std::string& ids, int count) {
    std::string lines;
    for (int i = 0; i < count; ++i) {
      const std::string text = simple_text(6 + i % 5);
      lines +=
          json{{"id", ids + std::to_string(i)}, {"dialogue", "A: " + text + "\r\nB: yes"}, {"summary", "the leaf"}}.dump() +
          "\n";
    }
    return lines;
  }

  std::vector<std::string> with_task(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--task", "samsum", "--data", data_, "--task-length", "128", "--summary-tokens", "16"});
    return arguments;
  }
  json evaluated(const std::string& model, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"eval", model});
    return parsed_output(with_task(more));
  }
  static std::vector<std::string> training(std::vector<std::string> arguments, const char* distilled = "1024") {
    arguments.insert(arguments.end(), {"--distill-tokens",  distilled, "--distill-length",  "128",
                                       "--distill-batch",   "2",       "--finetune-tokens", "30720",
                                       "--finetune-length", "128",     "--finetune-batch",  "4",
                                       "--finetune-lr",     "2e-2",    "--warmup",          "2",
                                       "--lora-rank",       "8",       "--lora-targets",    "q,k,v,o,up,down",
                                       "--contexts",        "32"});
    return arguments;
  }

  TemporaryFolder folder_;
  std::string model_, data_;
};

TEST_F(Summaries, FinetunedConvertedAndScored) {
  const json before = evaluated(model_);
  EXPECT_EQ(before["examples"], 6);
  EXPECT_EQ(before["tokens"], 6 * 8) << "'the leaf' and its end: th e _ l e a f, and the end token";
  EXPECT_FALSE(before.contains("kl_to_softmax"));
  for (const char* key : {"rouge1", "rouge2", "rougeL"}) {
    EXPECT_TRUE(before.contains(key)) << key;
    EXPECT_TRUE(before["half_interval"].contains(key)) << key;
  }
  EXPECT_EQ(before["first"].size(), 5u);
  EXPECT_EQ(before["first"][0]["summary"], "the leaf");

  const std::string softmax = folder_ / "softmax", hybrid = folder_ / "hybrid";
  const json finetuned = parsed_output(with_task(training({"finetune", model_, "--attention", "softmax", "-o", softmax})));
  EXPECT_LT(finetuned["perplexity"], finetuned["perplexity_before"].get<double>());
  const json after = evaluated(softmax);
  EXPECT_LT(after["perplexity"], 0.1 * before["perplexity"].get<double>());
  EXPECT_GT(after["rouge1"], 0.9) << after["first"];
  EXPECT_GT(after["ended"], 0.9);
  EXPECT_TRUE(after.contains("kl_to_softmax"));

  parsed_output(
      with_task(training({"convert", model_, "--attention", "hybrid", "--window", "8", "-o", hybrid, "--examples", "40"})));
  const json converted = evaluated(hybrid, {"--controls", "--examples", "3"});
  EXPECT_EQ(converted["examples"], 3);
  EXPECT_GT(converted["rouge1"], 0.9) << converted["first"];
  EXPECT_TRUE(converted["controls"].contains("linear_removed"));
  EXPECT_NE(converted["data"].get<std::string>().find("test.jsonl: 3 dialogues"), std::string::npos);
}

TEST_F(Summaries, AnyMapUndistilledOrDistilledAlone) {
  const std::string t2r = folder_ / "t2r", maps = folder_ / "maps";
  parsed_output(with_task(training({"convert", model_, "--attention", "linear", "--map", "t2r", "-o", t2r}, "0")));
  EXPECT_GT(evaluated(t2r)["rouge1"], 0.5);
  const json distilled = parsed_output(with_task(training({"distill", model_, "--attention", "linear", "-o", maps})));
  EXPECT_LT(distilled["held_out"]["after"]["kl"], distilled["held_out"]["before"]["kl"].get<double>());
}

TEST_F(Summaries, WhatIsWrongIsSaidWithFileLineAndRemedy) {
  const auto refused = [&](const std::vector<std::string>& arguments, const std::string& why, int status = 1) {
    const Outcome outcome = run_program(arguments);
    EXPECT_EQ(outcome.status, status) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_NE(outcome.err.find(why), std::string::npos) << outcome.err;
  };
  const auto damaged = [&](const std::string& line) {
    folder_.write("bad/test.jsonl", dialogues("c", 2) + line);
    return std::vector<std::string>{"eval", model_, "--task", "samsum", "--data", folder_ / "bad"};
  };
  refused({"eval", model_, "--task", "samsum", "--data", folder_ / "none"}, "holds no test.jsonl");
  refused(damaged("{\"id\": \"9\", \"dialogue\": \"A\n"), "test.jsonl:3");
  refused(damaged("{\"id\": \"9\", \"dialogue\": \"\xff\", \"summary\": \"s\"}\n"), "test.jsonl:3");
  refused(damaged("{\"id\": \"9\", \"dialogue\": \"A\"}\n"), "\"summary\" is missing");
  refused({"eval", model_, "--task", "porcupine", "--data", data_}, "samsum", 2);
  refused(with_task({"convert", model_, "-o", folder_ / "x", "--eval-data", data_}), "leave out --eval-data");
  refused({"convert", model_, "-o", folder_ / "x", "--task", "samsum", "--data", "self"}, "the folder with its files");
  refused({"eval", model_, "--task", "samsum", "--data", data_, "--task-length", "40", "--summary-tokens", "16"},
          "none for the dialogue");

  // A dialogue that is too long loses its end, and that is told.
  const json cut =
      parsed_output({"eval", model_, "--task", "samsum", "--data", data_, "--task-length", "90", "--summary-tokens", "16"});
  EXPECT_NE(cut["data"].get<std::string>().find("6 dialogues cut at their end"), std::string::npos) << cut["data"];
}

}  // namespace
}  // namespace hedgehog::testing
