#include "verify/record_run.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <limits>
#include <utility>

namespace dreamlab {
namespace {

template <typename T>
double relative_error(std::span<const T> found, std::span<const T> expected) {
  double difference = 0;
  double largest = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double off = std::abs(static_cast<double>(found[i]) - static_cast<double>(expected[i]));
    if (!std::isfinite(off)) return std::numeric_limits<double>::infinity();
    difference = std::max(difference, off);
    largest = std::max(largest, std::abs(static_cast<double>(expected[i])));
  }
  // A tensor of zeros has no scale of its own: one takes its place.
  return largest > 0 ? difference / largest : difference;
}

}  // namespace

void RecordCase::set_failure(std::string message) {
  if (result_->failure.empty()) result_->failure = std::move(message);
}

void RecordCase::compare(std::string_view what, std::span<const float> found, std::span<const float> expected,
                         BoundKind kind) {
  if (found.size() != expected.size()) {
    return set_failure(fmt::format("{}: {} elements, expected {}", what, found.size(), expected.size()));
  }
  result_->tensors.push_back({std::string(what), relative_error(found, expected), bound_of(kind, dtype_)});
}

void RecordCase::compare(std::string_view what, std::span<const double> found, std::span<const double> expected,
                         BoundKind kind) {
  if (found.size() != expected.size()) {
    return set_failure(fmt::format("{}: {} elements, expected {}", what, found.size(), expected.size()));
  }
  result_->tensors.push_back({std::string(what), relative_error(found, expected), bound_of(kind, dtype_)});
}

void RecordCase::compare(const RecordFile& record, std::string_view tensor, std::span<const float> found,
                         BoundKind kind) {
  compare(tensor, found, record.floats(tensor), kind);
}

void RecordCase::compare_exactly(std::string_view what, std::span<const int64_t> found,
                                 std::span<const int64_t> expected) {
  if (found.size() != expected.size()) {
    return set_failure(fmt::format("{}: {} elements, expected {}", what, found.size(), expected.size()));
  }
  const auto [a, b] = std::mismatch(found.begin(), found.end(), expected.begin());
  if (a != found.end()) {
    return set_failure(fmt::format("{}: {} at {}, expected {}", what, *a, a - found.begin(), *b));
  }
  result_->tensors.push_back({std::string(what), 0.0, 0.0});
}

void RecordCase::compare_pixels(std::string_view what, std::span<const uint8_t> found,
                                std::span<const uint8_t> expected) {
  if (found.size() != expected.size()) {
    return set_failure(fmt::format("{}: {} values, expected {}", what, found.size(), expected.size()));
  }
  int largest = 0;
  size_t off = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const int difference = std::abs(static_cast<int>(found[i]) - static_cast<int>(expected[i]));
    largest = std::max(largest, difference);
    off += difference > 0;
  }
  const PixelBound bound = pixel_bound(dtype_);
  result_->tensors.push_back({std::string(what), largest / 255.0, bound.largest / 255.0});
  const double share = expected.empty() ? 0.0 : static_cast<double>(off) / static_cast<double>(expected.size());
  expect(share <= bound.share, "{}: {:.2f} % of the values are off, {:.2f} % may be", what, 100 * share,
         100 * bound.share);
}

RecordRun::RecordRun(std::filesystem::path folder, Device& device, std::string filter,
                     std::function<void(const CaseResult&)> on_case)
    : folder_(std::move(folder)), device_(device), filter_(std::move(filter)), on_case_(std::move(on_case)) {}

void RecordRun::run_case(std::string_view record, std::string_view name, std::string_view model, const Body& body) {
  CaseResult result{std::string(record), std::string(name), std::string(model), {}, {}};
  if (fmt::format("{} {} ({})", record, name, model).find(filter_) == std::string::npos) {
    left_out_ = true;
    return;
  }
  RecordCase record_case(device_.compute_dtype(), result);
  try {
    body(record_case);
    record_case.expect(!result.tensors.empty(), "nothing was compared");
  } catch (const std::exception& error) {
    record_case.expect(false, "{}", error.what());
  }
  report_.cases.push_back(std::move(result));
  if (on_case_) on_case_(report_.cases.back());
}

void RecordRun::expect_all_taken(const RecordFile& record) {
  const bool left_out = std::exchange(left_out_, false);
  const std::vector<std::string> rest = record.not_taken();
  if (rest.empty() || left_out) return;
  run_case(record.name(), "", "", [&](RecordCase& record_case) {
    record_case.expect(false, "{} unknown tensors: {}", rest.size(), fmt::join(rest, ", "));
  });
}

}  // namespace dreamlab
