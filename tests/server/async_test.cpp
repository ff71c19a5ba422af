#include "server/async.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <stdexcept>
#include <string>
#include <thread>

namespace dreamlab {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Runs a coroutine to its end and rethrows what it throws.
void run(awaitable<void> coroutine) {
  asio::io_context io;
  std::exception_ptr error = std::make_exception_ptr(std::runtime_error("it never ended"));
  asio::co_spawn(io, std::move(coroutine), [&](std::exception_ptr thrown) { error = thrown; });
  io.run();
  if (error) std::rethrow_exception(error);
}

awaitable<void> wait_for_callbacks() {
  auto at_once = [](std::function<void(int)> done) {
    done(1);
    done(2);
  };
  const int first = co_await await_callback<int>(at_once);
  EXPECT_EQ(first, 1);

  std::thread thread;
  const auto home = std::this_thread::get_id();
  auto from_a_thread = [&](std::function<void(std::string)> done) { thread = std::thread([done] { done("later"); }); };
  const std::string second = co_await await_callback<std::string>(from_a_thread);
  EXPECT_EQ(second, "later");
  EXPECT_EQ(std::this_thread::get_id(), home) << "it goes on where it was";
  thread.join();
}

TEST(AwaitCallback, GoesOnWithTheFirstValueWhereverItComesFrom) {
  run(wait_for_callbacks());
}

awaitable<void> start_that_throws() {
  auto start = [](std::function<void(int)>) { throw std::out_of_range("no start"); };
  co_await await_callback<int>(start);
}

TEST(AwaitCallback, ThrowsWhatTheStartThrows) {
  EXPECT_THROW(run(start_that_throws()), std::out_of_range);
}

awaitable<void> run_on_a_pool(asio::thread_pool& pool) {
  const auto home = std::this_thread::get_id();
  bool elsewhere = false;
  auto note = [&] { elsewhere = std::this_thread::get_id() != home; };
  co_await run_blocking(pool, note);
  EXPECT_TRUE(elsewhere);
  EXPECT_EQ(std::this_thread::get_id(), home);
  auto make = [] { return std::make_unique<int>(7); };
  const std::unique_ptr<int> made = co_await run_blocking(pool, make);
  EXPECT_EQ(*made, 7);
  auto fail_there = []() -> int { throw std::out_of_range("there"); };
  co_await run_blocking(pool, fail_there);
}

TEST(RunBlocking, RunsElsewhereAndBringsBackResultsAndExceptions) {
  asio::thread_pool pool(1);
  EXPECT_THROW(run(run_on_a_pool(pool)), std::out_of_range);
}

using Box = Mailbox<int>;

awaitable<void> take_all(Box& box, std::vector<int>& taken) {
  for (;;) {
    Box::Taken next = co_await box.take(seconds(30));
    if (next.why == Box::Why::timeout) throw std::runtime_error("nothing came");
    if (next.why == Box::Why::closed) co_return;
    taken.push_back(*next.value);
  }
}

TEST(Mailbox, GivesEverythingInOrderThenSaysThatItIsClosed) {
  Box box;
  std::vector<int> taken;
  std::thread sender([&] {
    for (int i = 0; i < 1000; ++i) box.put(i);
    box.close();
    box.put(1000);
  });
  run(take_all(box, taken));
  sender.join();
  ASSERT_EQ(taken.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(taken[i], i);
}

awaitable<void> take_from_empty(Box& box) {
  Box::Taken nothing = co_await box.take(milliseconds(10));
  EXPECT_EQ(nothing.why, Box::Why::timeout);
  box.put(3);
  Box::Taken something = co_await box.take(milliseconds(0));
  EXPECT_EQ(something.value, 3);
}

TEST(Mailbox, SaysThatNothingCameInTime) {
  Box box;
  run(take_from_empty(box));
}

}  // namespace
}  // namespace dreamlab
