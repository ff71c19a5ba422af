#pragma once

#include <string>
#include <string_view>

#include "server/router.h"

namespace dreamlab {

// The OpenAPI 3.1 document of all routes that have a description, as JSON.
std::string openapi_document(const Router& router, std::string_view version);

// A page (HTML, in one piece) that shows the document of /openapi.json and can try requests.
std::string_view docs_page();

}  // namespace dreamlab
