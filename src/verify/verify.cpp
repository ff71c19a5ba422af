#include "verify/verify.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "verify/record_kinds.h"

namespace dreamlab {
namespace {

namespace fs = std::filesystem;

// The folder's own description, and the models, which belong to records.
bool is_no_record(const fs::path& path) {
  return path == "INDEX.json" || path == "README.md" || *path.begin() == "models";
}

std::vector<fs::path> files_of(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    const fs::path path = fs::relative(entry.path(), folder);
    if (entry.is_regular_file() && !is_no_record(path)) files.push_back(path);
  }
  std::sort(files.begin(), files.end());
  return files;
}

bool is_of_kind(const RecordKind& kind, std::string_view pattern, const fs::path& path) {
  return kind.of_model == path.has_parent_path() && matches(pattern, path.filename().string());
}

// Whether it is the file of settings of a record that is there.
bool is_settings(const fs::path& folder, const fs::path& path) {
  const auto kinds = record_kinds();
  return std::any_of(kinds.begin(), kinds.end(), [&](const RecordKind& kind) {
    return !kind.settings.empty() && is_of_kind(kind, kind.settings, path) &&
           fs::exists(folder / fs::path(path).replace_extension(".safetensors"));
  });
}

void run_file(RecordRun& run, const fs::path& path) {
  const std::string record = path.generic_string();
  const auto kinds = record_kinds();
  const auto kind = std::find_if(kinds.begin(), kinds.end(), [&](const RecordKind& candidate) {
    return is_of_kind(candidate, candidate.file, path);
  });
  const auto fail_record = [&](std::string_view message) {
    run.run_case(record, "", "", [&](RecordCase& record_case) { record_case.expect(false, "{}", message); });
  };
  if (kind == kinds.end()) {
    if (!is_settings(run.folder(), path)) fail_record("unknown kind of record");
    return;
  }
  try {
    kind->run(run, record);
  } catch (const std::exception& error) {
    fail_record(error.what());
  }
}

}  // namespace

VerifyReport verify_folder(const fs::path& folder, Device& device, const VerifyOptions& options) {
  if (!fs::is_directory(folder)) fail(ErrorKind::unavailable, "{}: there is no such folder", folder.string());
  if (!fs::exists(folder / "INDEX.json")) {
    fail(ErrorKind::unavailable, "{}: not a folder of records (it has no INDEX.json)", folder.string());
  }
  RecordRun run(folder, device, options.filter, options.on_case);
  run_index(run);
  for (const fs::path& path : files_of(folder)) run_file(run, path);
  run_model_files(run);
  return run.take_report();
}

}  // namespace dreamlab
