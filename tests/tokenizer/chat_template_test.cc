// Chat templates against jinja2 with transformers' settings (tests/fixtures/tokenizer/make_chat_templates.py), and hostile
// templates.
#include "hedgehog/tokenizer/chat_template.h"

#include "hedgehog/base/error.h"
#include "hedgehog/tokenizer/unicode.h"
#include "tests/support/mutator.h"
#include "tests/tokenizer/fixtures.h"

#include <gtest/gtest.h>

namespace hedgehog {
namespace {

using nlohmann::json;

std::vector<ChatMessage> conversation(const json& messages) {
  std::vector<ChatMessage> result;
  for (const json& message : messages) {
    result.push_back({message["role"], message["content"]});
  }
  return result;
}

// An expected null stands for an error.
void expect_render(const std::string& source, const std::vector<ChatMessage>& messages, bool generation, const json& expected,
                   const std::string& where) {
  try {
    const std::string found = render_chat_template(source, messages, generation, "<s>", "</s>");
    if (expected.is_null()) {
      ADD_FAILURE() << where << ": expected an error, found " << found;
    } else {
      EXPECT_EQ(found, expected.get<std::string>()) << where;
    }
  } catch (const Error& error) {
    EXPECT_TRUE(expected.is_null()) << where << ": " << error.what();
    EXPECT_NE(std::string(error.what()).find("line "), std::string::npos) << error.what();
  }
}

void expect_renders(const std::string& source, const json& renders, const json& conversations, const std::string& name) {
  for (const json& run : renders) {
    expect_render(source, conversation(conversations[run["messages"].get<std::size_t>()]), run["generation"], run["expected"],
                  name + ", conversation " + run["messages"].dump());
  }
}

TEST(ChatTemplateTest, FamiliesEqualJinja) {
  const json fixture = testing::read_fixture("chat_templates.json");
  for (const json& entry : fixture["templates"]) {
    expect_renders(entry["template"], entry["renders"], fixture["conversations"], entry["name"]);
  }
}

TEST(ChatTemplateTest, SnippetsEqualJinja) {
  const json fixture = testing::read_fixture("chat_templates.json");
  ASSERT_GT(fixture["snippets"].size(), 60U);
  for (const json& snippet : fixture["snippets"]) {
    expect_render(snippet["template"], conversation(fixture["conversations"][2]), true, snippet["expected"],
                  snippet["template"]);
  }
}

TEST(ChatTemplateTest, SmolLm2EqualsJinja) {
  const auto path = testing::smollm2();
  if (!path) {
    GTEST_SKIP() << "skipped: no data: SmolLM2-135M-Instruct.Q4_1.gguf is not in .deps/models or HEDGEHOG_MODELS";
  }
  const std::string source = open_checkpoint(*path).tokenizer.chat_template;
  const json fixture = testing::read_fixture("chat_templates.json");
  ASSERT_EQ(fixture["smollm2"].size(), 2 * fixture["conversations"].size());
  expect_renders(source, fixture["smollm2"], fixture["conversations"], "SmolLM2");
}

std::string error_of(const std::string& source) {
  try {
    render_chat_template(source, {{"user", "hi"}}, false);
    return "no error";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(ChatTemplateTest, ErrorsCarryTheLine) {
  EXPECT_EQ(error_of("a\nb\n{{ raise_exception('No.') }}"), "chat template, line 3: the template refuses: No.");
  EXPECT_EQ(error_of("\n\n{% frobnicate %}"), "chat template, line 3: unknown block 'frobnicate'");
  EXPECT_EQ(error_of("x\n{{ missing.attribute }}"), "chat template, line 2: 'missing' is undefined");
  EXPECT_EQ(error_of("{% if true %}\nx\n"), "chat template, line 2: 'endif' is missing");
  EXPECT_EQ(error_of("{{ 'a'\n| nothing }}"), "chat template, line 2: unknown filter 'nothing'");
}

std::string repeated(const std::string& unit, int count) {
  std::string text;
  for (; count > 0; --count) {
    text += unit;
  }
  return text;
}

TEST(ChatTemplateTest, HostileTemplatesEnd) {
  const std::string nested_loops = repeated("{% for i in range(100000) %}", 6) + "x" + repeated("{% endfor %}", 6);
  const std::string growth =
      "{% set ns = namespace(s='ab') %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}";
  const std::string list_growth =
      "{% set ns = namespace(s=[1]) %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}";
  const std::string nesting =
      "{% set ns = namespace(s=[]) %}{% for i in range(100000) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s }}";
  // Few steps, 10^12 items.
  const std::string thousands =
      "{% set a = [0] * 1000 %}{% set b = [a] * 1000 %}{% set c = [b] * 1000 %}{% set d = [c] * 1000 %}";
  const std::string sources[] = {
      nested_loops,
      growth,
      list_growth,
      nesting,
      "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
      "{% set ns = namespace() %}{% set ns.x = [ns] %}",
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% macro m(n) %}{{ m(n + 1) }}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
      "{{ 'x' * 1000000000 }}",
      "{{ 'x' * 10000000000000000000 }}",
      "{{ 9223372036854775807 + 1 }}",
      "{{ -9223372036854775807 * 2 }}",
      "{{ 2 ** 64 }}",
      "{{ (0 - 9223372036854775807 - 1) // -1 }}",
      "{{ " + repeated("(", 100000),
      "{{ " + repeated("not ", 100000) + "1 }}",
      "{{ " + repeated("-", 100000) + "1 }}",
      "{{ 1" + repeated(" + 1", 100000) + " }}",
      "{{ x" + repeated(".y", 100000) + " }}",
      "{{ x" + repeated("|trim", 100000) + " }}",
      "{{ " + repeated("[", 100000),
      "{{ 1" + repeated(" if 1 else 1", 50000) + " }}",
      repeated("{% if true %}", 70000),
      repeated("{% for x in 'a' %}", 50000),
      "{% if true %}" + repeated("{% elif true %}", 50000),
      std::string(2 << 20, 'x'),
      "{{ 'a' | indent(100000000) }}",
      "{{ ('a' * 60000000) | replace('a', 'bbbbbbbbbbbbbbbbbbbb') }}",
      "{{ range(0, 9223372036854775807) }}",
      "{% for i in range(100000) %}{% set x = 'abcdefgh' * 8000000 %}{% endfor %}",
      thousands + "{{ d }}",
      thousands + "{{ d | tojson }}",
      thousands + "{{ d == d }}",
      "{{ range(100000) | list | map('string') | unique | length }}",
      "{% set a = [[0] * 1000] * 1000 %}{% for i in range(100000) %}{% set x = a == a %}{% endfor %}",
      "{% set a = [0] * 200000 %}{{ " + repeated("[", 30) + "a" + repeated("]", 30) + " | tojson(indent=16) }}",
  };
  for (const std::string& source : sources) {
    EXPECT_NE(error_of(source), "no error") << source.substr(0, 100);
  }
}

TEST(ChatTemplateTest, DamagedTemplatesAreErrorsOrText) {
  const json fixture = testing::read_fixture("chat_templates.json");
  testing::Mutator mutator(77);
  int rendered = 0;
  for (int i = 0; i < 1500; ++i) {
    const auto& list = i % 2 == 0 ? fixture["templates"] : fixture["snippets"];
    const std::string source = list[static_cast<std::size_t>(i / 2) % list.size()]["template"];
    const std::string damaged = mutator.mutate(source);
    try {
      std::string buffer;
      const std::string text = render_chat_template(damaged, {{"user", "hi"}, {"assistant", "\xFFyes"}}, true);
      EXPECT_EQ(replace_broken_utf8(text, buffer), text) << mutator.what();
      ++rendered;
    } catch (const Error&) {
    } catch (const std::exception& error) {
      ADD_FAILURE() << mutator.what() << ": " << error.what();
    }
  }
  EXPECT_GT(rendered, 50);
}

}  // namespace
}  // namespace hedgehog
