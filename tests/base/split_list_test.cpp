#include "base/split_list.h"

#include <gmock/gmock.h>

namespace dreamlab {
namespace {

using ::testing::ElementsAre;

TEST(Lists, AreSplitAtCommasWithoutBlanks) {
  EXPECT_THAT(split_list(" a, b ,,c"), ElementsAre("a", "b", "c"));
  EXPECT_THAT(split_list(""), ElementsAre());
}

}  // namespace
}  // namespace dreamlab
