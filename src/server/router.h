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
  std::shared_ptr<const RouteDescription> description = nullptr;
};

class Router {
 public:
  // Throws Error(internal) for a pattern that cannot be read or a route that is there already.
  void add(Route route);

  struct Match {
    const Route* route = nullptr;  // null: none
    std::map<std::string, std::string, std::less<>> parameters;
    std::string allowed;  // of the path, where there is one: "GET, HEAD, OPTIONS"
  };
  // encoded_path: as it was sent, so that "%2F" stays within a parameter. A literal segment goes before a parameter:
  // of "/storage/health" and "/storage/{key}" only the first answers "/storage/health", whatever the method.
  Match find(std::string_view method, std::string_view encoded_path) const;
  const std::vector<Route>& routes() const { return routes_; }

 private:
  struct Segment {
    enum class Kind { literal, parameter, rest };  // the most specific first
    Kind kind;
    std::string text;  // of a literal; else the parameter's name
  };
  using Pattern = std::vector<Segment>;
  using Parameters = std::map<std::string, std::string, std::less<>>;

  static Pattern parse(const std::string& pattern);
  static bool matches(const Pattern& pattern, std::string_view encoded_path, Parameters& parameters);
  static bool is_more_specific(const Pattern& a, const Pattern& b);

  std::vector<Route> routes_;
  std::vector<Pattern> patterns_;  // of each route
};

}  // namespace dreamlab
