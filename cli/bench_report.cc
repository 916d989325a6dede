#include "cli/bench_report.h"

#include "cli/command.h"

#include <fmt/format.h>

#include <algorithm>

namespace hedgehog::cli {
namespace {

using json = nlohmann::ordered_json;

constexpr const char* kNothing = "-";

std::optional<double> ratio_to(const FormTime& opponent, const FormTime& own) {
  if (!opponent.seconds || !own.seconds) return std::nullopt;
  return *opponent.seconds / *own.seconds;
}

/// `amount` of a call a second; none for what is not counted.
std::optional<double> a_second(double amount, const FormTime& own) {
  if (amount <= 0 || !own.seconds) return std::nullopt;
  return amount / *own.seconds;
}

std::optional<double> share_of(const std::optional<double>& rate, double most) {
  if (!rate || most <= 0) return std::nullopt;
  return *rate / most;
}

/// Three digits that count, without an exponent.
std::string number_text(const std::optional<double>& value, double unit = 1) {
  if (!value) return kNothing;
  const double x = *value / unit;
  return fmt::format("{:.{}f}", x, x >= 100 ? 0 : x >= 10 ? 1 : x >= 1 ? 2 : x >= 0.1 ? 3 : 4);
}

std::string share_text(const std::optional<double>& share) {
  return share ? fmt::format("{:.2f}", *share) : kNothing;
}

std::string ratio_text(const std::optional<double>& ratio) {
  return ratio ? number_text(ratio) + "×" : kNothing;
}

std::string memory_text(const std::optional<double>& bytes) {
  if (!bytes) return kNothing;
  constexpr double kKibi = 1024;
  if (*bytes < kKibi * kKibi) return fmt::format("{:.0f} K", *bytes / kKibi);
  if (*bytes < kKibi * kKibi * kKibi) return fmt::format("{:.1f} M", *bytes / kKibi / kKibi);
  return fmt::format("{:.2f} G", *bytes / kKibi / kKibi / kKibi);
}

/// Characters, not bytes.
std::size_t text_width(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](unsigned char c) { return (c & 0xC0) != 0x80; }));
}

using TableCells = std::vector<std::string>;
constexpr const char* kBorder = "│";

std::string aligned(const std::vector<TableCells>& lines) {
  std::vector<std::size_t> widths(lines.front().size());
  for (const TableCells& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], text_width(line[i]));
  }
  std::string text;
  for (const TableCells& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) {
      text += std::string(widths[i] - text_width(line[i]) + (i == 0 ? 0 : 2), ' ') + line[i];
    }
    text += "\n";
  }
  return text;
}

/// The cases of one kind of work and one dtype; opponents in the order in which they first appear.
struct Section {
  std::vector<const MeasuredCase*> cases;
  std::vector<std::string> opponents;
};

bool have_memory(const Section& section, const std::string& who) {
  return std::any_of(section.cases.begin(), section.cases.end(), [&](const MeasuredCase* measured) {
    return std::any_of(measured->opponents.begin(), measured->opponents.end(),
                       [&](const FormTime& time) { return time.who == who && time.memory; });
  });
}

std::vector<Section> sections(const std::vector<MeasuredCase>& cases) {
  std::vector<Section> all;
  for (const MeasuredCase& measured : cases) {
    const auto same = std::find_if(all.begin(), all.end(), [&](const Section& section) {
      return section.cases.front()->what == measured.what && section.cases.front()->dtype == measured.dtype;
    });
    Section& section = same != all.end() ? *same : all.emplace_back();
    section.cases.push_back(&measured);
    for (const FormTime& time : measured.opponents) {
      const auto known = std::find(section.opponents.begin(), section.opponents.end(), time.who);
      if (known == section.opponents.end()) section.opponents.push_back(time.who);
    }
  }
  return all;
}

std::string section_table(const BenchReport& report, const Section& section) {
  const MeasuredCase& first = *section.cases.front();
  const bool counted = first.flops > 0, moved = first.bytes > 0;
  TableCells header = {"n", "ms"};
  const auto add = [](TableCells& line, std::initializer_list<std::string> cells) { line.insert(line.end(), cells); };
  if (counted) add(header, {"GFLOP/s", "share"});
  if (moved) add(header, {"GB/s", "of copy"});
  if (!counted) add(header, {"tokens/s"});
  add(header, {"memory"});
  for (const std::string& who : section.opponents) {
    add(header, {kBorder, who + " ms", "ratio"});
    if (have_memory(section, who)) add(header, {"memory"});
  }
  std::vector<TableCells> lines = {header};
  for (const MeasuredCase* measured : section.cases) {
    const FormTime& own = measured->own;
    const auto flops = a_second(measured->flops, own), bytes = a_second(measured->bytes, own);
    TableCells& line = lines.emplace_back(TableCells{std::to_string(measured->length), number_text(own.seconds, 1e-3)});
    if (counted) add(line, {number_text(flops, 1e9), share_text(share_of(flops, report.product_rate(measured->dtype)))});
    if (moved) add(line, {number_text(bytes, 1e9), share_text(share_of(bytes, report.copy_rate))});
    if (!counted) add(line, {number_text(a_second(measured->tokens, own))});
    add(line, {memory_text(own.memory)});
    for (const std::string& who : section.opponents) {
      FormTime time;
      for (const FormTime& other : measured->opponents) {
        if (other.who == who) time = other;
      }
      add(line, {kBorder, number_text(time.seconds, 1e-3), ratio_text(ratio_to(time, own))});
      if (have_memory(section, who)) add(line, {memory_text(time.memory)});
    }
  }
  return fmt::format("\n{}, {}\n{}", first.what, dtype_name(first.dtype), aligned(lines));
}

std::string machine_text(const BenchReport& report) {
  const json& machine = report.machine;
  std::string text = fmt::format("{}, {} cores, {} threads, {}\n", machine["processor"].get<std::string>(),
                                 machine["cores"].get<std::int64_t>(), machine["threads"].get<std::int64_t>(),
                                 machine["isa"].get<std::string>());
  for (const auto& [dtype, flops] : report.product_rates) {
    text += fmt::format("product {} {} GFLOP/s, ", dtype_name(dtype), number_text(flops, 1e9));
  }
  return text + fmt::format("copy {} GB/s (read + written)\n", number_text(report.copy_rate, 1e9));
}

json time_json(const FormTime& time) {
  json fields;
  fields["who"] = time.who;
  if (!time.detail.empty()) fields["form"] = time.detail;
  fields["milliseconds"] = time.seconds ? json(*time.seconds * 1e3) : json();
  fields["peak_memory_bytes"] = time.memory ? json(*time.memory) : json();
  return fields;
}

json optional_json(const std::optional<double>& value) {
  return value ? json(*value) : json();
}

json case_json(const BenchReport& report, const MeasuredCase& measured) {
  json fields = {{"what", measured.what}, {"dtype", dtype_name(measured.dtype)}, {"n", measured.length}};
  const FormTime& own = measured.own;
  fields["milliseconds"] = own.seconds ? json(*own.seconds * 1e3) : json();
  fields["tokens_per_second"] = optional_json(a_second(measured.tokens, own));
  if (measured.flops > 0) {
    const auto rate = a_second(measured.flops, own);
    fields["flops"] = measured.flops;
    fields["flops_per_second"] = optional_json(rate);
    fields["share_of_product"] = optional_json(share_of(rate, report.product_rate(measured.dtype)));
  }
  if (measured.bytes > 0) {
    const auto rate = a_second(measured.bytes, own);
    fields["bytes_per_second"] = optional_json(rate);
    fields["share_of_copy"] = optional_json(share_of(rate, report.copy_rate));
  }
  fields["peak_memory_bytes"] = optional_json(own.memory);
  fields["opponents"] = json::array();
  for (const FormTime& time : measured.opponents) {
    json other = time_json(time);
    other["ratio"] = optional_json(ratio_to(time, own));
    fields["opponents"].push_back(std::move(other));
  }
  return fields;
}

}  // namespace

double BenchReport::product_rate(at::ScalarType dtype) const {
  const auto known = product_rates.find(dtype);
  return known != product_rates.end() ? known->second : 0;
}

std::string bench_table(const BenchReport& report) {
  std::string text = machine_text(report);
  const auto of_model = [](const MeasuredCase& measured) { return measured.flops <= 0; };
  const bool attention = !std::all_of(report.cases.begin(), report.cases.end(), of_model);
  if (attention) {
    const HeadShape& shape = report.shape;
    text += fmt::format("attention: {}, {} query and {} key/value heads, D = {}, {}, batch {}\n", shape.name, shape.heads,
                        shape.kv_heads, shape.dim, shape.causal ? "causal" : "bidirectional", report.batch);
  }
  if (!report.model.empty()) text += fmt::format("model: {}\n", report.model);
  for (const Section& section : sections(report.cases)) text += section_table(report, section);
  text += "\nms: best call. ratio: how many times as long as Hedgehog. memory: peak beyond inputs and outputs (KiB, MiB, GiB)";
  if (attention) {
    text += ",\ndecode: with the state or the cache. share: of the product rate, what the linear form multiplies counted once";
  } else {
    text += ",\ngenerate: the state";
  }
  return text + ".\n";
}

json bench_fields(const BenchReport& report) {
  json machine = report.machine;
  for (const auto& [dtype, flops] : report.product_rates) machine["product_flops_per_second"][dtype_name(dtype)] = flops;
  machine["copy_bytes_per_second"] = report.copy_rate;
  const HeadShape& shape = report.shape;
  json fields = {{"complete", report.complete}, {"machine", machine}};
  fields["shape"] = {{"name", shape.name}, {"heads", shape.heads},   {"kv_heads", shape.kv_heads},
                     {"dim", shape.dim},   {"causal", shape.causal}, {"batch", report.batch}};
  fields["cases"] = json::array();
  for (const MeasuredCase& measured : report.cases) fields["cases"].push_back(case_json(report, measured));
  return fields;
}

}  // namespace hedgehog::cli
