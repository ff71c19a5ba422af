#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace dreamlab {

// A file of the web UI (ui/), as it was built into the program.
struct UiFile {
  std::string_view path;  // "/assets/index-C_6ZnBEP.css"
  std::string_view content_type;
  std::string_view etag;  // with its quotes
  std::span<const uint8_t> gzip;
  size_t size = 0;  // not compressed

  std::string unpacked() const;
};

// nullptr where there is none.
const UiFile* find_ui_file(std::string_view path);
std::span<const UiFile> ui_files();

}  // namespace dreamlab
