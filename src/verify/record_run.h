#pragma once

#include <fmt/format.h>

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "device/device.h"
#include "verify/bounds.h"
#include "verify/record_file.h"
#include "verify/report.h"

namespace dreamlab {

// One case while it runs: gives the recorded tensors and takes down how far from them we are.
class RecordCase {
 public:
  // dtype: what the bounds go by.
  RecordCase(DType dtype, CaseResult& result) : dtype_(dtype), result_(&result) {}

  // Takes down the largest difference relative to the largest magnitude of `expected`. Another count of elements fails
  // the case.
  void compare(std::string_view what, std::span<const float> found, std::span<const float> expected, BoundKind kind);
  void compare(std::string_view what, std::span<const double> found, std::span<const double> expected, BoundKind kind);
  // With the tensor of the record, which may have other extents of as many elements.
  void compare(const RecordFile& record, std::string_view tensor, std::span<const float> found, BoundKind kind);
  void compare_exactly(std::string_view what, std::span<const int64_t> found, std::span<const int64_t> expected);
  // 8-bit pictures.
  void compare_pixels(std::string_view what, std::span<const uint8_t> found, std::span<const uint8_t> expected);

  // Fails the case unless `holds`; the first such message is kept.
  template <typename... Args>
  void expect(bool holds, fmt::format_string<Args...> message, Args&&... args) {
    if (!holds) set_failure(fmt::format(message, std::forward<Args>(args)...));
  }

 private:
  void set_failure(std::string message);

  DType dtype_;
  CaseResult* result_;
};

// Everything that runs over one folder: the device, what was asked for, and the results so far.
class RecordRun {
 public:
  // filter: only cases whose "record case (model)" contains it. on_case sees every result as it comes; may be empty.
  RecordRun(std::filesystem::path folder, Device& device, std::string filter,
            std::function<void(const CaseResult&)> on_case);

  const std::filesystem::path& folder() const { return folder_; }
  Device& device() const { return device_; }

  using Body = std::function<void(RecordCase&)>;
  // Runs `body` as one case. Whatever it throws fails the case and ends there.
  void run_case(std::string_view record, std::string_view name, std::string_view model, const Body& body);

  // Adds a failed case for the tensors of `record` that no case took. To be called after its last case.
  void expect_all_taken(const RecordFile& record);

  VerifyReport take_report() { return std::move(report_); }

 private:
  std::filesystem::path folder_;
  Device& device_;
  std::string filter_;
  std::function<void(const CaseResult&)> on_case_;
  VerifyReport report_;
  bool left_out_ = false;  // the filter left out a case since the last expect_all_taken
};

}  // namespace dreamlab
