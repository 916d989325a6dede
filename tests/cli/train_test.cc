// hedgehog train as a user types it.
#include "tests/cli/program.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <tuple>

namespace hedgehog {
namespace {

using nlohmann::json;
using testing::Outcome;
using testing::run_program;
using testing::TemporaryFolder;

constexpr const char* kRecallModel = R"({"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2})";

json parsed(const Outcome& outcome) {
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  return json::parse(outcome.out, nullptr, false);
}

TEST(Train, ATaskFromScratchThenConverted) {
  const TemporaryFolder folder;
  const auto config = folder.write("recall.json", kRecallModel);
  const std::vector<std::string> task = {"--task", "recall",          "--length", "16",    "--examples",
                                         "200",    "--eval-examples", "50",       "--json"};
  auto arguments = task;
  arguments.insert(arguments.begin(), {"train", config, "-o", folder / "softmax", "--epochs", "1"});
  const json softmax = parsed(run_program(arguments));
  EXPECT_EQ(softmax["command"], "train");
  EXPECT_EQ(softmax["examples"], 50);
  EXPECT_EQ(softmax["training"][0]["steps"], 7);
  EXPECT_FALSE(softmax.contains("fidelity"));
  EXPECT_TRUE(std::filesystem::exists(folder / "softmax/model.safetensors"));

  arguments = task;
  arguments.insert(arguments.begin(), {"train", folder / "softmax", "-o", folder / "linear", "--attention", "linear",
                                       "--distill-epochs", "1", "--epochs", "0.5"});
  const json linear = parsed(run_program(arguments));
  ASSERT_EQ(linear["training"].size(), 2u);
  EXPECT_EQ(linear["training"][0]["stage"], "distillation");
  EXPECT_GT(linear["fidelity"]["kl"].get<double>(), 0);
  const double score = linear["score"];
  EXPECT_EQ(linear["half_interval"]["score"] > 0, score > 0 && score < 1);
  EXPECT_EQ(linear["half_interval"]["accuracy"], linear["half_interval"]["score"]);
  EXPECT_EQ(linear["recipe"]["attention"]["kind"], "linear");

  // What was written is what was measured.
  arguments = task;
  arguments.insert(arguments.begin(), {"train", folder / "linear", "-o", folder / "again", "--epochs", "0"});
  const json again = parsed(run_program(arguments));
  EXPECT_EQ(again["score"], linear["score"]);
  EXPECT_EQ(again["fidelity"]["kl"], linear["fidelity"]["kl"]);

  // eval and inspect know what it was trained on, and take the examples that it was measured on then.
  const json measured = parsed(run_program({"eval", folder / "linear", "--json"}));
  EXPECT_EQ(measured["score"], linear["score"]);
  EXPECT_EQ(measured["examples"], 50);
  EXPECT_NEAR(measured["fidelity"]["kl"].get<double>(), linear["fidelity"]["kl"].get<double>(), 1e-6);
  const json inspected = parsed(run_program({"inspect", folder / "linear", "--json"}));
  ASSERT_EQ(inspected["heads"].size(), 2u);
  EXPECT_NEAR(inspected["means"]["kl"].get<double>(), linear["fidelity"]["kl"].get<double>(), 1e-6);
  EXPECT_EQ(inspected["data"]["task"], "recall");
  const json part = parsed(run_program({"eval", folder / "linear", "--task", "recall", "--examples", "10", "--json"}));
  EXPECT_EQ(part["examples"], 10);
  const auto kl_on = [&](const char* examples) {
    return parsed(run_program({"eval", folder / "linear", "--fidelity-examples", examples, "--json"}))
        .value("/fidelity/kl"_json_pointer, 0.0);
  };
  EXPECT_EQ(kl_on("50"), measured["fidelity"]["kl"].get<double>());
  EXPECT_NE(kl_on("10"), kl_on("50"));
}

TEST(Train, AConversionReportsItsStagesAndGivesItsMapsAway) {
  const TemporaryFolder folder;
  const auto config = folder.write("recall.json", kRecallModel);
  const auto train = [&](const std::string& model, const std::string& output, std::vector<std::string> more) {
    more.insert(more.begin(), {"train", model, "-o", folder / output, "--task", "recall", "--length", "16", "--examples", "100",
                               "--eval-examples", "20", "--json"});
    return run_program(more);
  };
  parsed(train(config, "softmax", {"--epochs", "1"}));
  parsed(train(folder / "softmax", "distilled",
               {"--attention", "linear", "--distill-epochs", "2", "--distill-lr", "0.1", "--epochs", "0.5"}));
  EXPECT_TRUE(std::filesystem::exists(folder / "distilled/report.html"));
  const json report = json::parse(read_text_file(folder / "distilled/report.json"));
  ASSERT_EQ(report["models"].size(), 3u);
  EXPECT_EQ(report["models"][1]["name"], "after distillation");
  EXPECT_EQ(report["models"][2]["heads"].size(), 2u);
  EXPECT_LT(report["models"][1]["means"]["kl"], report["models"][0]["means"]["kl"].get<double>());

  // Not trained, with the maps of the other one: closer to softmax than maps that never learned.
  const auto kl = [&](const std::string& output, std::vector<std::string> more) {
    more.insert(more.begin(), {"--attention", "linear", "--epochs", "0"});
    return parsed(train(folder / "softmax", output, more))["fidelity"]["kl"].get<double>();
  };
  const double never = kl("never", {});
  for (const char* by : {"depth", "statistics"}) {
    EXPECT_LT(kl("moved", {"--maps-from", folder / "distilled", "--maps-by", by}), never) << by;
  }
  const Outcome unlike = train(folder / "softmax", "unlike",
                               {"--attention", "linear", "--map", "t2r", "--epochs", "0", "--maps-from", folder / "distilled"});
  EXPECT_EQ(unlike.status, 1);
  EXPECT_NE(unlike.err.find("the maps to be taken are \"hedgehog-softmax\", those of the model \"t2r\""), std::string::npos)
      << unlike.err;
}

TEST(Train, KeepsTheHeadsThatBringMostBack) {
  const TemporaryFolder folder;
  const auto config = folder.write("pairs.json", R"({"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 2,
      "num_attention_heads": 2, "intermediate_size": 16, "hidden_dropout_prob": 0, "initializer_range": 0.4})");
  const auto train = [&](const std::string& model, const std::string& output, std::vector<std::string> more) {
    more.insert(more.begin(), {"train", model, "-o", folder / output, "--task", "listops", "--length", "24", "--examples", "60",
                               "--eval-examples", "20", "--threads", "1"});
    return run_program(more);
  };
  const auto json_of = [&](const std::string& output, std::vector<std::string> more) {
    more.insert(more.begin(), {"--attention", "linear", "--distill-epochs", "1", "--json"});
    return parsed(train(folder / "softmax", output, more));
  };
  parsed(train(config, "softmax", {"--epochs", "1", "--json"}));
  const json kept = json_of("kept", {"--keep-softmax", "auto:2", "--epochs", "0"});
  const json heads = kept["kept_heads"]["heads"];
  ASSERT_GE(heads.size(), 1u);
  ASSERT_LE(heads.size(), 2u);
  EXPECT_LT(heads.back()["distance"], kept["kept_heads"]["distance"].get<double>());
  EXPECT_EQ(json::parse(read_text_file(folder / "kept/kept_heads.json")), kept["kept_heads"]);
  EXPECT_EQ(parsed(run_program({"eval", folder / "kept", "--json"}))["score"], kept["score"]);

  // They are softmax, the others are not.
  std::vector<std::string> names;
  for (const json& head : heads) names.push_back(head["what"]);
  for (const json& head : parsed(run_program({"inspect", folder / "kept", "--json"}))["heads"]) {
    const std::string name = std::to_string(head["layer"].get<int>()) + "." + std::to_string(head["head"].get<int>());
    EXPECT_EQ(head["kl"] == 0, std::find(names.begin(), names.end(), name) != names.end()) << name;
  }
  parsed(train(folder / "softmax", "distilled", {"--attention", "linear", "--distill-epochs", "1", "--epochs", "0", "--json"}));
  const json later = parsed(train(folder / "distilled", "later", {"--keep-softmax", "auto:2", "--epochs", "0", "--json"}));
  EXPECT_EQ(later["kept_heads"], kept["kept_heads"]) << "chosen in a model that was distilled before";
  const json trained = json_of("trained", {"--keep-softmax", "auto:2", "--epochs", "1"});
  EXPECT_EQ(trained["kept_heads"], kept["kept_heads"]) << "chosen before the training";

  const Outcome printed =
      train(folder / "softmax", "printed",
            {"--attention", "linear", "--distill-epochs", "1", "--epochs", "0", "--keep-softmax", "auto:1"});
  EXPECT_NE(printed.out.find("softmax is kept in heads " + names[0]), std::string::npos) << printed.out;
  for (const char* wrong : {"auto", "auto:", "auto:0", "auto:-1", "auto:2x"}) {
    const Outcome outcome = train(folder / "softmax", "x", {"--attention", "linear", "--keep-softmax", wrong});
    EXPECT_NE(outcome.err.find("such as auto:6"), std::string::npos) << wrong << outcome.err;
  }
  const Outcome undistilled = train(folder / "softmax", "x", {"--attention", "linear", "--keep-softmax", "auto:1"});
  EXPECT_EQ(undistilled.status, 1);
  EXPECT_NE(undistilled.err.find("--distill-epochs"), std::string::npos) << undistilled.err;
}

TEST(Train, EvalOfWhatIsNoClassifierOrOfAnotherTaskSaysSo) {
  const TemporaryFolder folder;
  const auto config = folder.write("vit.json", R"({"model_type": "vit", "hidden_size": 32, "num_hidden_layers": 1,
      "num_attention_heads": 2, "intermediate_size": 32, "patch_size": 16})");
  const auto refused = [&](std::vector<std::string> arguments, const char* because) {
    const Outcome outcome = run_program(arguments);
    EXPECT_EQ(outcome.status, 1) << outcome.out;
    EXPECT_NE(outcome.err.find(because), std::string::npos) << outcome.err;
  };
  std::string images;
  for (int i = 0; i < 4; ++i) images += std::string(1, static_cast<char>(i)) + std::string(1024, static_cast<char>(40 * i));
  folder.write("data/train_gray.bin", images);
  folder.write("data/test_gray.bin", images);
  const auto data = folder / "data";
  parsed(run_program({"train", config, "-o", folder / "vit", "--task", "vision", "--data", data, "--epochs", "0", "--json"}));
  EXPECT_EQ(parsed(run_program({"eval", folder / "vit", "--data", data, "--json"}))["examples"], 4);
  refused({"eval", folder / "vit"}, "--data names the folder");
  refused({"eval", folder / "vit", "--task", "recall", "--examples", "2"}, "gives 10 labels, and the task has 40");
  refused({"eval", folder / "vit", "--data", data, "--controls"}, "language models only");
  // The same with its classifier under another name, which is to have none.
  std::ifstream file(folder / "vit/model.safetensors", std::ios::binary);
  std::string weights{std::istreambuf_iterator<char>(file), {}};
  weights.replace(weights.find("classifier.weight"), 10, "elsewhere_");
  folder.write("vit/model.safetensors", weights);
  refused({"eval", folder / "vit", "--data", data}, "has no classifier; 'hedgehog train'");
}

TEST(Train, PairsOfTextsFromScratchThenConverted) {
  const TemporaryFolder folder;
  std::string pairs;  // linked where both are of the same letter
  for (int i = 0; i < 40; ++i) {
    const std::string first(5, i % 2 ? 'a' : 'b'), second(8, i % 4 < 2 ? 'a' : 'b');
    pairs += std::string(first[0] == second[0] ? "1" : "0") + "\tP\tQ\t" + first + "\t" + second + "\n";
  }
  folder.write("data/new_aan_pairs.train.tsv", pairs);
  folder.write("data/new_aan_pairs.test.tsv", pairs);
  const auto config = folder.write("pairs.json", R"({"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1,
      "num_attention_heads": 2, "intermediate_size": 16, "hidden_dropout_prob": 0, "initializer_range": 0.2})");
  const auto data = folder / "data";
  const auto run = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "train");
    for (const char* flag : {"--task", "retrieval", "--json", "--threads", "1", "--data"}) arguments.emplace_back(flag);
    arguments.push_back(data);
    return parsed(run_program(arguments));
  };
  const json softmax = run({config, "-o", folder / "softmax", "--epochs", "30", "--lr", "1e-2", "--batch", "8"});
  EXPECT_EQ(softmax["score"], 1) << "neither text alone says it";
  const json linear =
      run({folder / "softmax", "-o", folder / "linear", "--attention", "linear", "--distill-epochs", "1", "--epochs", "0"});
  EXPECT_GT(linear["fidelity"]["kl"].get<double>(), 0);
  EXPECT_EQ(parsed(run_program({"eval", folder / "linear", "--data", data, "--json"}))["score"], linear["score"]);
  // A model of single texts isn't one of pairs, nor the other way round.
  parsed(run_program({"train", config, "-o", folder / "lists", "--task", "listops", "--length", "20", "--examples", "4",
                      "--eval-examples", "4", "--epochs", "0", "--json"}));
  for (const auto& [model, task, because] :
       {std::tuple{"lists", "retrieval", "single texts or images"}, {"softmax", "listops", "a classifier of pairs"}}) {
    const Outcome outcome = run_program({"train", folder / model, "-o", folder / "x", "--task", task, "--data", data,
                                         "--length", "20", "--examples", "4", "--eval-examples", "4"});
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find(because), std::string::npos) << outcome.err;
  }
}

TEST(Train, IsTheSameForASeed) {
  const TemporaryFolder folder;
  const auto config = folder.write("recall.json", kRecallModel);
  const auto run = [&](const char* seed, const std::string& output) {
    return parsed(
               run_program({"train", config, "-o", folder / output, "--task", "recall", "--length", "16", "--examples", "100",
                            "--eval-examples", "20", "--epochs", "1", "--seed", seed, "--json"}))["training"][0]["loss"]
        .get<double>();
  };
  const double one = run("1", "a");
  EXPECT_EQ(run("1", "b"), one);
  EXPECT_NE(run("2", "c"), one);
}

TEST(Train, SaysItsSpeedInExamples) {
  const TemporaryFolder folder;
  const Outcome outcome =
      run_program({"train", folder.write("recall.json", kRecallModel), "-o", folder / "model", "--task", "recall", "--length",
                   "16", "--examples", "100", "--eval-examples", "20", "--epochs", "1"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_NE(outcome.err.find(" examples/s"), std::string::npos) << outcome.err;
  EXPECT_EQ(outcome.err.find(" tok/s"), std::string::npos) << outcome.err;
}

// --dtype is what training computes in; what it writes and how it is measured is fp32 either way.
TEST(Train, ComputesInTheDtypeThatIsAskedFor) {
  const TemporaryFolder folder;
  const auto config = folder.write("recall.json", kRecallModel);
  const auto trained = [&](const std::string& dtype) {
    const json fields =
        parsed(run_program({"train", config, "-o", folder / dtype, "--task", "recall", "--length", "16", "--examples", "100",
                            "--eval-examples", "20", "--epochs", "1", "--dtype", dtype, "--json"}));
    EXPECT_EQ(fields["recipe"]["dtype"], dtype);
    const json measured = parsed(run_program({"eval", folder / dtype, "--json"}));
    EXPECT_EQ(measured["score"], fields["score"]);
    return std::pair(fields["training"][0]["loss"].get<double>(),
                     std::filesystem::file_size(std::filesystem::path(folder / dtype) / "model.safetensors"));
  };
  const auto single = trained("fp32"), mixed = trained("bf16");
  EXPECT_NE(mixed.first, single.first);
  EXPECT_NEAR(mixed.first, single.first, 0.02 * single.first);
  EXPECT_EQ(mixed.second, single.second);
}

TEST(Train, ALanguageModelFromScratch) {
  const TemporaryFolder folder;
  const auto config =
      folder.write("model.json", R"({"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 64})");
  const auto text = folder.write("text.txt", testing::simple_text(3000)),
             test = folder.write("test.txt", testing::simple_text(300));
  const json trained =
      parsed(run_program({"train",         config,  "--data",      text,     "--eval-data", test,  "-o",    folder / "lm",
                          "--tokens",      "40000", "--length",    "32",     "--batch",     "16",  "--lr",  "1e-2",
                          "--eval-window", "32",    "--attention", "linear", "--map",       "elu", "--json"}));
  const double perplexity = trained["perplexity"].get<double>();
  EXPECT_LT(perplexity, 30) << "256 tokens, all as likely";
  // It is a model as any other.
  const json measured =
      parsed(run_program({"eval", folder / "lm", "--data", test, "--eval-window", "32", "--no-teacher", "--json"}));
  EXPECT_NEAR(measured["perplexity"].get<double>(), perplexity, 1e-3 * perplexity);
  const json written = parsed(run_program({"generate", folder / "lm", "--prompt", "the", "--max-tokens", "5", "--json"}));
  EXPECT_EQ(written["tokens"], 5);
  // Without a text to measure on it is the last tenth of the one that is there.
  const json held_out = parsed(run_program({"train", config, "--data", text, "-o", folder / "held_out", "--tokens", "64",
                                            "--length", "32", "--batch", "1", "--eval-window", "32", "--json"}));
  EXPECT_GT(held_out["tokens"].get<std::int64_t>(), 300);
}

TEST(Train, ExamplesMadeOfATasksTextsAreTaughtByTheSoftmaxModel) {
  const TemporaryFolder folder;
  const auto config = folder.write("bert.json", R"({"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 2,
      "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 20, "max_position_embeddings": 32})");
  parsed(run_program({"train", config, "-o", folder / "bert", "--task", "listops", "--length", "24", "--examples", "4",
                      "--eval-examples", "2", "--epochs", "0", "--json"}));
  folder.write("bert/vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nhedge\nhog\nrolls\nup\nfast\n");
  std::filesystem::create_directory(folder / "STS-B");
  const std::string row = "0\tg\tf\t2012\t1\tnone\tnone\ta hedge rolls\ta hog rolls up fast\t3.800\n";
  const std::string header = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n";
  for (const char* file : {"STS-B/train.tsv", "STS-B/dev.tsv"}) folder.write(file, header + row + row + row);
  const auto train = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"train", folder / "bert", "-o", folder / "linear", "--task", "sts-b", "--data", folder / "",
                               "--attention", "linear", "--epochs", "1", "--batch", "4", "--augment", "17", "--json"});
    return run_program(more);
  };
  const json made = parsed(train({"--teacher-logits", "1"}));
  EXPECT_EQ(made["training"][0]["examples"], 20);
  EXPECT_EQ(made["training"][0]["steps"], 5);
  EXPECT_EQ(made["recipe"]["augmented"], 17);
  EXPECT_EQ(made["examples"], 3) << "measured on the task's own alone";
  EXPECT_NE(train({}).err.find("--teacher-logits 1"), std::string::npos);
  EXPECT_NE(run_program({"train", config, "-o", folder / "x", "--task", "listops", "--augment", "3", "--match-hidden", "1"})
                .err.find("made of texts"),
            std::string::npos);
}

TEST(Train, WrongUsageSaysWhatToDo) {
  const TemporaryFolder folder;
  const auto config = folder.write("recall.json", kRecallModel);
  const auto message = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"train", config, "-o", folder / "x"});
    const Outcome outcome = run_program(arguments);
    EXPECT_NE(outcome.status, 0);
    EXPECT_EQ(outcome.out, "");
    return outcome.err;
  };
  EXPECT_NE(message({"--tokens", "64"}).find("--data: which text"), std::string::npos);
  EXPECT_NE(message({"--task", "porcupine"}).find("recall"), std::string::npos) << "lists the known";
  EXPECT_NE(message({"--task", "cola", "--data", folder / "none"}).find("tokenizer"), std::string::npos);
  EXPECT_NE(message({"--task", "text", "--data", folder / "none"}).find("train.jsonl"), std::string::npos);
  EXPECT_NE(message({"--task", "recall", "--attention", "linear", "--map", "spiny"}).find("hedgehog-softmax"),
            std::string::npos);
  EXPECT_NE(message({}).find("--tokens"), std::string::npos);
}

}  // namespace
}  // namespace hedgehog
