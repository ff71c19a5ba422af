#pragma once

// Targets of requests: percent-encoding and query strings (RFC 3986; WHATWG URL for forms).
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace dreamlab {

// nullopt where "%" is not followed by two hexadecimal digits.
std::optional<std::string> percent_decode(std::string_view text);
// "a=1&b=x+y": "+" is a blank; of several equal names the last counts. nullopt as above.
std::optional<std::map<std::string, std::string, std::less<>>> parse_query(std::string_view query);

}  // namespace dreamlab
