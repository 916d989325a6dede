// Measurements that other programs made, read from a file, so that one table and one picture have all.
#include "cli/bench_report.h"
#include "cli/command.h"
#include "hedgehog/base/error.h"
#include "hedgehog/checkpoint/json_file.h"
#include "hedgehog/models/json_fields.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace hedgehog::cli {
namespace {

constexpr std::size_t kLargestFile = std::size_t{16} << 20, kLongestName = 32;
constexpr std::array<std::string_view, 6> kWorks = {"forward", "train", "distill", "decode", "prefill", "generate"};
constexpr std::array<std::string_view, 2> kDtypes = {"fp32", "bf16"};
constexpr std::array<std::string_view, 5> kOwnNames = {"hedgehog", "sdpa", "composed", "eager", "softmax"};

template <std::size_t Count>
bool is_among(const std::array<std::string_view, Count>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

OtherTime other_time(const JsonFields& fields, const std::string& file) {
  OtherTime other;
  other.time.who = fields.text("who");
  const std::string& who = other.time.who;
  const bool visible = std::all_of(who.begin(), who.end(), [](unsigned char c) { return c >= 0x20 && c != 0x7f; });
  check(!who.empty() && who.size() <= kLongestName && visible && !is_among(kOwnNames, who),
        "{}: \"who\" should be a name of 1 to {} bytes that no form of hedgehog's own has, found {}", fields.where(),
        kLongestName, brief(fields.value()["who"]));
  other.time.detail = "from " + file;
  other.what = fields.text("what");
  check(is_among(kWorks, other.what), "{}: \"what\" should be forward, train, distill, decode, prefill or generate, found {}",
        fields.where(), brief(fields.value()["what"]));
  other.dtype = fields.text("dtype");
  check(is_among(kDtypes, other.dtype), "{}: \"dtype\" should be fp32 or bf16, found {}", fields.where(),
        brief(fields.value()["dtype"]));
  other.length = fields.integer("n", 1, std::int64_t{1} << 40);
  other.time.seconds = fields.number("milliseconds", 1e-9, 1e12) / 1e3;
  if (fields.has("peak_memory_bytes")) other.time.memory = fields.number("peak_memory_bytes", 0, 1e18);
  return other;
}

}  // namespace

std::vector<OtherTime> read_opponents(const std::filesystem::path& path) {
  const nlohmann::json json = read_json_object(path, kLargestFile);
  std::vector<OtherTime> others;
  for (const nlohmann::json& item : JsonFields(json, path.string()).array("opponents")) {
    const std::string where = fmt::format("{}: opponents[{}]", path.string(), others.size());
    others.push_back(other_time(JsonFields(item, where), path.filename().string()));
  }
  return others;
}

std::size_t merge_opponents(const std::vector<OtherTime>& others, std::vector<MeasuredCase>& cases) {
  std::size_t merged = 0;
  for (const OtherTime& other : others) {
    for (MeasuredCase& measured : cases) {
      if (measured.what != other.what || measured.length != other.length || dtype_name(measured.dtype) != other.dtype) continue;
      measured.opponents.push_back(other.time);
      ++merged;
    }
  }
  return merged;
}

}  // namespace hedgehog::cli
