// The Hugging Face directory that export and convert --export write.
#pragma once

#include "hedgehog/models/adapter.h"

#include <filesystem>

namespace hedgehog::cli {

/// No model is written over: throws Error unless `folder` is new, empty, or an export of before.
void check_export_directory(const std::filesystem::path& folder);

/// All files of the export, written beside it first: a failure leaves what was there. Throws Error, also when the tokenizer
/// is of a kind that is not known, since nothing could be read back.
void write_export(const std::filesystem::path& folder, LoadedModel& loaded);

}  // namespace hedgehog::cli
