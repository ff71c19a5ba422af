#include "server/router.h"

#include <algorithm>

#include "base/error.h"
#include "server/url.h"

namespace dreamlab {

namespace {

constexpr std::string_view kRestMark = "...";

// Takes the next segment and the slash in front of it off a path.
std::string_view take_segment(std::string_view& path) {
  path.remove_prefix(1);
  const std::string_view segment = path.substr(0, path.find('/'));
  path.remove_prefix(segment.size());
  return segment;
}

}  // namespace

void Router::add(Route route) {
  for (const Route& other : routes_) {
    if (other.method == route.method && other.pattern == route.pattern) {
      fail(ErrorKind::internal, "route {} {} is there twice", route.method, route.pattern);
    }
  }
  patterns_.push_back(parse(route.pattern));
  routes_.push_back(std::move(route));
}

Router::Pattern Router::parse(const std::string& pattern) {
  if (pattern.empty() || pattern[0] != '/') fail(ErrorKind::internal, "route {}: it must begin with /", pattern);
  Pattern segments;
  std::string_view rest = pattern;
  while (!rest.empty()) {
    std::string_view text = take_segment(rest);
    if (text.size() < 2 || text.front() != '{' || text.back() != '}') {
      segments.push_back({Segment::Kind::literal, std::string(text)});
      continue;
    }
    text = text.substr(1, text.size() - 2);
    const bool takes_rest = text.ends_with(kRestMark);
    if (takes_rest) text.remove_suffix(kRestMark.size());
    if (text.empty() || (takes_rest && !rest.empty())) fail(ErrorKind::internal, "route {}: not a pattern", pattern);
    segments.push_back({takes_rest ? Segment::Kind::rest : Segment::Kind::parameter, std::string(text)});
  }
  return segments;
}

bool Router::matches(const Pattern& pattern, std::string_view encoded_path, Parameters& parameters) {
  if (encoded_path.empty() || encoded_path[0] != '/') return false;
  for (const Segment& segment : pattern) {
    if (encoded_path.empty()) return false;
    const bool is_rest = segment.kind == Segment::Kind::rest;
    const std::string_view encoded = is_rest ? encoded_path.substr(1) : take_segment(encoded_path);
    if (is_rest) encoded_path = {};
    std::optional<std::string> text = percent_decode(encoded);
    if (!text) return false;
    if (segment.kind == Segment::Kind::literal) {
      if (*text != segment.text) return false;
      continue;
    }
    if (text->empty()) return false;
    parameters[segment.text] = std::move(*text);
  }
  return encoded_path.empty();
}

bool Router::is_more_specific(const Pattern& a, const Pattern& b) {
  return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(),
                                      [](const Segment& x, const Segment& y) { return x.kind < y.kind; });
}

Router::Match Router::find(std::string_view method, std::string_view encoded_path) const {
  const Pattern* best = nullptr;
  std::string best_pattern;
  Match match;
  for (size_t i = 0; i < routes_.size(); ++i) {
    Parameters parameters;
    if (!matches(patterns_[i], encoded_path, parameters)) continue;
    if (best != nullptr && !is_more_specific(patterns_[i], *best)) continue;
    best = &patterns_[i];
    best_pattern = routes_[i].pattern;
    match.parameters = std::move(parameters);
  }
  if (best == nullptr) return match;

  const std::string_view wanted = method == "HEAD" ? "GET" : method;
  for (const Route& route : routes_) {
    if (route.pattern != best_pattern) continue;
    if (route.method == wanted) match.route = &route;
    match.allowed += route.method + (route.method == "GET" ? ", HEAD, " : ", ");
  }
  match.allowed += "OPTIONS";
  return match;
}

}  // namespace dreamlab
