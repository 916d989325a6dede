// Texts made out of a task's own, for a model that another one teaches: they have no labels. After the data augmentation of
// TinyBERT (Jiao et al., arXiv 1909.10351, section 4), with words drawn from the texts themselves in place of a language
// model's.
#pragma once

#include "hedgehog/data/glue.h"

#include <cstdint>
#include <span>
#include <vector>

namespace hedgehog {

/// `count` examples of the same form as `examples`, with kNoLabel. A single text is one of them, edited: each word with one
/// probability for all, of 0.1, 0.2, 0.3 or 0.5, exchanged for a word of any text (6 of 10) or left out; one text in five
/// turned round at a word. Of pairs 35 % have one text edited, 15 % both, 25 % are a text and its own edit, 25 % any two texts.
/// The same for the same seed. Throws Error if there are none to make them of.
std::vector<TextExample> augmented(std::span<const TextExample> examples, std::int64_t count, std::uint64_t seed);

}  // namespace hedgehog
