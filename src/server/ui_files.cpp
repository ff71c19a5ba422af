#include "server/ui_files.h"

#include <libdeflate.h>

#include <algorithm>
#include <memory>

#include "base/error.h"

namespace dreamlab {

namespace {

#include "server/ui_files.inc"

}  // namespace

std::span<const UiFile> ui_files() {
  return kUiFiles;
}

const UiFile* find_ui_file(std::string_view path) {
  const auto found =
      std::find_if(std::begin(kUiFiles), std::end(kUiFiles), [path](const UiFile& file) { return file.path == path; });
  return found == std::end(kUiFiles) ? nullptr : found;
}

std::string UiFile::unpacked() const {
  std::string text(size, '\0');
  const std::unique_ptr<libdeflate_decompressor, decltype(&libdeflate_free_decompressor)> decompressor(
      libdeflate_alloc_decompressor(), libdeflate_free_decompressor);
  if (decompressor == nullptr || libdeflate_gzip_decompress(decompressor.get(), gzip.data(), gzip.size(), text.data(),
                                                            text.size(), nullptr) != LIBDEFLATE_SUCCESS)
    fail(ErrorKind::internal, "{} could not be unpacked", path);
  return text;
}

}  // namespace dreamlab
