// The official OpenAI client against the server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdio.h>
#include <sys/wait.h>

#include "server/base64.h"
#include "server/test_server.h"

namespace dreamlab {
namespace {

using nlohmann::json;

// Runs the script; what it prints on standard output.
std::string run_client(const std::string& url) {
  const std::string command = std::string("'") + DREAMLAB_NODE + "' '" + DREAMLAB_OPENAI_CLIENT + "' " + url;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error(command + " cannot be run");
  std::string output;
  char piece[65536];
  for (size_t count; (count = fread(piece, 1, sizeof piece, pipe)) > 0;) output.append(piece, count);
  const int status = pclose(pipe);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
      << command << " failed; node 18 or later is needed (apt-get install nodejs)";
  return output;
}

TEST(OpenAiClient, WorksWithTheServer) {
  TestServer server({.environment = {{"STORAGE", "file:"}}});
  ASSERT_TRUE(server.wait_until_ready());
  const std::string output = run_client("http://127.0.0.1:" + std::to_string(server.port()));
  ASSERT_FALSE(output.empty());
  const json seen = json::parse(output);
  EXPECT_EQ(seen.at("models"), json::array({"tiny-sd15"}));
  EXPECT_EQ(seen.at("model"), "model");
  EXPECT_GT(seen.at("created").get<int64_t>(), 1'600'000'000);
  ASSERT_EQ(seen.at("pictures").size(), 2u);
  for (const json& picture : seen.at("pictures")) {
    const Image image = decode_image(decode_base64(picture.get<std::string>()).value(), "picture").image;
    EXPECT_EQ(image.width, 64);
    EXPECT_EQ(image.height, 64);
  }
  EXPECT_NE(seen.at("pictures")[0], seen.at("pictures")[1]);
  EXPECT_EQ(seen.at("stored"), (json{{"status", 200}, {"type", "image/jpeg"}}));

  EXPECT_EQ(seen.at("tooMany").at("name"), "UnprocessableEntityError");
  EXPECT_EQ(seen.at("tooMany").at("status"), 422);
  EXPECT_EQ(seen.at("tooMany").at("param"), "n");
  EXPECT_THAT(seen.at("tooMany").at("message").get<std::string>(),
              testing::HasSubstr("n is 11; allowed: an integer in 1..10"));
  EXPECT_EQ(seen.at("unknownModel").at("name"), "NotFoundError");
  EXPECT_EQ(seen.at("unknownModel").at("code"), "model_not_found");
}

}  // namespace
}  // namespace dreamlab
