// Runs a parsed template. Work, nesting and output are bounded, so that a hostile template ends in an error.
#pragma once

#include "hedgehog/tokenizer/jinja/builtins.h"
#include "hedgehog/tokenizer/jinja/parser.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace hedgehog::jinja {

/// Variables of a block. Few, so a list.
struct Scope {
  const Scope* parent = nullptr;
  std::vector<std::pair<std::string, Value>> variables;
  const Value* find(std::string_view name) const;
  void set(std::string_view name, Value value);
};

struct Macro {
  const Statement* statement;
  const Scope* scope;  // where it was defined; outlives the macro, which no container can carry out of there
};

struct LoopState {
  const std::vector<Value>* items;
  std::size_t index;
};

class Evaluator {
 public:
  /// Throws hedgehog::Error with the line.
  std::string run(const Body& body, std::vector<std::pair<std::string, Value>> variables);

 private:
  enum class Flow { kNormal, kBreak, kContinue };

  Flow execute(const Body& body, Scope& scope);
  Flow execute(const Statement& statement, Scope& scope);
  Flow run_loop(const Statement& statement, Scope& scope);
  void assign(const Statement& statement, Value value, Scope& scope);
  std::string captured(const Body& body, Scope& scope);

  Value evaluate(const Expression& node, const Scope& scope);
  Value evaluate_binary(const Expression& node, const Scope& scope);
  Value evaluate_compare(const Expression& node, const Scope& scope);
  Value evaluate_call(const Expression& node, const Scope& scope);
  Value attribute(const Value& object, const std::string& name);
  Value call_macro(const Macro& macro, const Arguments& arguments);
  Value name_of(const std::string& name, const Scope& scope) const;
  Arguments arguments_of(const Expression& node, const Scope& scope);

  void charge(const Value& value);
  void charge(std::size_t work);
  void write(const std::string& text);

  // One evaluate() or execute() within others. Throws TemplateError beyond the most that the stack holds.
  struct Depth {
    explicit Depth(Evaluator& evaluator);
    ~Depth() { --evaluator_.depth_; }
    Evaluator& evaluator_;
  };
  std::string* output_ = nullptr;
  std::size_t work_ = 0;
  int depth_ = 0;
  int line_ = 1;
  std::vector<std::unique_ptr<Macro>> macros_;
};

}  // namespace hedgehog::jinja
