#pragma once

// Asks a server by one request on a connection of its own. Nothing but sockets, so that hundreds of threads can do it.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <string_view>

namespace dreamlab {

struct PlainAnswer {
  int status = 0;      // 0: none came
  bool whole = false;  // the body is as long as the header says
  std::string header, body;

  // Of the header; "" where it is not there.
  std::string value_of(const std::string& name) const {
    const size_t at = header.find("\r\n" + name + ": ");
    if (at == std::string::npos) return "";
    const size_t begin = at + name.size() + 4;
    return header.substr(begin, header.find("\r\n", begin) - begin);
  }
};

class PlainConnection {
 public:
  explicit PlainConnection(int port, int timeout_s = 120) {
    socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const timeval timeout{timeout_s, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  ~PlainConnection() { ::close(socket_); }
  PlainConnection(const PlainConnection&) = delete;
  PlainConnection& operator=(const PlainConnection&) = delete;

  bool connected() const { return connected_; }

  bool send(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t count = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
      if (count <= 0) return false;
      text.remove_prefix(static_cast<size_t>(count));
    }
    return true;
  }

  // Until the server closes.
  PlainAnswer receive() const {
    std::string text;
    char piece[16384];
    for (ssize_t count = 0; (count = ::recv(socket_, piece, sizeof piece, 0)) > 0;) {
      text.append(piece, static_cast<size_t>(count));
    }
    return parse(text);
  }

 private:
  static PlainAnswer parse(const std::string& text) {
    PlainAnswer answer;
    const size_t end = text.find("\r\n\r\n");
    if (!text.starts_with("HTTP/1.1 ") || end == std::string::npos) return answer;
    answer.status = std::atoi(text.c_str() + 9);
    answer.header = text.substr(0, end);
    answer.body = text.substr(end + 4);
    answer.whole = answer.value_of("Content-Length") == std::to_string(answer.body.size());
    return answer;
  }

  int socket_ = -1;
  bool connected_ = false;
};

inline std::string request_text(std::string_view method, std::string_view path, std::string_view json = "") {
  std::string text =
      std::string(method) + " " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
  if (!json.empty()) {
    text += "Content-Type: application/json\r\nContent-Length: " + std::to_string(json.size()) + "\r\n";
  }
  return text + "\r\n" + std::string(json);
}

inline PlainAnswer ask_server(int port, std::string_view method, std::string_view path, std::string_view json = "") {
  const PlainConnection connection(port);
  if (!connection.connected() || !connection.send(request_text(method, path, json))) return {};
  return connection.receive();
}

}  // namespace dreamlab
