#pragma once

// A client that does as it is told: bytes as they are given, plain or through TLS, and answers as they come. Every
// wait ends after kPatience with an exception, so that a server that hangs fails a test.
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dreamlab {

struct WireAnswer {
  int status = 0;
  std::string reason;
  std::map<std::string, std::string, std::less<>> headers;  // names in lower case
  std::string body;
  bool chunked = false, keeps_alive = false;

  std::string header(std::string_view lower_case_name) const;
};

class HttpClient {
 public:
  static constexpr std::chrono::seconds kPatience{30};
  enum class Security { plain, tls };
  using Headers = std::vector<std::pair<std::string, std::string>>;

  explicit HttpClient(int port, Security security = Security::plain);
  ~HttpClient();
  HttpClient(HttpClient&&) noexcept;

  void send(std::string_view bytes);
  // False where the server did not take them.
  bool try_send(std::string_view bytes);
  // The next answer. to_head: it has no body, whatever it says of one.
  WireAnswer receive(bool to_head = false);
  // A request with Host and, of a body, Content-Length; and its answer.
  WireAnswer request(const std::string& method, const std::string& target, const std::string& body = "",
                     const Headers& headers = {});
  // What comes until there are `count` bytes, at least.
  std::string receive_bytes(size_t count);
  // What still comes until the server closes the connection.
  std::string receive_until_closed();
  // Whether something comes, or the connection ends, within that time.
  bool hears_within(std::chrono::milliseconds time);

  void shut_down_sending();
  void leave();  // closes as a program that ends
  void reset();  // breaks off

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dreamlab
