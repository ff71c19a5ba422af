// Every file that a fuzz target was started from, or that once broke something, must pass it: an entry function aborts
// or trips a sanitizer when it finds a mistake.
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <ostream>
#include <string>
#include <vector>

#define TARGET(name) extern "C" int name(const uint8_t* data, size_t size);
DREAMLAB_FUZZ_TARGETS
#undef TARGET

namespace {

struct Target {
  const char* name;
  int (*entry)(const uint8_t*, size_t);
};

void PrintTo(const Target& target, std::ostream* out) {
  *out << target.name;
}

const std::vector<Target> kTargets{
#define TARGET(name) {#name, name},
    DREAMLAB_FUZZ_TARGETS
#undef TARGET
};

class Corpus : public testing::TestWithParam<Target> {};

TEST_P(Corpus, PassesItsTarget) {
  size_t files = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(DREAMLAB_CORPUS_DIR) / GetParam().name)) {
    SCOPED_TRACE(entry.path());
    std::ifstream file(entry.path(), std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    EXPECT_EQ(GetParam().entry(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()), 0);
    ++files;
  }
  EXPECT_GT(files, 0u) << "no corpus for " << GetParam().name;
}

INSTANTIATE_TEST_SUITE_P(Targets, Corpus, testing::ValuesIn(kTargets),
                         [](const testing::TestParamInfo<Target>& info) { return info.param.name; });

}  // namespace
