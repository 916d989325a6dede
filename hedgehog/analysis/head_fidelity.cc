#include "hedgehog/analysis/head_fidelity.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace hedgehog {

HeadFidelity mean_over_heads(const std::vector<HeadFidelity>& heads) {
  HeadFidelity mean;
  for (const auto& [name, value] : kHeadMeasures) {
    double sum = 0, count = 0;
    for (const HeadFidelity& head : heads) {
      if (std::isnan(head.*value)) continue;
      sum += head.*value;
      ++count;
    }
    mean.*value = count > 0 ? sum / count : std::numeric_limits<double>::quiet_NaN();
  }
  for (std::size_t i = 0; i < kCurveBins; ++i) {
    CurveBin& bin = mean.curve[i];
    for (const HeadFidelity& head : heads) {
      bin.keys += head.curve[i].keys;
      bin.softmax += head.curve[i].keys * head.curve[i].softmax;
      bin.linear += head.curve[i].keys * head.curve[i].linear;
    }
    bin.softmax /= std::max(bin.keys, 1.0);
    bin.linear /= std::max(bin.keys, 1.0);
  }
  return mean;
}

nlohmann::json to_json(const HeadFidelity& head) {
  nlohmann::json json;
  for (const auto& [name, value] : kHeadMeasures) {
    json[name] = std::isnan(head.*value) ? nlohmann::json() : nlohmann::json(head.*value);
  }
  nlohmann::json keys, softmax, linear;
  for (const CurveBin& bin : head.curve) {
    keys.push_back(bin.keys);
    softmax.push_back(bin.softmax);
    linear.push_back(bin.linear);
  }
  json["curve"] = {{"step", kCurveStep}, {"keys", keys}, {"softmax", softmax}, {"linear", linear}};
  return json;
}

nlohmann::json to_json(const std::vector<HeadFidelity>& heads) {
  nlohmann::json list = nlohmann::json::array();
  for (const HeadFidelity& head : heads) {
    list.push_back(to_json(head));
    list.back()["layer"] = head.layer;
    list.back()["head"] = head.head;
  }
  return list;
}

}  // namespace hedgehog
