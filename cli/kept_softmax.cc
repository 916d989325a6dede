#include "cli/kept_softmax.h"

#include "hedgehog/base/error.h"

#include <algorithm>
#include <charconv>
#include <string_view>

namespace hedgehog::cli {
namespace {

/// N of "auto:N".
std::int64_t number_of_heads(const std::string& text) {
  std::int64_t heads = 0;
  const std::string_view number = std::string_view(text).substr(std::min<std::size_t>(5, text.size()));
  const auto [rest, problem] = std::from_chars(number.data(), number.data() + number.size(), heads);
  if (!text.starts_with("auto:") || problem != std::errc() || rest != number.data() + number.size() || heads < 1) {
    throw CLI::ValidationError("--keep-softmax", "expected a number of heads such as auto:6, found " + text);
  }
  return heads;
}

}  // namespace

std::vector<KeptSoftmax> kept_softmax_list(const std::vector<std::string>& texts) {
  std::vector<KeptSoftmax> kept;
  for (const std::string& text : texts) {
    try {
      kept.push_back(kept_softmax(text));
    } catch (const Error& error) {
      throw CLI::ValidationError("--keep-softmax", error.what());
    }
  }
  std::sort(kept.begin(), kept.end());
  return kept;
}

CLI::Option* add_kept_softmax(CLI::App& verb, std::vector<KeptSoftmax>& kept, const std::string& description,
                              std::int64_t* heads) {
  const auto take = [&kept, heads](const std::vector<std::string>& texts) {
    if (heads != nullptr && texts.size() == 1 && texts[0].starts_with("auto")) {
      *heads = number_of_heads(texts[0]);
    } else {
      kept = kept_softmax_list(texts);
    }
  };
  return verb.add_option_function<std::vector<std::string>>("--keep-softmax", take, description)
      ->delimiter(',')
      ->type_name("N,N.HEAD,...");
}

}  // namespace hedgehog::cli
