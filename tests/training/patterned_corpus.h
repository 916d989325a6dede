// Text for the tests of training, and one thread for them: the models are so small that a second one only waits.
#pragma once

#include "hedgehog/base/random.h"
#include "hedgehog/data/corpus.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <vector>

namespace hedgehog::testing {

/// Documents of uneven lengths with a pattern that can be learnt.
inline Corpus patterned_corpus(int documents) {
  Corpus result;
  Random random{7};
  for (int i = 0; i < documents; ++i) {
    std::vector<std::int32_t> document(5 + random.below(60));
    auto token = static_cast<std::int32_t>(random.below(250));
    for (std::int32_t& t : document) t = token = (token * 3 + 1) % 250;
    append_document(result, document);
  }
  seal(result);
  return result;
}

class OneThread : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }
};

}  // namespace hedgehog::testing
