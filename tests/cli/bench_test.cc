// hedgehog bench as a user types it, on tiny lengths: the table, JSON, the picture, other programs' times, refusals.
#include "hedgehog/base/atomic_file.h"
#include "tests/cli/program.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>

namespace hedgehog::testing {
namespace {

using nlohmann::json;

Outcome bench(std::vector<std::string> more) {
  more.insert(more.begin(), {"bench", "--threads", "1", "--seconds", "0.001", "--rounds", "1"});
  return run_program(more);
}

/// One dtype, one thread: what is quick.
std::vector<std::string> quick(std::vector<std::string> more) {
  more.insert(more.begin(), {"--dtype", "fp32", "--shape", "one-head"});
  return more;
}

json bench_json(const std::vector<std::string>& more) {
  auto arguments = quick(more);
  arguments.push_back("--json");
  const Outcome outcome = bench(arguments);
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  return json::parse(outcome.out, nullptr, false);
}

const json& only(const json& list, const std::string& key, const std::string& value) {
  static const json kNone;
  const json* found = &kNone;
  for (const json& item : list) {
    if (item.value(key, "") != value) continue;
    EXPECT_TRUE(found->is_null()) << "twice: " << value;
    found = &item;
  }
  EXPECT_FALSE(found->is_null()) << "missing: " << value << " in " << list;
  return *found;
}

/// Elements are closed in order, attributes are quoted, and no text holds a bare < or &.
void expect_well_formed(const std::string& xml) {
  std::vector<std::string> open;
  std::size_t at = 0, roots = 0;
  while (at < xml.size()) {
    if (xml[at] == '&') {
      const std::size_t end = xml.find(';', at);
      ASSERT_TRUE(end != std::string::npos && end - at < 8) << xml.substr(at, 40);
    }
    if (xml[at++] != '<') continue;
    const std::size_t end = xml.find('>', at);
    ASSERT_NE(end, std::string::npos);
    const std::string tag = xml.substr(at, end - at);
    ASSERT_EQ(tag.find('<'), std::string::npos) << tag;
    ASSERT_EQ(std::count(tag.begin(), tag.end(), '"') % 2, 0) << tag;
    at = end + 1;
    if (tag.starts_with('/')) {
      ASSERT_FALSE(open.empty()) << tag;
      ASSERT_EQ(open.back(), tag.substr(1));
      open.pop_back();
    } else if (!tag.ends_with('/')) {
      roots += open.empty() ? 1 : 0;
      open.push_back(tag.substr(0, tag.find(' ')));
    }
  }
  EXPECT_TRUE(open.empty()) << open.back() << " is not closed";
  EXPECT_EQ(roots, 1u);
}

TEST(Bench, TheTableHasARowForEachLength) {
  const Outcome outcome = bench(quick({"--lengths", "64,128", "--what", "forward", "train", "distill", "decode"}));
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  for (const char* text : {"product fp32", "copy", "forward, fp32", "train, fp32", "distill, fp32", "decode, fp32", "sdpa ms",
                           "composed ms", "eager ms", "×", "GFLOP/s", "GB/s"}) {
    EXPECT_NE(outcome.out.find(text), std::string::npos) << text << "\n" << outcome.out;
  }
  std::size_t rows = 0;
  for (std::size_t at = 0; (at = outcome.out.find("\n 64 ", at)) != std::string::npos; ++at) ++rows;
  EXPECT_EQ(rows, 4u) << outcome.out;
}

TEST(Bench, JsonHasItsFieldsAndPositiveNumbers) {
  const json result = bench_json({"--lengths", "64", "200", "--limit", "60"});
  EXPECT_EQ(result["command"], "bench");
  EXPECT_EQ(result["complete"], true);
  EXPECT_EQ(result["shape"]["name"], "one-head");
  EXPECT_EQ(result["machine"]["threads"], 1);
  EXPECT_FALSE(result["machine"]["isa"].get<std::string>().empty());
  EXPECT_GT(result["machine"]["product_flops_per_second"]["fp32"], 1e6);
  EXPECT_GT(result["machine"]["copy_bytes_per_second"], 1e6);
  ASSERT_EQ(result["cases"].size(), 8u);
  for (const json& one : result["cases"]) {
    EXPECT_EQ(one["dtype"], "fp32");
    EXPECT_GT(one["milliseconds"], 0.0) << one;
    EXPECT_GT(one["tokens_per_second"], 0.0) << one;
    EXPECT_GT(one["flops_per_second"], 0.0) << one;
    EXPECT_NEAR(one["flops_per_second"].get<double>() * one["milliseconds"].get<double>() / 1e3 / one["flops"].get<double>(), 1,
                1e-6);
    EXPECT_GT(one["share_of_product"], 0.0) << one;
    EXPECT_EQ(one.contains("bytes_per_second"), one["what"] == "decode") << one;
    for (const json& other : one["opponents"]) {
      if (other["milliseconds"].is_null()) continue;
      EXPECT_NEAR(other["ratio"].get<double>() * one["milliseconds"].get<double>() / other["milliseconds"].get<double>(), 1,
                  1e-6);
    }
    const bool chunked = one["n"] == 64 && (one["what"] == "forward" || one["what"] == "train");
    EXPECT_EQ(one["opponents"].size(), chunked ? 2u : 1u) << "200 is no multiple of a chunk: " << one;
  }
}

TEST(Bench, OtherMapsStandBesideInEveryWork) {
  const json result = bench_json({"--lengths", "100", "--what", "forward,train,distill,decode", "--maps", "t2r,taylor,exp-2"});
  ASSERT_EQ(result["cases"].size(), 4u);
  for (const json& one : result["cases"]) {
    std::vector<std::string> maps;
    for (const json& other : one["opponents"]) {
      if (other["who"] == "sdpa" || other["who"] == "composed" || other["who"] == "eager") continue;
      maps.push_back(other["who"]);
      EXPECT_GT(other["milliseconds"], 0.0) << one;
    }
    const std::vector<std::string> expected =
        one["what"] == "distill" ? std::vector<std::string>{"t2r"} : std::vector<std::string>{"t2r", "taylor", "exp-2"};
    EXPECT_EQ(maps, expected) << one["what"];
  }
  const Outcome unknown = bench(quick({"--maps", "tanh"}));
  EXPECT_EQ(unknown.status, 2);
  EXPECT_NE(unknown.err.find("feature map \"tanh\" is not known"), std::string::npos) << unknown.err;
}

TEST(Bench, DecodingKeepsItsMemoryWhileACacheGrows) {
  const json result = bench_json({"--lengths", "1024,16384", "--what", "decode"});
  const json &early = result["cases"][0], &late = result["cases"][1];
  if (early["peak_memory_bytes"].is_null()) GTEST_SKIP() << "skipped: this kernel does not let the peak of memory be reset";
  constexpr double kState = 4 * 128 * 65, kCache = 2 * 4 * 64;
  EXPECT_GE(early["peak_memory_bytes"], kState);
  EXPECT_LT(late["peak_memory_bytes"], kState + (1 << 20));
  EXPECT_GE(late["opponents"][0]["peak_memory_bytes"], 16384 * kCache);
}

TEST(Bench, QuadraticMemoryIsSeen) {
  const json one = bench_json({"--lengths", "2048", "--what", "distill", "--limit", "60"})["cases"][0];
  if (one["peak_memory_bytes"].is_null()) GTEST_SKIP() << "skipped: this kernel does not let the peak of memory be reset";
  const json& eager = only(one["opponents"], "who", "eager");
  EXPECT_GT(eager["peak_memory_bytes"], 4.0 * 2048 * 2048);
  EXPECT_LT(one["peak_memory_bytes"], 4.0 * 2048 * 2048);
}

TEST(Bench, WhatWouldTakeTooLongIsLeftOut) {
  const json result = bench_json({"--lengths", "64", "8192", "--what", "forward", "--limit", "0.0001"});
  const json& long_one = result["cases"][1];
  EXPECT_TRUE(only(long_one["opponents"], "who", "sdpa")["milliseconds"].is_null());
  EXPECT_TRUE(only(long_one["opponents"], "who", "sdpa")["ratio"].is_null());
  const Outcome outcome = bench(quick({"--lengths", "8192", "--what", "forward", "--limit", "0.0001"}));
  EXPECT_NE(outcome.out.find(" - "), std::string::npos) << outcome.out;
}

TEST(Bench, ABidirectionalShapeIsMeasuredWhole) {
  const Outcome outcome = bench({"--shape", "bert", "--dtype", "fp32", "--lengths", "96", "--batch", "2", "--json", "-"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const json result = json::parse(outcome.out);
  EXPECT_EQ(result["cases"].size(), 2u) << "forward and train";
  EXPECT_GT(only(result["cases"][0]["opponents"], "who", "composed")["milliseconds"], 0.0);
}

TEST(Bench, AModelIsMeasuredInBothForms) {
  const TemporaryFolder folder;
  write_tiny_model(folder / "model");
  const json result = bench_json({"--model", folder / "model", "--lengths", "16,600"});
  ASSERT_EQ(result["cases"].size(), 4u);
  for (const json& one : result["cases"]) {
    EXPECT_GT(one["tokens_per_second"], 0.0) << one;
    EXPECT_GT(only(one["opponents"], "who", "softmax")["milliseconds"], 0.0);
  }
  const json &early = result["cases"][1], &late = result["cases"][3];
  EXPECT_EQ(late["what"], "generate");
  EXPECT_EQ(early["peak_memory_bytes"], late["peak_memory_bytes"]) << "the state does not grow";
  EXPECT_LT(early["opponents"][0]["peak_memory_bytes"], late["opponents"][0]["peak_memory_bytes"]);
}

TEST(Bench, OtherProgramsStandBesideWithTheirRatio) {
  const TemporaryFolder folder;
  const std::string file = folder.write(
      "others.json",
      R"({"opponents": [{"who": "fast <&> \"code\"", "what": "forward", "n": 128, "dtype": "fp32", "milliseconds": 1500},
          {"who": "elsewhere", "what": "forward", "n": 999, "dtype": "fp32", "milliseconds": 1}]})");
  const std::string picture = folder / "plot.svg", numbers = folder / "bench.json";
  const Outcome outcome =
      bench(quick({"--lengths", "64,128", "--what", "forward", "--opponents", file, "--plot", picture, "--json", numbers}));
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("1 of 2 measurements"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.out.find("fast <&>"), std::string::npos) << outcome.out;
  EXPECT_EQ(outcome.out.find("elsewhere"), std::string::npos) << outcome.out;
  const json result = json::parse(read_text_file(numbers));
  const json& other = only(result["cases"][1]["opponents"], "who", "fast <&> \"code\"");
  EXPECT_DOUBLE_EQ(other["milliseconds"], 1500);
  EXPECT_NEAR(other["ratio"].get<double>(), 1500 / result["cases"][1]["milliseconds"].get<double>(), 1e-6);

  const std::string svg = read_text_file(picture);
  expect_well_formed(svg);
  for (const char* text : {"hedgehog", "sdpa", "composed", "fast &lt;&amp;&gt;", "n, tokens", "ms", "MiB", ">128<"}) {
    EXPECT_NE(svg.find(text), std::string::npos) << text;
  }
}

TEST(Bench, NothingHalfWrittenIsLeftByAnInterrupt) {
  const TemporaryFolder folder;
  const std::string numbers = folder / "bench.json";
  const Outcome outcome = interrupt_program({"bench", "--threads", "1", "--shape", "one-head", "--dtype", "fp32", "--lengths",
                                             "64", "--seconds", "20", "--json", numbers});
  EXPECT_EQ(outcome.status, 130) << outcome.err;
  EXPECT_EQ(json::parse(read_text_file(numbers))["complete"], false);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder / ""), {}), 1) << "no temporary file is left";
}

/// The one line of a refusal.
std::string refusal(const std::vector<std::string>& arguments, int status) {
  const Outcome outcome = bench(arguments);
  EXPECT_EQ(outcome.status, status) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  EXPECT_TRUE(outcome.err.starts_with("hedgehog: error: ")) << outcome.err;
  return outcome.err;
}

TEST(Bench, WrongUsageIsRefused) {
  EXPECT_NE(refusal({"--shape", "gpt"}, 2).find("gpt"), std::string::npos);
  EXPECT_NE(refusal({"--what", "fly"}, 2).find("fly"), std::string::npos);
  EXPECT_NE(refusal({"--dtype", "fp8"}, 2).find("fp8"), std::string::npos);
  EXPECT_NE(refusal({"--lengths", "0"}, 2).find("lengths"), std::string::npos);
  EXPECT_NE(refusal({"--lengths", "64,-1"}, 2).find("lengths"), std::string::npos);
  refusal({"--batch", "0"}, 2);
  refusal({"--rounds", "0"}, 2);
  refusal({"--limit", "0"}, 2);
}

TEST(Bench, WhatCannotBeMeasuredIsRefused) {
  EXPECT_NE(refusal(quick({"--lengths", "1000000000", "--batch", "64"}), 1).find("GiB"), std::string::npos);
  EXPECT_NE(refusal(quick({"--what", "prefill"}), 1).find("--model"), std::string::npos);
  EXPECT_NE(refusal(quick({"--what", "forward", "--model", "x"}), 1).find("--model"), std::string::npos);
  EXPECT_NE(refusal({"--shape", "bert", "--what", "decode"}, 1).find("bidirectional"), std::string::npos);
  EXPECT_NE(refusal(quick({"--lengths", "64", "--json", "/no/such/folder/x.json"}), 1).find("/no/such/folder"),
            std::string::npos);
}

TEST(Bench, ABadFileOfOpponentsIsRefused) {
  const TemporaryFolder folder;
  const auto refused = [&](const std::string& text) {
    return refusal(quick({"--opponents", folder.write("others.json", text)}), 1);
  };
  EXPECT_NE(refusal(quick({"--opponents", folder / "absent.json"}), 1).find("absent.json"), std::string::npos);
  EXPECT_NE(refused("not JSON").find("others.json"), std::string::npos);
  EXPECT_NE(refused("{}").find("\"opponents\""), std::string::npos);
  const std::string entry = R"({"who": "x", "what": "forward", "n": 64, "dtype": "fp32", "milliseconds": 1})";
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = entry;
    changed.replace(changed.find(from), from.size(), to);
    return refused("{\"opponents\": [" + entry + ", " + changed + "]}");
  };
  EXPECT_NE(with("\"forward\"", "\"fly\"").find("opponents[1]"), std::string::npos);
  EXPECT_NE(with("64", "0").find("\"n\""), std::string::npos);
  EXPECT_NE(with("\"fp32\"", "\"fp8\"").find("fp8"), std::string::npos);
  EXPECT_NE(with(": 1}", ": -1}").find("milliseconds"), std::string::npos);
  EXPECT_NE(with(": 1}", ": \"1\"}").find("milliseconds"), std::string::npos);
  EXPECT_NE(with("\"x\"", "\"hedgehog\"").find("who"), std::string::npos);
  EXPECT_NE(with("\"x\"", "\"\\u001b[2J\"").find("who"), std::string::npos);
}

}  // namespace
}  // namespace hedgehog::testing
