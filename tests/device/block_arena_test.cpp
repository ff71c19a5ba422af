#include "device/block_arena.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>

#include "base/error.h"

namespace dreamlab {
namespace {

// Only addresses: nothing is behind them.
void* at(uintptr_t address) {
  return reinterpret_cast<void*>(address);
}
constexpr size_t kUnit = BlockArena::kAlignment;

TEST(BlockArena, CutsTheSmallestPlaceThatFits) {
  BlockArena arena;
  arena.add(at(0x100000), 8 * kUnit);
  arena.add(at(0x200000), 4 * kUnit);
  EXPECT_EQ(arena.bytes(), 12 * kUnit);
  EXPECT_EQ(arena.take(3 * kUnit), at(0x200000));
  EXPECT_EQ(arena.take(1), at(0x200000 + 3 * kUnit)) << "what was left of it";
  EXPECT_EQ(arena.take(8 * kUnit), at(0x100000));
  EXPECT_EQ(arena.take(1), nullptr);
}

TEST(BlockArena, JoinsNeighborsOfOneSegmentAlone) {
  BlockArena arena;
  arena.add(at(0x100000), 4 * kUnit);
  arena.add(at(0x100000 + 4 * kUnit), 4 * kUnit);  // right behind it
  void* const a = arena.take(kUnit);
  void* const b = arena.take(kUnit);
  void* const c = arena.take(2 * kUnit);
  EXPECT_EQ(arena.take(5 * kUnit), nullptr);
  for (void* const block : {a, c, b}) arena.give(block);  // the middle one last
  EXPECT_EQ(arena.take(5 * kUnit), nullptr) << "over the border of two segments";
  EXPECT_NE(arena.take(4 * kUnit), nullptr);
  EXPECT_NE(arena.take(4 * kUnit), nullptr);
}

TEST(BlockArena, GivesUpSegmentsOfWhichNothingIsUsed) {
  BlockArena arena;
  arena.add(at(0x100000), 4 * kUnit);
  arena.add(at(0x200000), 2 * kUnit);
  void* const block = arena.take(3 * kUnit);
  EXPECT_EQ(arena.remove_unused(), (std::vector<std::pair<void*, size_t>>{{at(0x200000), 2 * kUnit}}));
  EXPECT_EQ(arena.bytes(), 4 * kUnit);
  EXPECT_TRUE(arena.remove_unused().empty());
  arena.give(block);
  EXPECT_EQ(arena.remove_unused().size(), 1u);
  EXPECT_TRUE(arena.segments().empty());
  EXPECT_THROW(arena.give(block), Error);
}

TEST(BlockArena, HandsNothingOutTwice) {
  BlockArena arena;
  std::map<char*, size_t> taken;
  std::mt19937 random(3);
  char* next = static_cast<char*>(at(0x1000000));
  for (int i = 0; i < 20'000; ++i) {
    if (random() % 2 == 0 && !taken.empty()) {
      const auto chosen = std::next(taken.begin(), static_cast<std::ptrdiff_t>(random() % taken.size()));
      arena.give(chosen->first);
      taken.erase(chosen);
      continue;
    }
    const size_t size = 1 + random() % (20 * kUnit);
    auto* block = static_cast<char*>(arena.take(size));
    if (block == nullptr) {
      arena.add(next, 64 * kUnit);
      next += 64 * kUnit;
      block = static_cast<char*>(arena.take(size));
    }
    ASSERT_NE(block, nullptr);
    const auto after = taken.lower_bound(block);
    if (after != taken.end()) {
      ASSERT_LE(block + size, after->first);
    }
    if (after != taken.begin()) {
      ASSERT_LE(std::prev(after)->first + std::prev(after)->second, block);
    }
    taken.emplace(block, size);
  }
  for (const auto& [block, size] : taken) arena.give(block);
  size_t all = 0;
  for (const auto& [base, size] : arena.remove_unused()) all += size;
  EXPECT_EQ(all, static_cast<size_t>(next - static_cast<char*>(at(0x1000000))));
  EXPECT_EQ(arena.bytes(), 0u);
}

}  // namespace
}  // namespace dreamlab
