// Any bytes, as a JSON configuration of every kind: parsing may only give a configuration whose tensors can be listed,
// or throw Error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/error.h"
#include "weights/config_json.h"
#include "weights/expected_tensors.h"

namespace {

using namespace dreamlab;

template <typename Parse>
void attempt(Parse parse) {
  try {
    parse();
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::internal) std::abort();
  }
}

void list(const ExpectedTensors& tensors) {
  for (const ExpectedTensor& tensor : tensors)
    if (tensor.shape.elements() <= 0) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  attempt([&] {
    const nlohmann::json json = parse_json({reinterpret_cast<const char*>(data), size}, "fuzz");
    attempt([&] { list(expected_tensors(parse_unet_config(json))); });
    attempt([&] { list(expected_tensors(parse_vae_config(json))); });
    attempt([&] { list(expected_tensors(parse_text_encoder_config(json))); });
    attempt([&] { list(expected_tensors(parse_controlnet_config(json))); });
    attempt([&] { list(expected_tensors(parse_taesd_config(json))); });
    attempt([&] { parse_schedule_config(json); });
    for (const Family family : {Family::sd1, Family::sdxl})
      attempt([&] { parse_sidecar(json, published_config(family)); });
  });
  return 0;
}
