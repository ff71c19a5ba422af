#include "text/html_entities.h"

#include <gtest/gtest.h>

#include "base/utf8.h"

namespace dreamlab {
namespace {

struct Case {
  const char* text;
  const char* unescaped;
};

// Expected values: html.unescape of Python 3.11.
class UnescapeHtml : public testing::TestWithParam<Case> {};

TEST_P(UnescapeHtml, GivesWhatPythonGives) {
  EXPECT_EQ(encode_utf8(unescape_html(decode_utf8(GetParam().text))), GetParam().unescaped) << GetParam().text;
}

INSTANTIATE_TEST_SUITE_P(Named, UnescapeHtml,
                         testing::Values(Case{"fish &amp; chips &lt;3 &quot;hi&quot;", "fish & chips <3 \"hi\""},  //
                                         Case{"&amp;amp;", "&amp;"},  // once a call
                                         Case{"&ampx &copycat &notin; &notit;", "&x ©cat ∉ ¬it;"},
                                         Case{"&eacute &eacut &Eacute;", "é &eacut É"},  //
                                         Case{"&fjlig;&NotEqualTilde;", "fj≂̸"},          // two code points
                                         Case{"&apos; &apos", "' &apos"},                // has no bare form
                                         Case{"&NewLine;&Aacute;&zwnj;", "\nÁ\u200C"},   //
                                         Case{"& &; && &&amp; &unknown; &", "& &; && && &unknown; &"},
                                         Case{"&CounterClockwiseContourIntegral;", "∳"}));  // the longest name

INSTANTIATE_TEST_SUITE_P(Numbered, UnescapeHtml,
                         testing::Values(Case{"&#39;&#39 &#x27;&#X27", "'' ''"},                      //
                                         Case{"&#128;&#x9F;&#x81;", "€Ÿ\u0081"},                      // Windows-1252
                                         Case{"&#0;&#xD800;&#x110000;", "\uFFFD\uFFFD\uFFFD"},        //
                                         Case{"a&#1;b&#xFFFE;c&#x7F;d&#xFDD0;e&#x10FFFF;", "abcde"},  // vanish
                                         Case{"&#9;&#13;", "\t\r"},                                   //
                                         Case{"&#99999999999999999999999999;", "\uFFFD"},             //
                                         Case{"&# &#; &#x; &#xg; &#x1F600;", "&# &#; &#x; &#xg; 😀"}));

}  // namespace
}  // namespace dreamlab
