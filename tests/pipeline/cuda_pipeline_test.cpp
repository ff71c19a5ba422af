// Whole pictures on a GPU: the same bytes alone, in company and from recordings, and close to the CPU's. Skipped where
// there is no GPU.
#include <gtest/gtest.h>

#include <cmath>

#include "base/assets.h"
#include "device/cuda_backend.h"
#include "golden_models.h"

namespace dreamlab {
namespace {

struct ModelCase {
  std::string name, lora;  // of the golden models; "demo": the one in the box
  PictureSize size;
};
void PrintTo(const ModelCase& model, std::ostream* out) {
  *out << model.name;
}

std::shared_ptr<const Checkpoint> open_model(const std::string& name) {
  return Checkpoint::open(name == "demo" ? *find_asset("models/demo")
                                         : golden_dir() / "models" / (name + ".safetensors"));
}

double psnr(const Image& a, const Image& b) {
  double squares = 0;
  for (size_t i = 0; i < a.pixels.size(); ++i) squares += std::pow(double(a.pixels[i]) - b.pixels[i], 2);
  return 10 * std::log10(255.0 * 255.0 * static_cast<double>(a.pixels.size()) / std::max(squares, 1e-9));
}

class CudaPipeline : public testing::TestWithParam<ModelCase> {
 protected:
  void SetUp() override {
    if (const auto why = why_no_cuda_device()) GTEST_SKIP() << *why;
    device_ = make_cuda_device({});
    pipeline_ = std::make_unique<Pipeline>(*device_, open_model(GetParam().name));
  }

  // Requests that differ in everything that jobs of one batch may differ in.
  std::vector<GenerationRequest> requests() const {
    const char* const prompts[] = {"a red ball on a table", "two green cups in the snow",
                                   "a blue fish on a beach at sunset", "a majestic mountain landscape",
                                   "a yellow star at night"};
    std::vector<GenerationRequest> all;
    for (const char* prompt : prompts) {
      GenerationRequest request = pipeline_->default_request();
      request.prompt = prompt;
      request.size = GetParam().size;
      request.seed = 40 + all.size();
      request.steps = 4;
      all.push_back(request);
    }
    all[1].guidance_scale = 3;
    all[1].negative_prompt = "gray";
    all[3].sampler = "euler";
    all[3].steps = 6;
    return all;
  }

  std::unique_ptr<Device> device_;
  std::unique_ptr<Pipeline> pipeline_;
};

TEST_P(CudaPipeline, GivesTheSameBytesEachTime) {
  const std::vector<GenerationRequest> all = requests();
  const Image first = pipeline_->generate(all[0]).image;
  pipeline_->generate(all[2]);
  // By now every pass is repeated from a recording.
  for (int run = 0; run < 3; ++run) EXPECT_TRUE(pipeline_->generate(all[0]).image == first) << "run " << run;
  const std::unique_ptr<Device> plain = make_cuda_device({.recordings = false});
  Pipeline unrecorded(*plain, open_model(GetParam().name));
  EXPECT_TRUE(unrecorded.generate(all[0]).image == first) << "without recordings";
}

TEST_P(CudaPipeline, GivesTheSameBytesInABatch) {
  std::vector<GenerationRequest> all = requests();
  if (!GetParam().lora.empty()) {
    const auto adapter = pipeline_->load_lora(golden_dir() / "models" / GetParam().lora);
    all[0].loras = {{adapter, 0.7f}};
    all[4].loras = {{adapter, 0.2f}};
  }
  std::vector<Image> alone;
  for (const GenerationRequest& request : all) alone.push_back(pipeline_->generate(request).image);
  for (int run = 0; run < 3; ++run) {
    const std::vector<GenerationResult> together = pipeline_->generate_batch(all);
    for (size_t i = 0; i < all.size(); ++i)
      EXPECT_TRUE(together[i].image == alone[i]) << "picture " << i << " of run " << run;
  }
}

// Jobs that come and go between steps, as in a server.
TEST_P(CudaPipeline, GivesTheSameBytesToJobsThatJoinLater) {
  std::vector<GenerationRequest> all = requests();
  const Image alone_a = pipeline_->generate(all[0]).image, alone_b = pipeline_->generate(all[2]).image;
  const auto a = pipeline_->start(all[0]), b = pipeline_->start(all[2]);
  DenoisingJob* const first[] = {a.get()};
  DenoisingJob* const both[] = {b.get(), a.get()};
  DenoisingJob* const last[] = {b.get()};
  pipeline_->advance(first);
  pipeline_->advance(first);
  while (!a->done()) pipeline_->advance(both);
  while (!b->done()) pipeline_->advance(last);
  EXPECT_TRUE(pipeline_->decode_image(a->latents(), TilingMode::off) == alone_a);
  EXPECT_TRUE(pipeline_->decode_image(b->latents(), TilingMode::off) == alone_b);
}

TEST_P(CudaPipeline, IsCloseToTheCpu) {
  const std::unique_ptr<Device> cpu = make_cpu_device({.dtype = DType::f32});
  Pipeline exact(*cpu, open_model(GetParam().name));
  for (const GenerationRequest& request : requests()) {
    const double db = psnr(pipeline_->generate(request).image, exact.generate(request).image);
    RecordProperty("psnr", std::to_string(db));
    EXPECT_GE(db, 35) << request.prompt;
  }
}

TEST_P(CudaPipeline, GivesTheSameBytesWhereWeightsComeAndGo) {
  const GenerationRequest request = requests()[1];
  const Image resident = pipeline_->generate(request).image;
  for (Offload offload : {Offload::model, Offload::stream}) {
    const std::unique_ptr<Device> device = make_cuda_device({.offload = offload});
    Pipeline pipeline(*device, open_model(GetParam().name));
    for (int run = 0; run < 2; ++run) EXPECT_TRUE(pipeline.generate(request).image == resident) << "run " << run;
  }
}

TEST_P(CudaPipeline, DecodesAndEncodesInTiles) {
  GenerationRequest request = requests()[0];
  request.size = {640, 576};
  request.vae_tiling = TilingMode::on;
  const auto picture = std::make_shared<Image>(pipeline_->generate(request).image);
  request.init_image = picture;
  request.strength = 0.3;
  EXPECT_EQ(pipeline_->generate(request).image.pixels.size(), picture->pixels.size());
}

INSTANTIATE_TEST_SUITE_P(Models, CudaPipeline,
                         testing::Values(ModelCase{"tiny-sd15", "tiny-sd15-lora-kohya.safetensors", {64, 72}},
                                         ModelCase{"tiny-sd2", "", {64, 64}},
                                         ModelCase{"tiny-sdxl", "tiny-sdxl-lora-kohya.safetensors", {72, 64}},
                                         ModelCase{"demo", "", {256, 256}}),
                         [](const testing::TestParamInfo<ModelCase>& info) {
                           std::string name = info.param.name;
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace dreamlab
