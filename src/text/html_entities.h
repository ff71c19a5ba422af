#pragma once

#include <string>
#include <string_view>

namespace dreamlab {

// Replaces the character references of HTML 5 ("&amp;", "&eacute", "&#39;", "&#x1F600;") as Python's html.unescape
// does: the longest name that matches counts, old names also without their semicolon; numbers of Windows-1252 mean what
// browsers take them for; surrogates and numbers above U+10FFFF become U+FFFD; other non-characters and controls
// vanish.
std::u32string unescape_html(std::u32string_view text);

}  // namespace dreamlab
