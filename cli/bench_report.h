// What `hedgehog bench` has measured, as a table, as JSON and as a picture, with the measurements of other programs beside it.
#pragma once

#include "hedgehog/benchmark/measure.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace hedgehog::cli {

struct BenchReport {
  nlohmann::ordered_json machine;                  // processor, isa, cores, threads, ...
  std::map<at::ScalarType, double> product_rates;  // multiplications and additions a second
  double copy_rate = 0;                            // bytes read and written a second
  HeadShape shape;
  std::int64_t batch = 1;
  std::string model;
  std::vector<MeasuredCase> cases;
  bool complete = false;  // false: it was interrupted

  double product_rate(at::ScalarType dtype) const;
};

/// A measurement of {"opponents": [{"who", "what", "n", "dtype", "milliseconds", optionally "peak_memory_bytes"}, ...]}.
struct OtherTime {
  std::string what, dtype;
  std::int64_t length = 0;
  FormTime time;
};

/// Throws Error that names the file and the entry for what is missing, of a wrong type or out of range.
std::vector<OtherTime> read_opponents(const std::filesystem::path& path);

/// Puts each beside the case with its what, n and dtype; how many found one.
std::size_t merge_opponents(const std::vector<OtherTime>& others, std::vector<MeasuredCase>& cases);

std::string bench_table(const BenchReport& report);
nlohmann::ordered_json bench_fields(const BenchReport& report);

/// SVG: for each kind of work time and memory against the length, both axes logarithmic.
std::string bench_plot(const BenchReport& report);

}  // namespace hedgehog::cli
