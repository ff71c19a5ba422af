#include "server/multipart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "server/schema.h"

namespace dreamlab {

namespace {

constexpr size_t kLongestBoundary = 70;  // RFC 2046

bool same_word(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
  });
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kBlanks = " \t";
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

// One `; name=value` of a header, taken off the front of `rest`. Values may be quoted, with backslashes before quotes.
struct Parameter {
  std::string_view name;
  std::string value;
};

std::optional<Parameter> next_parameter(std::string_view& rest) {
  rest = trim(rest);
  if (rest.empty() || rest.front() != ';') return std::nullopt;
  rest.remove_prefix(1);
  const size_t equals = rest.find('=');
  if (equals == std::string_view::npos) return std::nullopt;
  Parameter parameter{trim(rest.substr(0, equals)), ""};
  rest = trim(rest.substr(equals + 1));
  if (rest.empty() || rest.front() != '"') {
    const size_t end = std::min(rest.find(';'), rest.size());
    parameter.value = trim(rest.substr(0, end));
    rest.remove_prefix(end);
    return parameter;
  }
  size_t at = 1;
  while (at < rest.size() && rest[at] != '"') {
    if (rest[at] == '\\' && at + 1 < rest.size() && (rest[at + 1] == '"' || rest[at + 1] == '\\')) ++at;
    parameter.value += rest[at++];
  }
  if (at == rest.size()) return std::nullopt;  // the quotes are not closed
  rest.remove_prefix(at + 1);
  return parameter;
}

bool is_boundary(std::string_view text) {
  constexpr std::string_view kMarks = "'()+_,-./:=? ";
  return !text.empty() && text.size() <= kLongestBoundary && text.back() != ' ' &&
         std::all_of(text.begin(), text.end(), [&](char c) {
           return std::isalnum(static_cast<unsigned char>(c)) != 0 || kMarks.find(c) != std::string_view::npos;
         });
}

class MultipartReader {
 public:
  MultipartReader(std::string_view body, std::string_view boundary, const FormLimits& limits)
      : body_(body), delimiter_(fmt::format("\r\n--{}", boundary)), limits_(limits) {}

  std::vector<FormPart> read() {
    skip_preamble();
    std::vector<FormPart> parts;
    while (!at_end_of_parts()) {
      if (parts.size() == limits_.parts) malformed(fmt::format("the form has more than {} parts", limits_.parts));
      parts.push_back(read_part());
    }
    return parts;
  }

 private:
  [[noreturn]] void malformed(const std::string& what) const {
    throw RequestError(400, "", fmt::format("{} (byte {} of the body)", what, at_));
  }

  // Up to and with the first delimiter, which may stand at the very start.
  void skip_preamble() {
    const std::string_view first = std::string_view(delimiter_).substr(2);
    if (body_.substr(0, first.size()) == first) {
      at_ = first.size();
      return;
    }
    const size_t found = body_.find(delimiter_);
    if (found == std::string_view::npos) malformed("the form does not begin with its boundary");
    at_ = found + delimiter_.size();
  }

  // What follows a delimiter: "--" after the last one, else the end of the line.
  bool at_end_of_parts() {
    if (body_.substr(at_, 2) == "--") return true;
    while (at_ < body_.size() && (body_[at_] == ' ' || body_[at_] == '\t')) ++at_;
    if (body_.substr(at_, 2) != "\r\n") malformed("a boundary of the form is not at the end of its line");
    at_ += 2;
    return false;
  }

  FormPart read_part() {
    FormPart part;
    read_headers(part);
    const size_t end = find_end();
    part.body = body_.substr(at_, end - at_);
    at_ = end + delimiter_.size();
    return part;
  }

  size_t find_end() const {
    const size_t end = body_.find(delimiter_, at_);
    if (end == std::string_view::npos) malformed("the form ends inside a part");
    return end;
  }

  void read_headers(FormPart& part) {
    const size_t start = at_;
    bool disposed = false;
    for (;;) {
      const size_t end = body_.find("\r\n", at_);
      if (end == std::string_view::npos) malformed("the form ends inside a part's header");
      if (end - start > limits_.header_bytes)
        malformed(fmt::format("a part's header is longer than {} bytes", limits_.header_bytes));
      const std::string_view line = body_.substr(at_, end - at_);
      if (line.empty()) {
        at_ = end + 2;
        break;
      }
      disposed = read_header(line, part) || disposed;
      at_ = end + 2;
    }
    if (!disposed) malformed("a part of the form has no Content-Disposition with a name");
  }

  // True for a Content-Disposition with a name.
  bool read_header(std::string_view line, FormPart& part) const {
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) malformed("a header line of the form has no colon");
    const std::string_view name = line.substr(0, colon);
    std::string_view value = trim(line.substr(colon + 1));
    if (same_word(name, "content-type")) part.content_type = value;
    if (same_word(name, "content-transfer-encoding") && !same_word(value, "binary") && !same_word(value, "8bit") &&
        !same_word(value, "7bit"))
      malformed("a part of the form is encoded for transfer");
    if (!same_word(name, "content-disposition")) return false;
    const size_t end = std::min(value.find(';'), value.size());
    if (!same_word(trim(value.substr(0, end)), "form-data")) malformed("a part is not form-data");
    value.remove_prefix(end);
    bool named = false;
    while (auto parameter = next_parameter(value)) {
      if (same_word(parameter->name, "name")) {
        part.name = std::move(parameter->value);
        named = true;
      } else if (same_word(parameter->name, "filename")) {
        part.filename = std::move(parameter->value);
      }
    }
    return named;
  }

  std::string_view body_;
  std::string delimiter_;
  FormLimits limits_;
  size_t at_ = 0;
};

}  // namespace

std::optional<std::string> multipart_boundary(std::string_view content_type) {
  const size_t end = std::min(content_type.find(';'), content_type.size());
  if (!same_word(trim(content_type.substr(0, end)), "multipart/form-data")) return std::nullopt;
  content_type.remove_prefix(end);
  while (auto parameter = next_parameter(content_type)) {
    if (!same_word(parameter->name, "boundary")) continue;
    if (!is_boundary(parameter->value)) return std::nullopt;
    return std::move(parameter->value);
  }
  return std::nullopt;
}

std::vector<FormPart> parse_multipart(std::string_view body, std::string_view boundary, const FormLimits& limits) {
  return MultipartReader(body, boundary, limits).read();
}

}  // namespace dreamlab
