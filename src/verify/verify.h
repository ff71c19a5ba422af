#pragma once

// Compares everything this program computes with recorded results: text, random numbers, samplers, every network, every
// file layout and whole pipelines, over a folder in the format that docs describe. Whatever is in the folder and is not
// understood counts as failed.
#include <filesystem>
#include <functional>
#include <string>

#include "device/device.h"
#include "verify/report.h"

namespace dreamlab {

struct VerifyOptions {
  std::string filter;                              // only cases whose line contains it
  std::function<void(const CaseResult&)> on_case;  // sees every result as it comes; may be empty
};

// Throws Error(unavailable) when the folder is not there or has no INDEX.json; everything else that goes wrong is a
// failed case.
VerifyReport verify_folder(const std::filesystem::path& folder, Device& device, const VerifyOptions& options = {});

}  // namespace dreamlab
