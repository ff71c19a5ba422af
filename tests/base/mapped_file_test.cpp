#include "base/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <vector>

namespace dreamlab {
namespace {

constexpr size_t kBytes = 64 * 4096;

std::filesystem::path file_of_sevens() {
  const std::filesystem::path path =
      std::filesystem::path(testing::TempDir()) / ("mapped_file_test_" + std::to_string(::getpid()));
  std::ofstream(path, std::ios::binary) << std::string(kBytes, '\7');
  return path;
}

// Pages of the file that are mapped into this process, from the kernel (Rss of the mapping in smaps).
size_t resident_kib(const void* address) {
  std::ifstream maps("/proc/self/smaps");
  std::string line;
  bool inside = false;
  while (std::getline(maps, line)) {
    uintptr_t begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) {
      const auto at = reinterpret_cast<uintptr_t>(address);
      inside = begin <= at && at < end;
    } else if (inside && line.rfind("Rss:", 0) == 0) {
      return std::stoul(line.substr(4));
    }
  }
  return 0;
}

TEST(MappedFile, DropsThePagesOfAPartWithItsLastOwnerAndReadsThemAgain) {
  const std::filesystem::path path = file_of_sevens();
  const std::shared_ptr<const MappedFile> file = MappedFile::open(path);
  const std::byte* const data = file->bytes().data();
  std::shared_ptr<const void> part = MappedFile::dropping_pages(file, data, kBytes);
  size_t sum = 0;
  for (size_t i = 0; i < kBytes; ++i) sum += static_cast<size_t>(data[i]);
  EXPECT_EQ(sum, 7 * kBytes);
  EXPECT_GE(resident_kib(data), kBytes / 1024);
  part.reset();
  EXPECT_LE(resident_kib(data), 16u);
  sum = 0;
  for (size_t i = 0; i < kBytes; ++i) sum += static_cast<size_t>(data[i]);
  EXPECT_EQ(sum, 7 * kBytes);
  std::filesystem::remove(path);
}

TEST(MappedFile, LeavesMemoryOfOtherOwnersAlone) {
  const auto memory = std::make_shared<const std::vector<std::byte>>(kBytes, std::byte{7});
  MappedFile::dropping_pages(memory, memory->data(), kBytes).reset();
  for (const std::byte b : *memory) ASSERT_EQ(b, std::byte{7});
}

}  // namespace
}  // namespace dreamlab
