// BERT's list of weights, its embeddings and its heads; the blocks are encoder.cc's.
#include "hedgehog/models/bert.h"

#include "hedgehog/base/error.h"
#include "hedgehog/models/activation.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

namespace hedgehog {
namespace {

constexpr EncoderNames kBertNames{{"attention.self.query", "attention.self.key", "attention.self.value",
                                   "attention.output.dense", "intermediate.dense", "output.dense"},
                                  "attention.output.LayerNorm",
                                  "output.LayerNorm"};

const WeightNaming& bert_naming() {
  static const WeightNaming naming{"bert.",
                                   {{"LayerNorm.weight", "LayerNorm.gamma"},
                                    {"LayerNorm.bias", "LayerNorm.beta"},
                                    {"cls.predictions.bias", "cls.predictions.decoder.bias"}}};
  return naming;
}

constexpr std::uint64_t kHeadStream = 1;  // of dropout; the encoder's is 0

void check_ids(const at::Tensor& ids, const char* name, std::int64_t count, const char* hint) {
  check(ids.dim() == 2 && ids.scalar_type() == at::kLong && ids.numel() > 0,
        "{}s should be int64 [batch, length] and not empty", name);
  const auto [least, most] = at::aminmax(ids);
  check(least.item<std::int64_t>() >= 0 && most.item<std::int64_t>() < count, "{}s should be from 0 to {}, found {} to {}{}",
        name, count - 1, least.item<std::int64_t>(), most.item<std::int64_t>(), hint);
}

void check_input(const BertInput& input, const BertConfig& config) {
  check_ids(input.tokens, "token id", config.vocabulary, ": does the tokenizer belong to this model?");
  const std::int64_t length = input.tokens.size(1);
  if (input.token_types.defined()) {
    check_ids(input.token_types, "token type", config.token_types, "");
    check(input.token_types.sizes() == input.tokens.sizes(), "token types should have the shape of tokens, [batch, length]");
  }
  if (input.key_count.defined()) {
    check(input.key_count.dim() == 1 && input.key_count.size(0) == input.tokens.size(0) && !input.key_count.is_floating_point(),
          "key_count should be int32 [{}], one number a text", input.tokens.size(0));
    const auto [least, most] = at::aminmax(input.key_count);
    check(least.item<std::int64_t>() >= 0 && most.item<std::int64_t>() <= length,
          "key_count should be from 0 to the length, {}, found {} to {}", length, least.item<std::int64_t>(),
          most.item<std::int64_t>());
  }
  check(!input.segment_start.defined() || input.segment_start.sizes() == input.tokens.sizes(),
        "segment_start should have the shape of tokens, [batch, length]");
}

}  // namespace

BertConfig bert_config(const nlohmann::json& json) {
  const JsonFields fields(json, "config.json");
  const std::string type = fields.text("model_type");
  check(type == "bert", "{}: \"model_type\" should be bert, found {}", fields.where(), brief(type));
  const std::string positions = fields.text_or("position_embedding_type", "absolute");
  check(positions == "absolute", "{}: \"position_embedding_type\" should be absolute, found {}", fields.where(),
        brief(positions));
  for (const char* key : {"is_decoder", "add_cross_attention"}) {
    check(!fields.boolean_or(key, false), "{}: \"{}\": only encoders are supported", fields.where(), key);
  }
  BertConfig config;
  config.encoder = encoder_config(fields);
  config.encoder.dropout = fields.number_or("hidden_dropout_prob", 0.1, 0, 0.999);
  config.vocabulary = fields.integer("vocab_size", 1, 1 << 24);
  config.max_positions = fields.integer_or("max_position_embeddings", 512, 1, 1 << 24);
  config.token_types = fields.integer_or("type_vocab_size", 2, 1, 1 << 16);
  config.padding_token = fields.integer_or("pad_token_id", json.contains("pad_token_id") ? -1 : 0, -1, config.vocabulary - 1);
  config.classifier_dropout = fields.number_or("classifier_dropout", config.encoder.dropout, 0, 0.999);
  config.pair_classifier = fields.boolean_or("pair_classifier", false);
  config.tied_embeddings = fields.boolean_or("tie_word_embeddings", true);
  return config;
}

Bert::Bert(const Checkpoint& checkpoint, at::ScalarType dtype)
    : config_(bert_config(checkpoint.config)), encoder_(config_.encoder, NormPlace::kBehind) {
  const TensorSource& source = *checkpoint.tensors;
  const auto has = [&](const char* name) { return stored_name(source, bert_naming(), name).has_value(); };
  config_.pooler = has("bert.pooler.dense.weight");
  config_.classifier = has("classifier.weight");
  config_.masked_words = has("cls.predictions.transform.dense.weight");
  visit_weights(weight_loader(source, bert_naming(), dtype));
}

Bert::Bert(const BertConfig& config, std::uint64_t seed, at::ScalarType dtype)
    : config_(config), encoder_(config.encoder, NormPlace::kBehind) {
  visit_weights(weight_maker(seed, config.encoder.initializer_deviation, dtype));
}

void Bert::visit_weights(const WeightVisitor& visit) {
  const std::int64_t hidden = config_.encoder.hidden;
  visit("bert.embeddings.word_embeddings.weight", words_, {config_.vocabulary, hidden});
  visit("bert.embeddings.position_embeddings.weight", positions_, {config_.max_positions, hidden});
  visit("bert.embeddings.token_type_embeddings.weight", types_, {config_.token_types, hidden});
  visit_norm("bert.embeddings.LayerNorm", embedding_norm_, hidden, visit);
  encoder_.visit_weights("bert.encoder.layer.", kBertNames, visit);
  if (config_.pooler) visit_pooler(visit);
  if (config_.classifier) visit_classifier(visit);
  if (!config_.masked_words) return;
  visit_linear("cls.predictions.transform.dense", transform_, hidden, hidden, visit);
  visit_norm("cls.predictions.transform.LayerNorm", transform_norm_, hidden, visit);
  if (!config_.tied_embeddings) visit("cls.predictions.decoder.weight", word_output_.weight, {config_.vocabulary, hidden});
  visit("cls.predictions.bias", word_output_.bias, {config_.vocabulary});
}

void Bert::visit_pooler(const WeightVisitor& visit) {
  visit_linear("bert.pooler.dense", pooler_, config_.encoder.hidden, config_.encoder.hidden, visit);
}

void Bert::visit_classifier(const WeightVisitor& visit) {
  const std::int64_t parts = config_.pair_classifier ? 4 : 1;
  visit_linear("classifier", classifier_, config_.encoder.labels, parts * config_.encoder.hidden, visit);
}

std::vector<std::pair<std::string, at::Tensor*>> Bert::weights() {
  std::vector<std::pair<std::string, at::Tensor*>> result;
  visit_weights(weight_collector(result));
  return result;
}

const EncoderNames& Bert::layer_names() {
  return kBertNames;
}

at::Tensor Bert::embed(const BertInput& input, Dropout& dropout) const {
  check_input(input, config_);
  const std::int64_t length = input.tokens.size(1);
  at::Tensor positions = at::arange(length, at::kLong).unsqueeze(0);
  if (input.segment_start.defined()) positions = positions - input.segment_start;
  const std::int64_t last = positions.max().item<std::int64_t>();
  check(last < config_.max_positions, "the model has positions for {} tokens, found a text of {}: cut it",
        config_.max_positions, last + 1);
  check(positions.min().item<std::int64_t>() >= 0, "segment_start should not lie behind its row");
  const at::Tensor types = input.token_types.defined() ? at::embedding(types_, input.token_types) : types_[0];
  const at::Tensor sum =
      at::embedding(words_, input.tokens, config_.padding_token) + types + at::embedding(positions_, positions);
  const at::Tensor hidden = embedding_norm_.forward(sum, config_.encoder.norm_epsilon).to(compute_dtype.value_or(dtype()));
  return dropout(hidden, config_.encoder.dropout);
}

at::Tensor Bert::forward(const BertInput& input, const LayerVisitor& visit) const {
  Dropout dropout(dropout_seed);
  const EncoderPass pass{
      .segment_start = input.segment_start, .key_count = input.key_count, .control = control, .visit = visit};
  return encoder_.forward(embed(input, dropout), pass, dropout);
}

at::Tensor Bert::forward_visiting(const BertInput& input, bool softmax_only, const LayerVisitor& visit) const {
  const at::NoGradGuard no_gradients;
  Dropout none;
  const EncoderPass pass{.segment_start = input.segment_start,
                         .key_count = input.key_count,
                         .control = softmax_only ? AttentionControl::kNone : control,
                         .softmax_only = softmax_only,
                         .visit = visit};
  return encoder_.forward(embed(input, none), pass, none);
}

at::Tensor Bert::pooled(const at::Tensor& hidden) const {
  check(config_.pooler, "this model has no pooler: start_classifier() makes one");
  return at::tanh(pooler_.forward(hidden.select(1, 0).to(dtype())));
}

at::Tensor Bert::class_logits(const at::Tensor& hidden) const {
  check(config_.classifier, "this model has no classifier: start_classifier() makes one");
  Dropout dropout(dropout_seed, kHeadStream);
  at::Tensor features = pooled(hidden);
  if (config_.pair_classifier) {
    check(features.size(0) % 2 == 0, "a classifier of pairs needs an even number of texts, found {}", features.size(0));
    const auto pair = features.chunk(2);
    features = at::cat({pair[0], pair[1], pair[0] * pair[1], pair[0] - pair[1]}, 1);
  }
  return classifier_.forward(dropout(features, config_.classifier_dropout));
}

at::Tensor Bert::masked_word_logits(const at::Tensor& hidden) const {
  check(config_.masked_words, "this model has no head for masked words (cls.predictions)");
  const at::Tensor transformed =
      transform_norm_.forward(activate(transform_.forward(hidden), config_.encoder.activation), config_.encoder.norm_epsilon);
  Linear output = word_output_;
  if (config_.tied_embeddings) output.weight = words_;
  return output.forward(transformed);
}

void Bert::start_classifier(std::int64_t labels, std::uint64_t seed) {
  check(labels >= 1, "a classifier should have at least one label, found {}", labels);
  const WeightVisitor make = weight_maker(seed, config_.encoder.initializer_deviation, dtype());
  if (!config_.pooler) visit_pooler(make);
  config_.encoder.labels = labels;
  visit_classifier(make);
  config_.pooler = config_.classifier = true;
}

Bert Bert::teacher() const {
  Bert copy = *this;
  copy.encoder_.become_teacher();
  copy.dropout_seed = std::nullopt;
  copy.control = AttentionControl::kNone;
  return copy;
}

}  // namespace hedgehog
