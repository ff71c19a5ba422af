#include "worker/styles.h"

#include <gmock/gmock.h>
#include <spdlog/sinks/ostream_sink.h>

#include <random>
#include <sstream>

#include "base/log.h"
#include "pipeline/golden_models.h"
#include "test_workers.h"
#include "weights/file_writers.h"
#include "weights/tensor_writer.h"
#include "worker/style_shelf.h"

namespace dreamlab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// --- the file ---

class StylesFile : public ::testing::Test {
 protected:
  std::vector<StyleEntry> read(const std::string& text) {
    return read_styles(directory_.write("styles.yaml", text), "/loras");
  }
  void expect_error(const std::string& text, const std::string& where, const std::string& part) {
    expect_refused([&] { read(text); }, ErrorKind::invalid_file, (directory_.path() / "styles.yaml").string() + where,
                   part);
  }

  TemporaryDirectory directory_;
};

TEST_F(StylesFile, GivesStylesInItsOrderWithPathsBelowTheRoot) {
  const std::vector<StyleEntry> styles = read(
      "styles:\n"
      "  papercut: {title: Paper cut, path: p/papercut.safetensors, levels: [0.5, 0.8, 1], cross_attention_dim: 2048}\n"
      "  ink: {path: /elsewhere/ink.safetensors}\n");
  ASSERT_EQ(styles.size(), 2u);
  const StyleEntry papercut{"papercut", "Paper cut", "/loras/p/papercut.safetensors", {0.5, 0.8, 1.0}, 2048};
  const StyleEntry ink{"ink", "ink", "/elsewhere/ink.safetensors", {1.0}, std::nullopt};
  EXPECT_TRUE(styles[0] == papercut);
  EXPECT_TRUE(styles[1] == ink);
}

TEST_F(StylesFile, MayBeEmpty) {
  for (const char* text : {"", "# nothing yet\n", "styles:\n", "styles: {}\n"}) EXPECT_THAT(read(text), IsEmpty());
}

TEST_F(StylesFile, ErrorsNameTheLineAndWhatIsAllowed) {
  expect_error("styles: [a, b]\n", ":1: ", "map");
  expect_error("styles:\n  a: {title: A}\n", ":2: ", "style a has no path");
  expect_error("styles:\n  a: {path: ''}\n", ":2: ", "style a has no path");
  expect_error("styles:\n  a:\n    path: a\n    strength: 2\n",
               ":4: ", "\"strength\" is not known here; allowed are title, path, levels, cross_attention_dim");
  expect_error("stiles:\n  a: {path: a}\n", ":2: ", "\"stiles\" is not known here; allowed are styles");
  expect_error("styles:\n  a: {path: a, levels: []}\n", ":2: ", "0 levels; 1..8 are allowed");
  expect_error("styles:\n  a: {path: a, levels: [1, 2, 3, 4, 5, 6, 7, 8, 9]}\n", ":2: ", "9 levels");
  expect_error("styles:\n  a:\n    path: a\n    levels: [0.5, strong]\n", ":4: ", "a number is needed");
  expect_error("styles:\n  a: {path: a, levels: [1e9]}\n", ":2: ", "-100..100");
  expect_error("styles:\n  a: {path: a, levels: [.nan]}\n", ":2: ", "a number is needed");
  expect_error("styles:\n  a: {path: a, cross_attention_dim: wide}\n", ":2: ", "a whole number is needed");
  expect_error("styles:\n  a: {path: a, cross_attention_dim: 0}\n", ":2: ", "1 or more");
  expect_error("styles:\n  a: {path: a}\n  a: {path: b}\n", ":3: ", "a is here twice");
  expect_error("styles:\n  a: {path: [1]}\n", ":2: ", "a text is needed");
  expect_error("styles: {a: {path: a}\n", ":", "this is no YAML");
  expect_refused([] { read_styles("/no/such/styles.yaml", ""); }, ErrorKind::unavailable, "/no/such/styles.yaml");
}

// --- on a model ---

// What is logged while it lives.
class CapturedLog {
 public:
  CapturedLog() : sink_(std::make_shared<spdlog::sinks::ostream_sink_mt>(text_)) {
    log::default_logger()->sinks().push_back(sink_);
  }
  ~CapturedLog() { log::default_logger()->sinks().pop_back(); }
  std::vector<std::string> lines() const {
    std::vector<std::string> lines;
    std::istringstream stream(text_.str());
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
  }

 private:
  std::ostringstream text_;
  std::shared_ptr<spdlog::sinks::ostream_sink_mt> sink_;
};

struct StyledModel {
  const char *name, *model, *other;
};

void PrintTo(const StyledModel& model, std::ostream* out) {
  *out << model.name;
}

// A worker whose registry has styles that fit, that do not, and that are none.
class StyleTest : public ::testing::TestWithParam<StyledModel> {
 protected:
  static std::string file(const char* model, const char* kind) { return std::string(model) + "-lora-" + kind; }

  PipelineWorker& worker() {
    static std::map<std::string, std::shared_ptr<PipelineWorker>> workers;
    std::shared_ptr<PipelineWorker>& worker = workers[GetParam().name];
    if (worker) return *worker;
    WorkerOptions options = options_for(golden_model(GetParam().model));
    options.styles = {golden_style("paper", file(GetParam().model, "kohya"), {0.5, 0.8}),
                      golden_style("foreign", file(GetParam().other, "kohya")),
                      golden_style("ink", file(GetParam().model, "peft")),
                      golden_style("wide", file(GetParam().model, "peft")),
                      golden_style("upscaler", "tiny-esrgan"),
                      golden_style("gone", "no-such-file")};
    options.styles[3].cross_attention_dim = 12345;
    const CapturedLog log;
    worker = make_worker(options);
    log_lines_ = log.lines();
    return *worker;
  }
  JobResult styled(const StyleChoice& choice) {
    JobRequest request = small_request();
    request.style = choice;
    return run(worker(), request);
  }

  static std::vector<std::string> log_lines_;
};
std::vector<std::string> StyleTest::log_lines_;

INSTANTIATE_TEST_SUITE_P(Models, StyleTest,
                         ::testing::Values(StyledModel{"SD", "tiny-sd15", "tiny-sdxl"},
                                           StyledModel{"SDXL", "tiny-sdxl", "tiny-sd15"}),
                         [](const auto& info) { return info.param.name; });

TEST_P(StyleTest, SkipsWhatDoesNotFitTheModelWithOneLineEach) {
  std::vector<std::string> ids;
  for (const StyleInfo& style : worker().info().styles) ids.push_back(style.id);
  EXPECT_THAT(ids, ElementsAre("paper", "ink"));
  EXPECT_THAT(worker().info().styles[0].levels, ElementsAre(0.5, 0.8));
  ASSERT_EQ(log_lines_.size(), 4u) << "foreign, wide, upscaler, gone";
  EXPECT_THAT(log_lines_[0], HasSubstr("style foreign is skipped: "));
  EXPECT_THAT(log_lines_[1], HasSubstr("style wide is skipped: it is for a cross-attention width of 12345"));
  EXPECT_THAT(log_lines_[2], HasSubstr("style upscaler is skipped: "));
  EXPECT_THAT(log_lines_[3], HasSubstr("style gone is skipped: "));
}

TEST_P(StyleTest, AnUnknownOrSkippedStyleIsAnErrorThatSaysWhatThereIs) {
  const int64_t width = worker().info().cross_attention_dim;
  const std::pair<const char*, std::string> cases[] = {
      {"papercut", "there are paper, ink"},
      {"foreign", fmt::format("this model's ({}) is {}", worker().info().family, width)},
      {"wide", fmt::format("is {}", width)},
      {"upscaler", "a LoRA is expected"},
      {"gone", "no-such-file.safetensors"},
      {"", "there are paper, ink"},
  };
  for (const auto& [id, part] : cases) {
    for (const int level : {0, 1, 8}) {
      JobRequest request = small_request();
      request.style = StyleChoice{id, level};
      expect_refused([&] { worker().check(request); }, ErrorKind::invalid_argument, "", part);
      expect_refused([&] { run(worker(), request); }, ErrorKind::invalid_argument, "", part);
    }
  }
  JobRequest below = small_request();
  below.style = StyleChoice{"paper", -1};
  expect_refused([&] { worker().check(below); }, ErrorKind::invalid_argument, "style paper: level -1");
}

TEST_P(StyleTest, LevelZeroIsOffAndALevelAboveTheLadderIsItsLastRung) {
  const std::vector<uint8_t> plain = run(worker(), small_request()).png;
  EXPECT_EQ(styled({"paper", 0}).png, plain);
  const std::vector<uint8_t> weak = styled({"paper", 1}).png, strong = styled({"paper", 2}).png;
  EXPECT_NE(weak, plain);
  EXPECT_NE(strong, plain);
  EXPECT_NE(strong, weak);
  EXPECT_EQ(styled({"paper", 3}).png, strong);
  EXPECT_EQ(styled({"paper", 8}).png, strong);
}

TEST_P(StyleTest, IsToldInThePicture) {
  EXPECT_THAT(styled({"paper", 8}).parameters, testing::HasSubstr(", Style: paper, Style level: 2, Version: "));
  EXPECT_THAT(styled({"paper", 0}).parameters, testing::Not(testing::HasSubstr("Style")));
}

TEST_P(StyleTest, ALevelIsTheStrengthOfTheLadder) {
  Pipeline& pipeline = golden_pipeline(GetParam().model);
  GenerationRequest request = pipeline.default_request();
  request.prompt = small_request().prompt;
  request.size = {64, 64};
  request.steps = 2;
  request.seed = 42;
  request.loras = {{pipeline.load_lora(golden_model(file(GetParam().model, "kohya"))), 0.8f}};
  EXPECT_EQ(*styled({"paper", 2}).latents, pipeline.generate(request).fingerprint);
}

TEST_P(StyleTest, LeavesNoTraceInTheNextJob) {
  const std::vector<uint8_t> before = run(worker(), small_request()).png;
  const std::vector<uint8_t> paper = styled({"paper", 2}).png;
  EXPECT_EQ(run(worker(), small_request()).png, before);
  const std::vector<uint8_t> ink = styled({"ink", 1}).png;
  EXPECT_NE(ink, paper);
  EXPECT_EQ(run(worker(), small_request()).png, before);
  EXPECT_EQ(styled({"paper", 2}).png, paper) << "ink left a trace in paper";
  EXPECT_EQ(styled({"ink", 1}).png, ink);
  // Neither does one that was cut off.
  JobRequest request = small_request();
  request.style = StyleChoice{"ink", 1};
  Job job(request, {});
  const auto active = worker().start(job);
  ActiveJob* const jobs[] = {active.get()};
  worker().advance(jobs, nullptr);
  job.cancel_token().cancel();
  EXPECT_THROW(worker().advance(jobs, &job.cancel_token()), Error);
  EXPECT_EQ(run(worker(), small_request()).png, before);
}

TEST_P(StyleTest, AdaptersAreLoadedOnceAndKeptWithinBounds) {
  const Pipeline& pipeline = golden_pipeline(GetParam().model);
  const std::vector<StyleEntry> styles = {golden_style("a", file(GetParam().model, "kohya")),
                                          golden_style("b", file(GetParam().model, "peft")),
                                          golden_style("c", file(GetParam().model, "locon"))};
  const auto adapter = [](StyleShelf& shelf, const char* id) { return shelf.uses(StyleChoice{id, 1}).at(0).adapter; };
  StyleShelf roomy(pipeline, styles);
  const auto first = adapter(roomy, "a");
  adapter(roomy, "b");
  adapter(roomy, "c");
  EXPECT_EQ(adapter(roomy, "a"), first);
  EXPECT_EQ(roomy.kept(), 3u);

  const uint64_t two = std::filesystem::file_size(styles[0].path) + std::filesystem::file_size(styles[1].path);
  StyleShelf narrow(pipeline, styles, two);
  const auto kept = adapter(narrow, "a");
  adapter(narrow, "b");
  EXPECT_EQ(narrow.kept(), 2u);
  EXPECT_EQ(adapter(narrow, "a"), kept);
  adapter(narrow, "c");
  EXPECT_LE(narrow.kept(), 2u);
  EXPECT_GE(narrow.kept(), 1u);
  StyleShelf none(pipeline, styles, 0);
  adapter(none, "a");
  adapter(none, "b");
  EXPECT_EQ(none.kept(), 1u) << "the last one used stays";
}

TEST_P(StyleTest, AFileThatBreaksLaterIsAnErrorToo) {
  const TemporaryDirectory directory;
  StyleEntry style = golden_style("fragile", file(GetParam().model, "peft"));
  const std::filesystem::path copy = directory.path() / "fragile.safetensors";
  std::filesystem::copy_file(style.path, copy);
  style.path = copy;
  StyleShelf shelf(golden_pipeline(GetParam().model), {style});
  std::filesystem::remove(copy);
  directory.write("fragile.safetensors", "no longer a LoRA");
  expect_refused(
      [&] {
        shelf.uses(StyleChoice{"fragile", 1});
      },
      ErrorKind::invalid_argument, "style fragile cannot be used: " + copy.string());
  EXPECT_EQ(shelf.kept(), 0u);
}

// Adapters of files with LoHa's factors: of every attention projection and one convolution.
TEST_P(StyleTest, LoHaFilesAreStylesAsWell) {
  const ModelConfig& config = golden_pipeline(GetParam().model).config();
  TensorWriter writer;
  uint32_t seed = 0;
  const auto random = [&](Shape shape) {
    std::mt19937 generator(++seed);
    std::vector<float> values(static_cast<size_t>(shape.elements()));
    for (float& value : values) value = static_cast<float>(generator() % 2001) / 1000.0f - 1.0f;
    return HostTensor::from_f32(std::move(values), shape);
  };
  int modules = 0;
  for (const ExpectedTensor& tensor : expected_tensors(config.unet)) {
    const bool projection = tensor.name.find("attn") != std::string::npos && tensor.shape.rank() == 2;
    const bool convolution = tensor.name == "mid_block.resnets.0.conv1.weight";
    if (!tensor.name.ends_with(".weight") || !(projection || convolution)) continue;
    std::string name = tensor.name.substr(0, tensor.name.size() - std::string(".weight").size());
    std::replace(name.begin(), name.end(), '.', '_');
    for (const char* number : {"1", "2"}) {
      writer.add("lora_unet_" + name + ".hada_w" + number + "_a", random({tensor.shape[0], 2}));
      writer.add("lora_unet_" + name + ".hada_w" + number + "_b",
                 random({2, tensor.shape.elements() / tensor.shape[0]}));
    }
    writer.add("lora_unet_" + name + ".alpha", HostTensor::from_f32(std::vector<float>{0.1f}, Shape{}));
    ++modules;
  }
  ASSERT_GT(modules, 20);
  const TemporaryDirectory directory;
  WorkerOptions options = options_for(golden_model(GetParam().model));
  StyleEntry style;
  style.id = "loha";
  style.path = directory.write("loha.safetensors", writer.file());
  style.levels = {1.0, 0.5};
  options.styles = {style};
  const std::shared_ptr<PipelineWorker> worker = make_worker(options);
  ASSERT_EQ(worker->info().styles.size(), 1u);
  const std::vector<uint8_t> before = run(*worker, small_request()).png;
  JobRequest request = small_request();
  request.style = StyleChoice{"loha", 1};
  const std::vector<uint8_t> full = run(*worker, request).png;
  request.style = StyleChoice{"loha", 2};
  EXPECT_NE(full, before);
  EXPECT_NE(run(*worker, request).png, full);
  EXPECT_EQ(run(*worker, small_request()).png, before);
}

}  // namespace
}  // namespace dreamlab
