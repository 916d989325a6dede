// Adapters and exported directories: read back equal, refused with a clear error, and under damage only ever an Error.
#include "hedgehog/models/adapter.h"

#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/error.h"
#include "model_support.h"
#include "tests/support/mutator.h"

#include <fstream>

namespace hedgehog {
namespace {

using nlohmann::json;
using testing::fixture;
using testing::random_normal;
using testing::relative_difference;
using testing::TemporaryFolder;

AttentionConfig hybrid() {
  AttentionConfig config;
  config.kind = AttentionKind::kHybrid;
  config.window = 4;
  config.sinks = 1;
  config.gate = true;
  return config;
}

at::Tensor tokens_of(const std::string& name) {
  return SafetensorsFile(fixture(name) / "logits.expected").load("tokens");
}

// Everything that training may change, changed.
void train(Decoder& model, bool full_weights) {
  const at::NoGradGuard no_gradients;
  std::uint64_t seed = 1;
  for (DecoderLayer& layer : model.layers()) {
    for (Linear* linear : {&layer.q, &layer.v, &layer.o}) {
      linear->add_lora(2, 4, seed);
      linear->lora_b.copy_(random_normal(linear->lora_b.sizes(), ++seed) * 0.2);
    }
  }
  for (auto& [name, tensor] : adapter_tensors(model, full_weights)) {
    *tensor = *tensor + random_normal(tensor->sizes(), ++seed) * 0.05;
  }
}

at::Tensor hidden_of(const Decoder& model, const at::Tensor& tokens) {
  const at::NoGradGuard no_gradients;
  return model.forward(tokens);
}

void copy_folder(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::filesystem::create_directories(to.parent_path());
  std::filesystem::copy(from, to, std::filesystem::copy_options::recursive);
}

template <typename Function>
std::string error_of(const Function& function) {
  try {
    function();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(AdapterTest, AttentionConfigGoesThroughJson) {
  AttentionConfig config = hybrid();
  config.feature_dim = 24;
  config.feature_map = "hedgehog-exp";
  EXPECT_EQ(attention_config(to_json(config)), config);
  EXPECT_EQ(attention_config(to_json(AttentionConfig{})), AttentionConfig{});
  EXPECT_THROW(attention_config({{"kind", "magic"}}), Error);
  EXPECT_THROW(attention_config({{"kind", "hybrid"}, {"window", 1LL << 40}}), Error);
  for (const json& heads : {json({1, 1}), json({2, 1}), json({"1"}), json(1)}) {
    EXPECT_THROW(attention_config({{"kind", "linear"}, {"softmax_heads", heads}}), Error) << heads;
  }
}

TEST(AdapterTest, WrittenAndReadGivesTheSameModel) {
  for (const bool full_weights : {false, true}) {
    SCOPED_TRACE(full_weights);
    const TemporaryFolder folder;
    LoadedModel base = load_model(fixture("llama_grouped"), at::kFloat);
    EXPECT_TRUE(base.hedgehog.is_null());
    base.model.set_attention(hybrid(), {{1}});
    train(base.model, full_weights);
    const at::Tensor expected = hidden_of(base.model, tokens_of("llama_grouped"));
    const json description{{"base", {{"path", fixture("llama_grouped").string()}}}, {"recipe", {{"name", "test"}}}};
    write_adapter(folder.path() / "adapter", base.model, full_weights, description);

    const LoadedModel read = load_model(folder.path() / "adapter", at::kFloat, LoraForm::kSeparate);
    EXPECT_TRUE(at::equal(hidden_of(read.model, tokens_of("llama_grouped")), expected));
    EXPECT_EQ(read.hedgehog["recipe"]["name"], "test");
    EXPECT_EQ(read.hedgehog["base"]["sha256"], checkpoint_sha256(fixture("llama_grouped")));
    EXPECT_EQ(read.model.layers()[1].attention.config().kind, AttentionKind::kSoftmax);
    EXPECT_EQ(read.model.layers()[0].attention.config(), hybrid());

    base.model.set_attention(hybrid(), {{0, 1}});
    write_adapter(folder.path() / "mixed", base.model, full_weights, description);
    const LoadedModel mixed = load_model(folder.path() / "mixed", at::kFloat, LoraForm::kSeparate);
    EXPECT_EQ(mixed.model.layers()[0].attention.config().softmax_heads, std::vector<std::int64_t>{1});
    EXPECT_EQ(mixed.model.layers()[1].attention.config(), hybrid());
    EXPECT_TRUE(
        at::equal(hidden_of(mixed.model, tokens_of("llama_grouped")), hidden_of(base.model, tokens_of("llama_grouped"))));
    for (const char* file : {"hedgehog.json", "adapter.safetensors"}) {
      EXPECT_TRUE(std::filesystem::exists(folder.path() / "adapter" / file));
    }
  }
}

TEST(AdapterTest, FindsABaseThatMovedWithIt) {
  const TemporaryFolder folder;
  copy_folder(fixture("llama"), folder.path() / "old/base");
  LoadedModel base = load_model(folder.path() / "old/base", at::kFloat);
  write_adapter(folder.path() / "old/adapter", base.model, false,
                {{"base", {{"path", (folder.path() / "old/base").string()}}}});
  std::filesystem::rename(folder.path() / "old", folder.path() / "new");
  EXPECT_EQ(load_model(folder.path() / "new/adapter", at::kFloat).checkpoint.config["model_type"], "llama");
  std::filesystem::remove_all(folder.path() / "new/base");
  const std::string message = error_of([&] { load_model(folder.path() / "new/adapter", at::kFloat); });
  EXPECT_NE(message.find("base"), std::string::npos) << message;
}

TEST(AdapterTest, RefusesAnotherBase) {
  const TemporaryFolder folder;
  LoadedModel base = load_model(fixture("llama"), at::kFloat);
  write_adapter(folder.path(), base.model, false, {{"base", {{"path", fixture("llama").string()}}}});
  LoadedModel other = load_model(fixture("qwen3"), at::kFloat);
  EXPECT_NE(
      error_of([&] { read_adapter(folder.path(), other.checkpoint, LoraForm::kMerged, other.model); }).find("another model"),
      std::string::npos);
  LoadedModel same_shape = load_model(fixture("llama_rope_linear"), at::kFloat);
  EXPECT_NE(
      error_of([&] { read_adapter(folder.path(), same_shape.checkpoint, LoraForm::kMerged, same_shape.model); }).find("sha256"),
      std::string::npos);
}

TEST(AdapterTest, NamesMissingMisshapenAndUnknownTensors) {
  const TemporaryFolder folder;
  LoadedModel base = load_model(fixture("llama"), at::kFloat);
  base.model.set_attention(hybrid());
  train(base.model, false);
  write_adapter(folder.path(), base.model, false, {{"base", {{"path", fixture("llama").string()}}}});
  const std::filesystem::path file = folder.path() / "adapter.safetensors";
  NamedTensors all;
  {
    const SafetensorsFile source(file);
    for (const TensorInfo& info : source.tensors()) all.emplace_back(info.name, source.load(info.name));
  }
  const auto read_with = [&](const NamedTensors& tensors) {
    write_safetensors(file, tensors);
    return error_of([&] { read_adapter(folder.path(), base.checkpoint, LoraForm::kSeparate, base.model); });
  };
  EXPECT_EQ(read_with(all), "");
  NamedTensors fewer = all, misshapen = all, more = all;
  fewer.erase(fewer.begin());
  EXPECT_NE(read_with(fewer).find(all.front().first), std::string::npos);
  misshapen.back().second = at::zeros({3, 3});
  EXPECT_NE(read_with(misshapen).find(all.back().first), std::string::npos);
  more.emplace_back("layers.7.q.lora_a", at::zeros({1}));
  EXPECT_NE(read_with(more).find("layers.7.q.lora_a"), std::string::npos);
}

TEST(ExportTest, LoadsAgainWithEqualResults) {
  for (const char* name : {"llama_grouped", "llama_tied", "qwen3"}) {
    SCOPED_TRACE(name);
    const TemporaryFolder folder;
    LoadedModel loaded = load_model(fixture(name), at::kFloat);
    loaded.model.set_attention(hybrid(), {{0}});
    train(loaded.model, false);
    loaded.hedgehog = {{"recipe", {{"name", "test"}}}};
    const at::Tensor expected = hidden_of(loaded.model, tokens_of(name));
    export_model(folder.path() / "exported", loaded);
    EXPECT_TRUE(at::equal(hidden_of(loaded.model, tokens_of(name)), expected)) << "exporting must not change the model";

    LoadedModel read = load_model(folder.path() / "exported", at::kFloat);
    EXPECT_LE(relative_difference(hidden_of(read.model, tokens_of(name)), expected), 1e-5);
    EXPECT_EQ(read.hedgehog["recipe"]["name"], "test");
    EXPECT_FALSE(read.model.layers()[0].q.lora_a.defined());
    EXPECT_EQ(read.model.layers()[1].attention.config(), hybrid());
    // Once merged, another round changes no bit; and an adapter over the exported model is read back too.
    export_model(folder.path() / "again", read);
    EXPECT_TRUE(at::equal(hidden_of(load_model(folder.path() / "again", at::kFloat).model, tokens_of(name)),
                          hidden_of(read.model, tokens_of(name))));
    train(read.model, false);
    write_adapter(folder.path() / "adapter", read.model, false, {{"base", (folder.path() / "exported").string()}});
    const LoadedModel over = load_model(folder.path() / "adapter", at::kFloat, LoraForm::kSeparate);
    EXPECT_TRUE(at::equal(hidden_of(over.model, tokens_of(name)), hidden_of(read.model, tokens_of(name))));
  }
}

TEST(ExportTest, GivesWhatItsAdapterGivesToTheLastBit) {
  for (const bool full_weights : {false, true}) {
    SCOPED_TRACE(full_weights);
    const TemporaryFolder folder;
    LoadedModel trained = load_model(fixture("llama_grouped"), at::kFloat);
    trained.model.set_attention(hybrid());
    train(trained.model, full_weights);
    write_adapter(folder.path() / "adapter", trained.model, full_weights,
                  {{"base", {{"path", fixture("llama_grouped").string()}}}});
    const auto hidden = [&](const char* name, at::ScalarType dtype) {
      return hidden_of(load_model(folder.path() / name, dtype).model, tokens_of("llama_grouped"));
    };
    for (const at::ScalarType stored : {at::kFloat, at::kBFloat16}) {
      LoadedModel loaded = load_model(folder.path() / "adapter", stored);
      export_model(folder.path() / "exported", loaded);
      EXPECT_TRUE(at::equal(hidden("exported", stored), hidden("adapter", stored))) << stored;
      EXPECT_TRUE(at::equal(hidden("exported", at::kBFloat16), hidden("adapter", at::kBFloat16))) << stored;
    }
    EXPECT_LE(relative_difference(hidden("adapter", at::kFloat), hidden_of(trained.model, tokens_of("llama_grouped"))), 1e-5);
  }
}

TEST(ExportTest, NeverWritesOverTheBase) {
  const TemporaryFolder folder;
  copy_folder(fixture("llama"), folder.path() / "base");
  LoadedModel loaded = load_model(folder.path() / "base", at::kFloat);
  EXPECT_THROW(export_model(folder.path() / "base", loaded), Error);
}

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(stream), {});
}

void put_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

TEST(HostileAdapterTest, DamageIsAlwaysAnError) {
  const TemporaryFolder folder;
  const std::filesystem::path directory = folder.path() / "adapter";
  LoadedModel base = load_model(fixture("llama"), at::kFloat);
  base.model.set_attention(hybrid(), {{1}});
  train(base.model, false);
  write_adapter(directory, base.model, false, {{"base", {{"path", fixture("llama").string()}}}});
  for (const char* name : {"hedgehog.json", "adapter.safetensors"}) {
    const std::string original = bytes_of(directory / name);
    testing::Mutator mutator(17);
    int refused = 0;
    for (int i = 0; i < 700; ++i) {
      put_bytes(directory / name, mutator.mutate(original));
      try {
        load_model(directory, at::kFloat);
      } catch (const Error& error) {
        ++refused;
      } catch (const std::exception& error) {
        FAIL() << name << ", mutation " << i << " (" << mutator.what() << "): " << error.what();
      }
    }
    EXPECT_GT(refused, 200) << name;  // the rest changed a digit or a weight, which is another valid adapter
    put_bytes(directory / name, original);
  }
}

TEST(HostileAdapterTest, DamagedConfigOfAModelIsAlwaysAnError) {
  const TemporaryFolder folder;
  LoadedModel loaded = load_model(fixture("llama_rope_llama3"), at::kFloat);
  loaded.model.set_attention(hybrid());
  export_model(folder.path() / "model", loaded);
  const std::filesystem::path file = folder.path() / "model/config.json";
  const std::string original = bytes_of(file);
  testing::Mutator mutator(18);
  const at::Tensor tokens = tokens_of("llama_rope_llama3");
  for (int i = 0; i < 1000; ++i) {
    put_bytes(file, mutator.mutate(original));
    try {
      hidden_of(load_model(folder.path() / "model", at::kFloat).model, tokens);
    } catch (const Error& error) {
    } catch (const std::exception& error) {
      FAIL() << "mutation " << i << " (" << mutator.what() << "): " << error.what();
    }
  }
}

}  // namespace
}  // namespace hedgehog
