// hedgehog generate as a user types it, on a tiny random model.
#include "tests/cli/program.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace hedgehog::testing {
namespace {

using nlohmann::json;

class Generate : public ::testing::Test {
 protected:
  Generate() : model_(folder_ / "model") { write_tiny_model(model_); }

  Outcome run(std::vector<std::string> more) {
    more.insert(more.begin(), {"generate", model_, "--threads", "1", "--ignore-end", "--max-tokens", "24"});
    return run_program(more);
  }
  json run_json(std::vector<std::string> more) {
    more.push_back("--json");
    const Outcome outcome = run(more);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return json::parse(outcome.out, nullptr, false);
  }

  TemporaryFolder folder_;
  std::string model_;
};

TEST_F(Generate, JsonHasItsFields) {
  const json result = run_json({"--prompt", "the hedgehog"});
  for (const char* key : {"text", "prompt_tokens", "tokens", "tokens_per_second", "prompt_tokens_per_second", "state_bytes",
                          "resident_memory_bytes", "stop_reason"}) {
    EXPECT_TRUE(result.contains(key)) << key;
  }
  EXPECT_EQ(result["prompt_tokens"], 11);  // "th" is one token
  EXPECT_EQ(result["tokens"], 24);
  EXPECT_EQ(result["stop_reason"], "length");
  EXPECT_GT(result["state_bytes"], 0);
}

TEST_F(Generate, TextGoesToStandardOutputAndStatisticsToStandardError) {
  const std::string text = run_json({"--prompt", "abc"})["text"];
  const Outcome outcome = run({"--prompt", "abc"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.out, text.ends_with('\n') ? text : text + "\n");
  EXPECT_TRUE(outcome.err.starts_with("prompt: 3 tokens, ")) << outcome.err;
}

TEST_F(Generate, PromptComesFromAFileOrStandardInput) {
  const std::string file = folder_.write("prompt.txt", "the hedgehog");
  EXPECT_EQ(run_json({"--prompt-file", file})["text"], run_json({"--prompt", "the hedgehog"})["text"]);
  EXPECT_EQ(run_json({"--prompt-file", file, "--prompt-tokens", "2"})["text"], run_json({"--prompt", "the"})["text"]);
  EXPECT_EQ(run_json({})["prompt_tokens"], 1) << "empty: the token that texts begin with";
  EXPECT_EQ(run({"--prompt-file", file, "--prompt-tokens", "12"}).status, 1);
  EXPECT_EQ(run({"--prompt-file", file, "--prompt", "two prompts"}).status, 2);
  EXPECT_EQ(run({"--prompt-file", folder_ / "absent"}).status, 1);
}

TEST_F(Generate, SamplingFollowsItsFlags) {
  const auto sampled = [&](const std::string& seed) {
    return run_json({"--prompt", "a", "--temperature", "1", "--top-k", "50", "--top-p", "0.95", "--min-p", "0.01",
                     "--repetition-penalty", "1.1", "--seed", seed})["text"];
  };
  const json first = sampled("1");
  EXPECT_EQ(sampled("1"), first);
  EXPECT_NE(sampled("2"), first);
  // In fp32: bf16 makes logits equal, and top-k keeps equals, as transformers does.
  EXPECT_EQ(run_json({"--prompt", "a", "--temperature", "5", "--top-k", "1", "--dtype", "fp32"})["text"],
            run_json({"--prompt", "a", "--dtype", "fp32"})["text"]);
  EXPECT_EQ(run({"--prompt", "a", "--top-p", "2"}).status, 2);
  EXPECT_EQ(run({"--prompt", "a", "--temperature", "-1"}).status, 2);
}

TEST_F(Generate, TakesTheStatesDtype) {
  // A softmax model has no linear state: nothing changes.
  const json plain = run_json({"--prompt", "abc"});
  for (const char* state : {"fp32", "bf16", "int8"}) {
    const json result = run_json({"--prompt", "abc", "--state", state});
    EXPECT_EQ(result["text"], plain["text"]) << state;
    EXPECT_EQ(result["state_bytes"], plain["state_bytes"]) << state;
  }
  const Outcome outcome = run({"--prompt", "abc", "--state", "fp8"});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_NE(outcome.err.find("fp8"), std::string::npos) << outcome.err;
  EXPECT_NE(run_program({"generate", "--help"}).out.find("--state"), std::string::npos);
}

TEST_F(Generate, StopStringsEndIt) {
  const std::string text = run_json({"--prompt", "abc", "--temperature", "1"})["text"];
  // A character of one byte in the middle, so that it can be given as an argument.
  std::size_t at = text.size() / 2;
  while (at < text.size() && (text[at] < ' ' || text[at] > '~')) ++at;
  if (at == text.size()) GTEST_SKIP() << "skipped: the random text has no visible ASCII character";
  const std::string stop(1, text[at]);
  const json result = run_json({"--prompt", "abc", "--temperature", "1", "--stop", "never that", "--stop=" + stop});
  EXPECT_EQ(result["stop_reason"], "stop");
  EXPECT_EQ(result["text"], text.substr(0, text.find(stop)));
}

TEST_F(Generate, ChatNeedsATemplate) {
  const Outcome outcome = run({"--prompt", "Hello", "--chat"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_NE(outcome.err.find("chat template"), std::string::npos) << outcome.err;
  EXPECT_EQ(run({"--prompt", "Hello", "--system", "Be brief."}).status, 2) << "--system without --chat";

  folder_.write("model/tokenizer_config.json",
                R"({"eos_token": "<|endoftext|>", "chat_template":
                "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"})");
  const json chat = run_json({"--prompt", "Hello", "--chat", "--system", "Be brief."});
  EXPECT_EQ(chat["text"], run_json({"--prompt", "system: Be brief.\nuser: Hello\nassistant:"})["text"]);
}

}  // namespace
}  // namespace hedgehog::testing
