// docs/API.md against the routes.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>

#include "server/routes.h"

namespace dreamlab {
namespace {

TEST(ApiPage, NamesEveryRouteAndNoOther) {
  const auto path = std::filesystem::path(DREAMLAB_TEST_DATA_DIR) / "../../../docs/API.md";
  std::ifstream file(path.lexically_normal());
  const std::string page(std::istreambuf_iterator<char>(file), {});
  ASSERT_FALSE(page.empty());
  static const std::regex kRoute("`((GET|POST|PUT|DELETE) /[^` ]*)`");
  std::set<std::string> named, routes;
  for (auto match = std::sregex_iterator(page.begin(), page.end(), kRoute); match != std::sregex_iterator(); ++match)
    named.insert((*match)[1]);
  Router router;
  register_routes(router, std::make_shared<ServerContext>());
  for (const Route& route : router.routes()) routes.insert(route.method + " " + route.pattern);
  EXPECT_EQ(named, routes);
}

}  // namespace
}  // namespace dreamlab
