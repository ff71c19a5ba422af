#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/http.h"

namespace dreamlab {

struct RouteDescription;

struct Route {
  std::string method;   // GET also answers HEAD
  std::string pattern;  // "/api/jobs/{id}"; "{key...}" takes the rest of the path
  Handler handler;
  bool needs_key = true;       // API_KEY
  int64_t max_body = 1 << 20;  // bytes; 413 above
  // For the OpenAPI document (route_description.h); null: not in it.
  std::shared_ptr<const RouteDescription> description;
};

class Router {
 public:
  void add(Route route);
  struct Match {
    const Route* route = nullptr;  // null: none
    std::map<std::string, std::string, std::less<>> parameters;
    std::string allowed;  // of the path, where only the method is wrong: "GET, HEAD, OPTIONS"
  };
  Match find(std::string_view method, std::string_view path) const;
  const std::vector<Route>& routes() const { return routes_; }

 private:
  std::vector<Route> routes_;
};

}  // namespace dreamlab
