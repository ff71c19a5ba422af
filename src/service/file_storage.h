#pragma once

#include <memory>
#include <string>

#include "service/storage.h"

namespace dreamlab {

// Objects as files of a directory, which is made where it is missing. Files that are not the store's own are left
// alone; several processes may share a directory. Throws Error(unavailable) where it cannot be written.
std::unique_ptr<Storage> open_file_storage(const std::string& directory, const StorageOptions& options);

}  // namespace dreamlab
