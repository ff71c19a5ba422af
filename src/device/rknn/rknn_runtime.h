#pragma once

#include <memory>
#include <optional>
#include <string>

#include "device/rknn/rknn_api.h"

namespace dreamlab::rknn {

// The runtime library, opened. Functions of it may be called from any thread, a context's from one at a time.
class Runtime {
 public:
  // library: a file's name, found as the dynamic linker does, or a path. Throws Error(unavailable).
  static std::shared_ptr<const Runtime> open(const std::string& library);

  const Functions& functions() const { return functions_; }
  const std::string& library() const { return library_; }

  // Throws Error where `code` is none of success: out_of_memory or unavailable; `what` was under way.
  void check(int code, const char* what) const;

 private:
  Runtime() = default;

  std::string library_;
  Functions functions_{};
};

// Why the runtime cannot be opened, in a line that begins with "no RKNN device"; nullopt: it can.
std::optional<std::string> why_no_rknn_device(const std::string& library);

// That the versions of runtime and driver are such as are known here.
// Throws Error(unavailable).
void check_versions(const SdkVersion& version);

}  // namespace dreamlab::rknn
