#include "cli/kept_softmax.h"

#include "hedgehog/base/error.h"

#include <algorithm>

namespace hedgehog::cli {

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

CLI::Option* add_kept_softmax(CLI::App& verb, std::vector<KeptSoftmax>& kept, const std::string& description) {
  return verb
      .add_option_function<std::vector<std::string>>(
          "--keep-softmax", [&kept](const std::vector<std::string>& texts) { kept = kept_softmax_list(texts); }, description)
      ->delimiter(',')
      ->type_name("N,N.HEAD,...");
}

}  // namespace hedgehog::cli
