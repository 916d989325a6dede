// Help, wrong usage (status 2), failures (status 1, one line, no trace) and what --json leaves on standard output.
#include "hedgehog/base/atomic_file.h"
#include "tests/cli/program.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdlib>

namespace hedgehog::testing {
namespace {

constexpr const char* kVerbs[] = {"convert", "distill", "finetune", "eval", "inspect", "generate", "export", "info", "bench"};

/// The error's line, after a check that it is the only one of its kind and that standard output is empty.
std::string error_line(const Outcome& outcome, int status) {
  EXPECT_EQ(outcome.status, status) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  EXPECT_TRUE(outcome.err.starts_with("hedgehog: error: ")) << outcome.err;
  EXPECT_EQ(outcome.err.find("frame #"), std::string::npos) << outcome.err;
  return outcome.err;
}

TEST(Usage, HelpNamesEveryVerb) {
  const Outcome outcome = run_program({"--help"});
  EXPECT_EQ(outcome.status, 0);
  for (const char* verb : kVerbs) EXPECT_NE(outcome.out.find(verb), std::string::npos) << verb;
}

TEST(Usage, EveryVerbHasHelpAndTheCommonFlags) {
  for (const char* verb : kVerbs) {
    const Outcome outcome = run_program({verb, "--help"});
    EXPECT_EQ(outcome.status, 0) << verb;
    for (const char* flag : {"--device", "--dtype", "--threads", "--seed", "--recipe", "--json"}) {
      EXPECT_NE(outcome.out.find(flag), std::string::npos) << verb << " " << flag;
    }
  }
}

TEST(Usage, VersionIsOneLine) {
  const Outcome outcome = run_program({"--version"});
  EXPECT_EQ(outcome.status, 0);
  EXPECT_TRUE(outcome.out.starts_with("hedgehog "));
}

TEST(Usage, WrongUsageIsStatusTwo) {
  EXPECT_NE(error_line(run_program({}), 2).find("subcommand"), std::string::npos);
  EXPECT_NE(error_line(run_program({"fly"}), 2).find("'fly'"), std::string::npos);
  EXPECT_NE(error_line(run_program({"info", "--fly"}), 2).find("--fly"), std::string::npos);
  EXPECT_NE(error_line(run_program({"eval"}), 2).find("hedgehog eval --help"), std::string::npos);
  EXPECT_NE(error_line(run_program({"info", "--dtype", "fp8"}), 2).find("fp8"), std::string::npos);
  EXPECT_NE(error_line(run_program({"info", "--threads", "many"}), 2).find("many"), std::string::npos);
  EXPECT_NE(error_line(run_program({"info", "--threads", "-1"}), 2).find("threads"), std::string::npos);
  error_line(run_program({"eval", "model", "--data", "text", "--eval-window", "1"}), 2);
}

TEST(Failure, ThereIsNoCudaDevice) {
  EXPECT_NE(error_line(run_program({"info", "--device", "cuda"}), 1).find("no CUDA device"), std::string::npos);
  EXPECT_NE(error_line(run_program({"info", "--device", "abacus"}), 2).find("abacus"), std::string::npos);
}

TEST(Failure, SaysWhichInstructionSetsThereAre) {
  const std::string line = error_line(run_program({"info"}, {"HEDGEHOG_ISA=abacus"}), 1);
  EXPECT_NE(line.find("abacus"), std::string::npos) << line;
  const auto json = nlohmann::json::parse(run_program({"info", "--json"}, {"HEDGEHOG_ISA="}).out);
  EXPECT_NE(line.find(json["machine"]["isa"].get<std::string>()), std::string::npos) << line;
}

TEST(Failure, NamesTheFileThatIsMissingOrBroken) {
  const TemporaryFolder folder;
  const std::string model = folder / "model";
  write_tiny_model(model);
  const std::string weights = read_text_file(model + "/model.safetensors"), config = read_text_file(model + "/config.json");
  EXPECT_NE(error_line(run_program({"info", folder / "absent"}), 1).find("absent"), std::string::npos);

  folder.write("model/model.safetensors", weights.substr(0, weights.size() / 2));
  EXPECT_NE(error_line(run_program({"info", model}), 1).find("model.safetensors"), std::string::npos);
  folder.write("model/model.safetensors", weights);

  folder.write("model/config.json", "{\"model_type\": \"llama\", ");
  EXPECT_NE(error_line(run_program({"info", model}), 1).find("config.json"), std::string::npos);
  folder.write("model/config.json", "{\"model_type\": \"abacus\"}");
  EXPECT_NE(error_line(run_program({"info", model}), 1).find("abacus"), std::string::npos);
  folder.write("model/config.json", config);

  EXPECT_NE(error_line(run_program({"eval", model, "--data", folder / "no.txt"}), 1).find("no.txt"), std::string::npos);
  folder.write("model/tokenizer.json", "[]");
  error_line(run_program({"eval", model, "--data", folder.write("text.txt", "some text")}), 1);
  EXPECT_NE(error_line(run_program({"info", folder.write("model.gguf", "GGUF but no more")}), 1).find("model.gguf"),
            std::string::npos);
}

TEST(Failure, ExportLeavesForeignFoldersAlone) {
  const TemporaryFolder folder;
  write_tiny_model(folder / "model");
  const std::string before = read_text_file(folder / "model/config.json");
  error_line(run_program({"export", folder / "model", "-o", folder / "model"}), 1);
  EXPECT_EQ(read_text_file(folder / "model/config.json"), before);
  const std::string note = folder.write("notes/note.txt", "mine");
  error_line(run_program({"export", folder / "model", "-o", folder / "notes"}), 1);
  EXPECT_EQ(read_text_file(note), "mine");
}

TEST(Failure, AFullDiskIsNoSuccess) {
  const TemporaryFolder folder;
  write_tiny_model(folder / "model");
  const std::string command =
      std::string(HEDGEHOG_PROGRAM) + " info " + (folder / "model") + " --json >/dev/full 2>" + (folder / "err");
  EXPECT_EQ(WEXITSTATUS(std::system(command.c_str())), 1);
  EXPECT_NE(read_text_file(folder / "err").find("standard output"), std::string::npos);
}

TEST(Info, WithoutAModelTellsOfTheMachine) {
  const auto json = nlohmann::json::parse(run_program({"info", "--json", "--threads", "1", "--seed", "5"}).out);
  EXPECT_EQ(json["command"], "info");
  EXPECT_EQ(json["seed"], 5);
  EXPECT_EQ(json["machine"]["threads"], 1);
  EXPECT_TRUE(json["machine"]["bf16_is_fast"].is_boolean());
  EXPECT_TRUE(json["machine"]["isa"].is_string());
  EXPECT_GT(json["peak_memory_bytes"], 1 << 20);
  EXPECT_GE(json["seconds"], 0.0);
}

TEST(Info, TellsOfAModel) {
  const TemporaryFolder folder;
  write_tiny_model(folder / "model");
  const auto json = nlohmann::json::parse(run_program({"info", folder / "model", "--tensors", "--json"}).out);
  EXPECT_EQ(json["model"], folder / "model");
  EXPECT_EQ(json["architecture"]["model_type"], "llama");
  EXPECT_EQ(json["architecture"]["kv_heads"], 2);
  EXPECT_EQ(json["tokenizer"]["tokens"], 258);
  EXPECT_EQ(json["attention"].size(), 2u);
  EXPECT_EQ(json["attention"][0]["kind"], "softmax");
  EXPECT_EQ(json["tensors"].size(), 20u);
  EXPECT_EQ(json["parameters"], json["stored_bytes"].get<std::int64_t>() / 4);
  EXPECT_FALSE(json.contains("conversion"));

  const Outcome text = run_program({"info", folder / "model", "--tensors"});
  EXPECT_EQ(text.status, 0);
  EXPECT_NE(text.out.find("model.layers.1.mlp.up_proj.weight"), std::string::npos);
  EXPECT_NE(text.out.find("layers 0-1"), std::string::npos) << text.out;
}

TEST(Info, AModelWithoutATokenizerCanBeLookedAt) {
  const TemporaryFolder folder;
  write_tiny_model(folder / "model");
  std::filesystem::remove(folder / "model/tokenizer.json");
  const Outcome outcome = run_program({"info", folder / "model", "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(nlohmann::json::parse(outcome.out)["tokenizer"].contains("error"));
}

}  // namespace
}  // namespace hedgehog::testing
