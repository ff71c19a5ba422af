#pragma once

// What the OpenAPI document says of a route.
#include <memory>
#include <string>
#include <vector>

#include "server/schema.h"

namespace dreamlab {

struct HeaderDescription {
  std::string name, description;
};

struct ContentDescription {
  std::string media_type;
  std::shared_ptr<const ObjectRules> rules;  // null: bytes or text of that type
};

struct ResponseDescription {
  int status = 200;
  std::string description;
  std::vector<ContentDescription> content = {};
  std::vector<HeaderDescription> headers = {};
};

// Of the path or the query.
struct ParameterDescription {
  std::string name, description;
  bool in_path = true;
};

struct RouteDescription {
  std::string tag;           // the heading it stands under
  std::string summary;       // one line
  std::string details = "";  // "" none
  std::vector<ParameterDescription> parameters = {};
  std::vector<ContentDescription> request = {};  // the body, in one of these forms
  std::vector<ResponseDescription> responses = {};
  std::vector<int> errors = {};  // statuses answered by {"detail": ...}; 401 goes without saying
};

// {"detail": ...}
const std::shared_ptr<const ObjectRules>& error_rules();

}  // namespace dreamlab
