#include "base/assets.h"

#include <gtest/gtest.h>

namespace dreamlab {
namespace {

TEST(Assets, FindsWhatIsShippedBesideTheProgram) {
  const auto model = find_asset("models/demo");
  ASSERT_TRUE(model);
  EXPECT_TRUE(std::filesystem::is_regular_file(*model / "model_index.json"));
}

TEST(Assets, DoesNotFindWhatIsNotShipped) {
  EXPECT_FALSE(find_asset("models/none"));
}

}  // namespace
}  // namespace dreamlab
