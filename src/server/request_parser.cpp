#include "server/request_parser.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <cctype>

#include "server/errors.h"
#include "server/url.h"

namespace dreamlab {

namespace {

namespace http = boost::beast::http;
using boost::system::error_code;
using View = boost::beast::string_view;

// A line of the chunked coding (size and extensions), or the trailer. No one needs more.
constexpr size_t kMaxChunkLine = 4096;
// What is left of a chunked body ends with "0", CR, LF, CR, LF at least. Beast asserts that it is never given less of
// its last chunk.
constexpr size_t kChunkedEnd = 5;

std::string to_lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return lower;
}

bool has_controls(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

}  // namespace

class RequestParser::Impl final : public http::basic_parser<true> {
 public:
  explicit Impl(size_t limit) : header_bytes_max(limit) {
    header_limit(static_cast<uint32_t>(limit));
    body_limit(boost::none);
  }

  Stage stage() const {
    if (is_done()) return Stage::done;
    return is_header_done() ? Stage::body : Stage::header;
  }

  size_t put_bytes(std::string_view bytes);

  HttpRequest request;
  std::string encoded_path;
  std::string target;
  bool http_1_1 = true, expects_continue = false, failed = false;
  size_t header_bytes_max, header_bytes = 0;
  uint64_t body_max = 0, body_received = 0;

 private:
  void on_request_impl(http::verb, View method, View request_target, int version, error_code&) override {
    request.method = std::string(method);
    target = std::string(request_target);
    http_1_1 = version >= 11;
  }
  void on_response_impl(int, View, int, error_code&) override {}
  void on_field_impl(http::field, View name, View value, error_code&) override;
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<uint64_t>&, error_code&) override {}
  size_t on_body_impl(View bytes, error_code& error) override { return take_body(bytes, error); }
  void on_chunk_header_impl(uint64_t, View, error_code&) override {}
  size_t on_chunk_body_impl(uint64_t, View bytes, error_code& error) override { return take_body(bytes, error); }
  void on_finish_impl(error_code&) override {}

  size_t take_body(View bytes, error_code& error);
  void finish_header();
  void check_fields();
  void split_target();
  [[noreturn]] void refuse(error_code error);

  bool in_trailer_ = false;
  int hosts_ = 0;
  bool has_transfer_encoding_ = false, has_content_length_ = false;
};

// Lines of the same name are one list (RFC 9110, section 5.3).
void RequestParser::Impl::on_field_impl(http::field, View name, View value, error_code&) {
  if (in_trailer_) return;
  const std::string key = to_lower({name.data(), name.size()});
  hosts_ += key == "host";
  has_transfer_encoding_ |= key == "transfer-encoding";
  has_content_length_ |= key == "content-length";
  std::string& text = request.headers[key];
  if (!text.empty()) text += key == "cookie" ? "; " : ", ";
  text.append(value.data(), value.size());
}

size_t RequestParser::Impl::take_body(View bytes, error_code& error) {
  body_received += bytes.size();
  if (body_received > body_max) {
    error = http::error::body_limit;
    return 0;
  }
  request.body.append(bytes.data(), bytes.size());
  return bytes.size();
}

size_t RequestParser::Impl::put_bytes(std::string_view bytes) {
  const bool was_header = !is_header_done();
  size_t taken = 0;
  // Whole lines and runs of the body one after the other, but never past the header or the end.
  while (taken < bytes.size() && !is_done()) {
    const std::string_view rest = bytes.substr(taken);
    if (!was_header && chunked() && rest.size() < kChunkedEnd) break;
    error_code error;
    const size_t used = put(boost::asio::buffer(rest.data(), rest.size()), error);
    taken += used;
    if (was_header) header_bytes += used;
    if (header_bytes > header_bytes_max) refuse(http::error::header_limit);
    if (error == http::error::need_more) {
      if (is_header_done() && bytes.size() - taken > kMaxChunkLine) refuse(http::error::bad_chunk);
      break;
    }
    if (error) refuse(error);
    if (was_header && is_header_done()) break;
  }
  if (was_header && is_header_done()) finish_header();
  return taken;
}

void RequestParser::Impl::finish_header() {
  in_trailer_ = true;
  check_fields();
  split_target();
}

void RequestParser::Impl::check_fields() {
  if (has_transfer_encoding_ && has_content_length_) {
    throw HttpError(400, "Content-Length and Transfer-Encoding exclude each other");
  }
  if (has_transfer_encoding_) {
    if (!http_1_1) throw HttpError(400, "Transfer-Encoding is not a part of HTTP/1.0");
    if (to_lower(request.header("transfer-encoding")) != "chunked") {
      throw HttpError(501, "Transfer-Encoding: only chunked is understood");
    }
  }
  if (hosts_ > 1 || (http_1_1 && hosts_ == 0)) throw HttpError(400, "exactly one Host header is needed");
  const std::string expectation = to_lower(request.header("expect"));
  if (!expectation.empty() && http_1_1) {
    if (expectation != "100-continue") throw HttpError(417, "Expect: only 100-continue is understood");
    expects_continue = true;
  }
}

// origin-form, absolute-form (whose authority does not matter here), or * (RFC 9112, section 3.2).
void RequestParser::Impl::split_target() {
  std::string_view rest = target;
  const std::string scheme = to_lower(rest.substr(0, 8));
  if (scheme.starts_with("http://") || scheme == "https://") {
    rest.remove_prefix(scheme.starts_with("http://") ? 7 : 8);
    const size_t path = std::min(rest.find_first_of("/?#"), rest.size());
    if (path == 0) throw HttpError(400, "the request target has no host");
    rest.remove_prefix(path);
    if (!rest.starts_with('/')) rest = "/";
  }
  rest = rest.substr(0, rest.find('#'));
  const size_t question = rest.find('?');
  encoded_path = std::string(rest.substr(0, question));
  const bool is_star = encoded_path == "*" && request.method == "OPTIONS";
  if (!is_star && !encoded_path.starts_with('/')) throw HttpError(400, "the request target is not a path");

  std::optional<std::string> path = percent_decode(encoded_path);
  if (!path || has_controls(*path)) throw HttpError(400, "the path is not percent-encoded as it should be");
  request.path = std::move(*path);
  if (question == std::string_view::npos) return;
  auto query = parse_query(rest.substr(question + 1));
  if (!query) throw HttpError(400, "the query is not percent-encoded as it should be");
  request.query = std::move(*query);
}

void RequestParser::Impl::refuse(error_code error) {
  if (error == http::error::header_limit) {
    throw HttpError(431, fmt::format("the header is over {} bytes", header_bytes_max));
  }
  if (error == http::error::body_limit) {
    throw HttpError(413, fmt::format("the body is over {} bytes, the most that is allowed here", body_max));
  }
  if (error == http::error::bad_version) throw HttpError(400, "not HTTP/1.0 or HTTP/1.1");
  throw HttpError(400, "malformed request: " + error.message());
}

RequestParser::RequestParser(size_t header_limit) : impl_(std::make_unique<Impl>(header_limit)) {}
RequestParser::~RequestParser() = default;
RequestParser::RequestParser(RequestParser&&) noexcept = default;
RequestParser& RequestParser::operator=(RequestParser&&) noexcept = default;

RequestParser::Stage RequestParser::stage() const {
  return impl_->stage();
}
size_t RequestParser::put(std::string_view bytes) {
  try {
    return impl_->put_bytes(bytes);
  } catch (...) {
    impl_->failed = true;
    throw;
  }
}

void RequestParser::set_body_limit(uint64_t bytes) {
  impl_->body_max = bytes;
  if (content_length().value_or(0) <= bytes) return;
  throw HttpError(413, fmt::format("the body of {} bytes is over {} bytes, the most that is allowed here",
                                   *content_length(), bytes));
}

HttpRequest& RequestParser::request() {
  return impl_->request;
}
const HttpRequest& RequestParser::request() const {
  return impl_->request;
}
const std::string& RequestParser::encoded_path() const {
  return impl_->encoded_path;
}
bool RequestParser::is_http_1_1() const {
  return impl_->http_1_1;
}
bool RequestParser::keep_alive() const {
  return !impl_->failed && impl_->is_header_done() && impl_->keep_alive();
}
bool RequestParser::expects_continue() const {
  return impl_->expects_continue;
}
bool RequestParser::has_body() const {
  return impl_->is_header_done() && (impl_->chunked() || impl_->content_length().value_or(0) > 0);
}
std::optional<uint64_t> RequestParser::content_length() const {
  if (!impl_->is_header_done() || !impl_->content_length()) return std::nullopt;
  return *impl_->content_length();
}
uint64_t RequestParser::body_received() const {
  return impl_->body_received;
}

}  // namespace dreamlab
