// A user's way from a checkpoint to text, on a tiny random model: distill, finetune, eval, inspect, export, generate.
#include "hedgehog/base/atomic_file.h"
#include "tests/cli/program.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace hedgehog::testing {
namespace {

using nlohmann::json;

json run_json(std::vector<std::string> arguments) {
  arguments.insert(arguments.end(), {"--json", "--threads", "1"});
  const Outcome outcome = run_program(arguments);
  EXPECT_EQ(outcome.status, 0) << arguments[0] << ": " << outcome.err;
  const json result = json::parse(outcome.out, nullptr, false);
  EXPECT_TRUE(result.is_object()) << outcome.out;
  for (const char* key : {"command", "model", "seed", "seconds", "peak_memory_bytes"}) {
    EXPECT_TRUE(result.contains(key)) << arguments[0] << " " << key;
  }
  EXPECT_EQ(result.value("command", ""), arguments[0]);
  return result;
}

class Journey : public ::testing::Test {
 protected:
  Journey() : model_(folder_ / "model"), text_(folder_.write("text.txt", simple_text(2000))) { write_tiny_model(model_); }

  json evaluate(const std::string& model, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"eval", model, "--data", text_, "--eval-window", "64", "--limit-tokens", "1000"});
    return run_json(more);
  }

  TemporaryFolder folder_;
  std::string model_, text_;
};

TEST_F(Journey, FromCheckpointToText) {
  const json before = evaluate(model_);
  EXPECT_EQ(before["tokens"], 1000 / 64 * 63 + 1000 % 64 - 1);
  EXPECT_FALSE(before.contains("kl_to_softmax"));

  const std::string recipe = folder_.write(
      "small.toml",
      "attention = \"hybrid\"\nwindow = 8\nsinks = 1\ndistill-tokens = 2048\ndistill-length = 64\ndistill-batch = 4\n"
      "distill-lr = 1e-2\nfinetune-tokens = 8192\nfinetune-length = 64\nfinetune-batch = 4\nfinetune-lr = 1e-2\nwarmup = 2\n"
      "lora-rank = 4\nlora-targets = [\"q\", \"k\", \"v\", \"o\"]\n");
  const std::string distilled = folder_ / "distilled", tuned = folder_ / "tuned", exported = folder_ / "exported";
  run_json({"distill", model_, "--data", text_, "--recipe", recipe, "-o", distilled});
  const json middle = evaluate(distilled);
  run_json({"finetune", distilled, "--data", text_, "--recipe", recipe, "-o", tuned});
  const json after = evaluate(tuned, {"--controls"});
  EXPECT_LT(after["perplexity"], middle["perplexity"].get<double>());
  EXPECT_NEAR(after["softmax_perplexity"].get<double>() / before["perplexity"].get<double>(), 1, 1e-6);
  EXPECT_GT(after["kl_to_softmax"], 0.0);
  EXPECT_LE(after["top1_agreement"], 1.0);
  for (const char* control : {"linear_removed", "window_removed", "no_attention"}) {
    EXPECT_GT(after["controls"][control], 1.0);
    EXPECT_NE(after["controls"][control], after["perplexity"]);
  }

  const json heads = run_json({"inspect", tuned, "--data", text_, "--length", "64", "--sequences", "2"});
  EXPECT_EQ(heads["heads"].size(), 8u);
  for (const char* key :
       {"layer", "head", "entropy_softmax", "entropy_linear", "kl", "monotonicity", "linear_share", "output_error"}) {
    EXPECT_TRUE(heads["heads"][0].contains(key)) << key;
  }
  EXPECT_GT(heads["means"]["linear_share"], 0.0);
  EXPECT_LT(heads["means"]["linear_share"], 1.0);
  EXPECT_TRUE(heads["verdicts"].is_array());
  // It was trained on shorter rows; these are held against them.
  const Outcome longer = run_program({"inspect", tuned, "--data", text_, "--length", "128", "--sequences", "1"});
  EXPECT_EQ(longer.status, 0) << longer.err;
  EXPECT_NE(longer.out.find("8 heads fail"), std::string::npos) << longer.out;

  run_json({"export", tuned, "-o", exported});
  for (const char* dtype : {"fp32", "bf16"}) {
    const std::vector<std::string> alike = {"--controls", "--dtype", dtype};
    const json adapter = evaluate(tuned, alike), again = evaluate(exported, alike);
    for (const char* value : {"perplexity", "kl_to_softmax", "softmax_perplexity", "controls"}) {
      EXPECT_EQ(again[value], adapter[value]) << value << " in " << dtype;
    }
  }
  run_json({"export", tuned, "-o", exported});  // over an export of before

  EXPECT_EQ(run_json({"info", tuned})["attention"][0]["kind"], "hybrid");
  EXPECT_EQ(run_json({"info", exported})["attention"][1]["window"], 8);
  const std::vector<std::string> continuing = {"--prompt", "the hedgehog ", "--max-tokens", "12", "--ignore-end"};
  const auto generate = [&](const std::string& model, const char* dtype) {
    std::vector<std::string> arguments = {"generate", model, "--dtype", dtype};
    arguments.insert(arguments.end(), continuing.begin(), continuing.end());
    return run_json(arguments);
  };
  for (const char* dtype : {"fp32", "bf16"}) {
    const json written = generate(tuned, dtype);
    EXPECT_EQ(written["tokens"], 12);
    EXPECT_EQ(written["text"], generate(exported, dtype)["text"]) << dtype;
  }
}

TEST_F(Journey, AnExportIsTrainedFurtherAndStillMeasuredAgainstTheFirstModel) {
  const std::string recipe = folder_.write("small.toml",
                                           "window = 8\ndistill-tokens = 1024\ndistill-length = 64\ndistill-batch = "
                                           "4\nfinetune-tokens = 2048\nfinetune-length = 64\n"
                                           "finetune-batch = 4\nfinetune-lr = 1e-2\nlora-rank = 4\ncontexts = [32]\n");
  const auto with = [&](std::vector<std::string> arguments, std::vector<std::string> more) {
    arguments.insert(arguments.end(), {"--data", text_, "--recipe", recipe});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_json(arguments);
  };
  const std::string first = folder_ / "first", exported = folder_ / "exported", second = folder_ / "second";
  const double softmax = evaluate(model_)["perplexity"];
  with({"convert", model_}, {"-o", first, "--export", exported});
  EXPECT_EQ(evaluate(first)["perplexity"], evaluate(exported)["perplexity"]);
  const json tuned = with({"finetune", exported}, {"-o", second, "--teacher-logits", "0.5"});
  EXPECT_TRUE(tuned.contains("kl_to_softmax"));
  EXPECT_NEAR(evaluate(second)["softmax_perplexity"].get<double>() / softmax, 1, 1e-6);

  // A softmax model that was exported is a model like any other.
  const std::string copy = folder_ / "copy";
  run_json({"export", model_, "-o", copy});
  with({"convert", copy}, {"-o", folder_ / "of the copy", "--finetune", "none"});
  // Nothing is trained, and nothing is lost.
  with({"convert", model_}, {"-o", folder_ / "nothing", "--finetune", "none", "--distill-tokens", "0", "--baseline"});

  const auto refused = [&](std::vector<std::string> arguments, const std::string& why) {
    arguments.insert(arguments.end(), {"--data", text_});
    const Outcome outcome = run_program(arguments);
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find(why), std::string::npos) << outcome.err;
  };
  refused({"convert", exported, "-o", folder_ / "x"}, "is converted already");
  refused({"convert", model_, "-o", copy}, "a model is there");
  refused({"convert", copy, "-o", folder_ / "x", "--export", model_}, "no export");
  refused({"finetune", first, "-o", folder_ / "x", "--attention", "linear"}, "its attention is hybrid");
  refused({"distill", first, "-o", folder_ / "x", "--attention", "linear"}, "its attention is hybrid");
}

TEST_F(Journey, WithoutARecipeAConversionIsTheHybrid) {
  const auto converted = [&](const std::string& name, std::vector<std::string> more) {
    const std::string output = folder_ / name;
    more.insert(more.begin(), {"convert", model_, "--data", text_, "--distill-tokens", "512", "--finetune-tokens", "512",
                               "--contexts", "32", "-o", output});
    run_json(more);
    return run_json({"info", output})["conversion"]["recipe"];
  };
  const json recipe = converted("plain", {});
  EXPECT_EQ(recipe, converted("hybrid", {"--recipe", "hybrid"}));
  EXPECT_EQ(recipe["distillation"][0]["updates"], 8);
}

TEST_F(Journey, EvalMeasuresWhatWasMadeWorse) {
  const std::string linear = folder_ / "linear";
  const std::vector<std::string> distill = {"--data",           text_, "--attention",     "linear",
                                            "--distill-length", "64",  "--distill-batch", "4"};
  const auto make = [&](std::vector<std::string> arguments, const std::string& tokens) {
    arguments.insert(arguments.end(), distill.begin(), distill.end());
    arguments.insert(arguments.end(), {"--distill-tokens", tokens});
    return run_json(arguments);
  };
  make({"distill", model_, "-o", linear, "--distill-lr", "3e-2"}, "4096");
  EXPECT_TRUE(std::filesystem::exists(linear + "/report.html"));

  // Maps without their order, and without their spikes.
  const json before = evaluate(linear, {"--fidelity-windows", "2"});
  const json permuted = evaluate(linear, {"--fidelity-windows", "2", "--alter-maps", "permuted=1"});
  const json flat = evaluate(linear, {"--fidelity-windows", "2", "--alter-maps", "temperature=0"});
  EXPECT_LT(permuted["fidelity"]["monotonicity"], before["fidelity"]["monotonicity"].get<double>());
  EXPECT_GT(flat["fidelity"]["entropy_linear"], before["fidelity"]["entropy_linear"].get<double>());
  EXPECT_EQ(evaluate(linear, {"--alter-maps", "noise=0.5"})["perplexity"],
            evaluate(linear, {"--alter-maps", "noise=0.5"})["perplexity"]);

  // Token by token, the state in fewer bytes.
  const json whole = evaluate(linear, {"--dtype", "fp32"}), steps = evaluate(linear, {"--dtype", "fp32", "--state", "fp32"}),
             rough = evaluate(linear, {"--state", "int8"});
  EXPECT_NEAR(steps["perplexity"].get<double>() / whole["perplexity"].get<double>(), 1, 1e-4);
  EXPECT_LT(rough["state_bytes"], steps["state_bytes"].get<std::int64_t>() / 2);

  // Weights in four bits.
  const json rounded = run_json({"export", linear, "-o", folder_ / "rounded", "--round-weights", "q4_0"});
  EXPECT_LT(rounded["rounded_weights_bytes"], rounded["bytes"].get<std::int64_t>() / 2);
  EXPECT_NE(evaluate(folder_ / "rounded", {"--no-teacher"})["perplexity"], before["perplexity"]);

  // A pass key in a part of the text.
  const json needle = evaluate(linear, {"--needle", "150,300", "--needle-samples", "3"})["needle"];
  EXPECT_EQ(needle.size(), 2u);
  EXPECT_EQ(needle["300"]["samples"], 3);
  EXPECT_GT(needle["150"]["perplexity"], 1.0);
  const Outcome narrow = run_program({"eval", linear, "--data", text_, "--limit-tokens", "200", "--needle", "20"});
  EXPECT_EQ(narrow.status, 1);
  EXPECT_NE(narrow.err.find("a prompt of 20 tokens has no room"), std::string::npos) << narrow.err;

  // Its maps in the model that it came from: as it was.
  const json moved = make({"distill", model_, "-o", folder_ / "moved", "--maps-from", linear}, "0");
  EXPECT_EQ(evaluate(folder_ / "moved")["perplexity"], before["perplexity"]);
  EXPECT_EQ(moved["held_out"]["before"], moved["held_out"]["after"]);
}

TEST_F(Journey, OfAModelWithFewLearnedPositionsIsMeasuredOnShorterWindows) {
  const std::string config =
      folder_.write("gpt2.json", R"({"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 64})");
  const std::string gpt2 = folder_ / "gpt2", linear = folder_ / "linear";
  run_json({"train", config, "--data", text_, "--tokens", "512", "--length", "32", "--batch", "4", "--eval-window", "64", "-o",
            gpt2});
  const auto convert = [&](const char* length) {
    return run_program({"convert", gpt2, "--data", text_, "--attention", "linear", "--distill-tokens", "256",
                        "--distill-length", "64", "--finetune-tokens", "256", "--finetune-length", length, "--threads", "1",
                        "-o", linear});
  };
  const Outcome longer = convert("128");
  EXPECT_EQ(longer.status, 1);
  EXPECT_NE(longer.err.find("rows of 128 tokens are too long: the model has learned positions for 64"), std::string::npos)
      << longer.err;
  EXPECT_FALSE(std::filesystem::exists(linear + "/training.jsonl")) << "it was known before the first stage";
  const Outcome fits = convert("64");  // windows to measure on are of 512 tokens by default
  EXPECT_EQ(fits.status, 0) << fits.err;
}

TEST_F(Journey, TablesAreForPeopleAndProgressGoesToStandardError) {
  const Outcome outcome =
      run_program({"eval", model_, "--data", text_, "--eval-window", "64", "--limit-tokens", "640", "--batch", "1"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(outcome.out.starts_with("perplexity ")) << outcome.out;
  EXPECT_NE(outcome.err.find("evaluating: 10/10 (100%)"), std::string::npos) << outcome.err;
  EXPECT_EQ(outcome.err.find('\r'), std::string::npos);

  const std::string terminal =
      run_on_terminal({"eval", model_, "--data", text_, "--eval-window", "64", "--limit-tokens", "6400", "--batch", "1"});
  EXPECT_NE(terminal.find("\r\033[K"), std::string::npos) << terminal;
  EXPECT_NE(terminal.find("[########################] 100%"), std::string::npos) << terminal;
  EXPECT_NE(terminal.find("perplexity "), std::string::npos) << terminal;
}

TEST_F(Journey, JoinedTextsFillAWindow) {
  std::string lines;
  for (int i = 0; i < 20; ++i) lines += json{{"text", simple_text(4 + i % 3)}}.dump() + "\n";
  const std::string texts = folder_.write("texts.jsonl", lines), linear = folder_ / "linear";
  run_json({"convert", model_, "--data", text_, "--attention", "linear", "--distill-tokens", "0", "--finetune", "none",
            "--contexts", "8", "-o", linear});
  const std::vector<std::string> windows = {"inspect", linear, "--data", texts, "--length", "64", "--sequences", "4"};
  auto joined = windows;
  joined.push_back("--join");
  // A row that sees more keys spreads its weight over more of them.
  EXPECT_GT(run_json(joined)["means"]["entropy_softmax"], 1.2 * run_json(windows)["means"]["entropy_softmax"].get<double>());
}

TEST_F(Journey, ControlsOfASoftmaxModelAreAnError) {
  const Outcome outcome = run_program({"eval", model_, "--data", text_, "--controls"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_NE(outcome.err.find("softmax"), std::string::npos);
}

TEST_F(Journey, CtrlCStopsCleanly) {
  const std::string long_text = folder_.write("long.txt", simple_text(200000));
  const Outcome outcome =
      interrupt_program({"eval", model_, "--data", long_text, "--eval-window", "32", "--batch", "1", "--threads", "1"});
  EXPECT_EQ(outcome.status, 130) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.err.find("error"), std::string::npos) << outcome.err;
}

}  // namespace
}  // namespace hedgehog::testing
