// How values are written: as a template's output, as Python's repr(), as JSON.
#pragma once

#include "hedgehog/tokenizer/jinja/value.h"

#include <string>

namespace hedgehog::jinja {

std::string to_text(const Value& value);
std::string representation(const Value& value);
/// json.dumps(value, ensure_ascii=False, indent=indent); indent < 0 is None.
std::string to_json(const Value& value, int indent, bool sort_keys);

}  // namespace hedgehog::jinja
