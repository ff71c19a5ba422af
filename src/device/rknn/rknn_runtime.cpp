#include "device/rknn/rknn_runtime.h"

#include <dlfcn.h>

#include <charconv>
#include <cstring>
#include <string_view>

#include "base/error.h"

namespace dreamlab::rknn {
namespace {

// "2.3.0 (c949ad889d@2024-11-07T11:35:33)" or "0.9.8": the first two numbers.
struct Version {
  int major = 0, minor = 0;
  auto operator<=>(const Version&) const = default;
};

constexpr Version kOldestApi{1, 4};     // dup_context, set_io_mem and 64-bit contexts as they are declared here
constexpr Version kNewestApi{3, 0};     // from which on nothing is known
constexpr Version kOldestDriver{0, 8};  // three cores of the RK3588 by one process

std::optional<Version> parse_version(std::string_view text) {
  // Some runtimes write words before the number.
  text.remove_prefix(std::min(text.find_first_of("0123456789"), text.size()));
  Version version;
  const auto [dot, error] = std::from_chars(text.data(), text.data() + text.size(), version.major);
  if (error != std::errc() || dot == text.data() + text.size() || *dot != '.') return std::nullopt;
  const auto result = std::from_chars(dot + 1, text.data() + text.size(), version.minor);
  return result.ec == std::errc() ? std::optional(version) : std::nullopt;
}

std::string_view text_of(const char (&field)[kMaxName]) {
  return {field, strnlen(field, kMaxName)};
}

}  // namespace

const char* explain(int code) {
  switch (code) {
    case kTimeout:
      return "it took too long";
    case kDeviceUnavailable:
      return "the NPU cannot be used";
    case kMallocFailed:
      return "out of memory";
    case kParameterInvalid:
      return "an argument is wrong";
    case kModelInvalid:
      return "the model is damaged or of another version";
    case kContextInvalid:
      return "the context is not valid";
    case kInputInvalid:
      return "an input is wrong";
    case kOutputInvalid:
      return "an output is wrong";
    case kDeviceUnmatched:
      return "runtime and driver do not fit each other";
    case kTargetPlatformUnmatched:
      return "the model was made for another chip";
    default:
      return "it failed";
  }
}

std::shared_ptr<const Runtime> Runtime::open(const std::string& library) {
  // Never closed: the vendor's library keeps threads of its own.
  void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) fail(ErrorKind::unavailable, "no RKNN device: {}", dlerror());
  const std::shared_ptr<Runtime> runtime(new Runtime);
  runtime->library_ = library;
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, name));
    if (function == nullptr)
      fail(ErrorKind::unavailable, "no RKNN device: {} has no {}; a runtime of version 1.4 or later is needed", library,
           name);
  };
  Functions& functions = runtime->functions_;
  find(functions.init, "rknn_init");
  find(functions.dup_context, "rknn_dup_context");
  find(functions.destroy, "rknn_destroy");
  find(functions.query, "rknn_query");
  find(functions.set_core_mask, "rknn_set_core_mask");
  find(functions.inputs_set, "rknn_inputs_set");
  find(functions.run, "rknn_run");
  find(functions.outputs_get, "rknn_outputs_get");
  find(functions.outputs_release, "rknn_outputs_release");
  find(functions.create_mem, "rknn_create_mem");
  find(functions.destroy_mem, "rknn_destroy_mem");
  find(functions.set_io_mem, "rknn_set_io_mem");
  find(functions.mem_sync, "rknn_mem_sync");
  return runtime;
}

void Runtime::check(int code, const char* what) const {
  if (code == kSuccess) return;
  fail(code == kMallocFailed ? ErrorKind::out_of_memory : ErrorKind::unavailable, "the NPU's runtime, {}: {} ({})",
       what, explain(code), code);
}

std::optional<std::string> why_no_rknn_device(const std::string& library) {
  try {
    Runtime::open(library);
    return std::nullopt;
  } catch (const Error& error) {
    return error.what();
  }
}

void check_versions(const SdkVersion& version) {
  const std::string_view api_text = text_of(version.api), driver_text = text_of(version.driver);
  const auto api = parse_version(api_text), driver = parse_version(driver_text);
  if (!api || *api < kOldestApi || *api >= kNewestApi)
    fail(ErrorKind::unavailable, "the RKNN runtime says that its version is \"{}\"; 1.4 up to 2 are known here",
         api_text);
  if (!driver || *driver < kOldestDriver)
    fail(ErrorKind::unavailable, "the NPU's driver says that its version is \"{}\"; 0.8 or later is needed",
         driver_text);
}

}  // namespace dreamlab::rknn
