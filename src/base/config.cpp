#include "base/config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "base/error.h"

namespace dreamlab {

namespace {

constexpr std::string_view kCpuDtypes[] = {"auto", "bf16", "fp32"};
constexpr std::string_view kBackends[] = {"auto", "cuda", "cpu", "rknn"};
constexpr std::string_view kCudaDtypes[] = {"fp16", "bf16", "fp32"};
constexpr std::string_view kOffloads[] = {"none", "model", "stream"};
constexpr std::string_view kLogFormats[] = {"text", "json"};
constexpr std::string_view kLogLevels[] = {"debug", "info", "warning", "error"};
constexpr std::string_view kRngs[] = {"cuda", "cpu", "numpy"};
constexpr std::string_view kTilings[] = {"auto", "on", "off"};

constexpr Setting kSettings[] = {
    // Models and devices.
    {"BACKEND", SettingType::choice, "auto", "what computes; auto: CUDA, else RKNN, else the CPU", kBackends},
    {"USE_SDXL", SettingType::boolean, "", "on: the model must be SDXL; off: it must not; not set: as detected"},
    {"MODEL_ROOT", SettingType::text, "", "directory that MODEL lies in"},
    {"MODEL", SettingType::text, "", "checkpoint file or diffusers directory"},
    {"SDXL_MODEL_ROOT", SettingType::text, "", "directory that SDXL_MODEL lies in; MODEL_ROOT where it is not set"},
    {"SDXL_MODEL", SettingType::text, "", "SDXL checkpoint, used when USE_SDXL is on; MODEL where it is not set"},
    {"SDXL_ENABLED", SettingType::boolean, "0", "serve SDXL beside SD in one process, as /generate_sdxl"},
    {"CPU_DTYPE", SettingType::choice, "auto", "precision on the CPU; auto: bf16 where the processor has it",
     kCpuDtypes},
    {"CUDA_DTYPE", SettingType::choice, "fp16", "precision on a GPU", kCudaDtypes},
    {"CUDA_DEVICE", SettingType::text, "cuda:0", "which GPU: cuda:N; several, with commas, have a worker each"},
    {"OFFLOAD", SettingType::choice, "none", "weights that leave the GPU while they are not used", kOffloads},
    {"VRAM_MAX", SettingType::integer, "0", "MiB of a GPU's memory that may be held; 0: all of it", {}, 0, 10000000},
    {"CUDA_ENABLE_XFORMERS", SettingType::boolean, "1", "memory-efficient (flash) attention"},
    {"CUDA_ATTENTION_SLICING", SettingType::boolean, "0", "attention computed in slices, for less memory"},
    {"THREADS",
     SettingType::integer,
     "",
     "threads of the CPU device; one per processor where it is not set",
     {},
     1,
     1024},
    // Requests.
    {"DEFAULT_SIZE", SettingType::size, "", "picture size; the model's native size where it is not set"},
    {"DEFAULT_STEPS", SettingType::integer, "4", "denoising steps", {}, 1, 50},
    {"DEFAULT_GUIDANCE", SettingType::number, "1.0", "guidance scale", {}, 0, 20},
    {"DEFAULT_TIMEOUT", SettingType::number, "120", "seconds that a request may take", {}, 0.001, 86400},
    {"SCHEDULER", SettingType::text, "lcm", "sampler"},
    {"RKNN_LIBRARY", SettingType::text, "librknnrt.so", "the runtime of Rockchip's NPUs: a name or a path"},
    {"USE_RKNN_CONTEXT_CFGS", SettingType::boolean, "1",
     "a core of the NPU for each worker; off: as its runtime likes"},
    {"RNG", SettingType::choice, "cuda",
     "whose random numbers: PyTorch's CUDA or CPU generator, or NumPy's RandomState", kRngs},
    {"VAE_TILING", SettingType::choice, "auto", "decode in tiles; auto: where the picture is large", kTilings},
    // Styles and modes.
    {"LORA_ROOT", SettingType::text, "", "directory of the styles' LoRA files; MODEL_ROOT where it is not set"},
    {"STYLES", SettingType::text, "", "file of styles; styles.yaml where it is there"},
    {"MODES", SettingType::text, "", "file of modes; modes.yaml where it is there"},
    // The service.
    {"NUM_WORKERS", SettingType::integer, "1", "workers; on an NPU up to 3, on CUDA one a GPU", {}, 1, 64},
    {"QUEUE_MAX", SettingType::integer, "64", "jobs that wait before a further one is turned away", {}, 1, 100000},
    {"BATCH_MAX",
     SettingType::integer,
     "",
     "jobs that share a network call; as measured where it is not set",
     {},
     1,
     64},
    // Super-resolution.
    {"SR_ENABLED", SettingType::boolean, "1", "super-resolution: /superres and superres in /generate"},
    {"SR_MODEL_PATH", SettingType::text, "", "upscaler file, or lanczos; the network in the box where it is not set"},
    {"SR_INPUT_SIZE", SettingType::integer, "", "side that an upscaler for an NPU must take, as 224", {}, 1, 4096},
    {"SR_OUTPUT_SIZE", SettingType::integer, "", "side that it must give, as 672", {}, 1, 16384},
    {"SR_NUM_WORKERS", SettingType::integer, "1", "pictures that are upscaled at a time", {}, 1, 64},
    {"SR_QUEUE_MAX",
     SettingType::integer,
     "32",
     "pictures that wait before a further one is turned away",
     {},
     1,
     100000},
    {"SR_REQUEST_TIMEOUT", SettingType::number, "120", "seconds that upscaling may take", {}, 0.001, 86400},
    {"SR_MAX_PIXELS", SettingType::integer, "24000000", "pixels of the largest upscaled picture", {}, 1, 1000000000},
    // The server.
    {"HOST", SettingType::text, "0.0.0.0", "address to listen on"},
    {"PORT", SettingType::integer, "4200", "port to listen on; 0: any free one", {}, 0, 65535},
    {"API_KEY", SettingType::text, "", "where it is set, every route but /health needs it"},
    {"CORS_ORIGINS", SettingType::text, "", "origins that browsers may call from, separated by commas; *: any"},
    {"TLS_CERT", SettingType::text, "", "certificate chain (PEM); with TLS_KEY the server speaks HTTPS"},
    {"TLS_KEY", SettingType::text, "", "private key of TLS_CERT (PEM)"},
    {"STORAGE", SettingType::text, "none",
     "where finished pictures are kept: none, file:DIR or redis://HOST[:PORT][/DB]"},
    {"STORAGE_TTL", SettingType::number, "86400", "seconds that a stored picture is kept", {}, 1, 1e9},
    {"STORAGE_MAX_MB",
     SettingType::integer,
     "1024",
     "MiB that STORAGE=file: may hold; the oldest leave first",
     {},
     1,
     1000000000},
    {"LOG_LEVEL", SettingType::choice, "info", "what is logged", kLogLevels},
    {"LOG_FORMAT", SettingType::choice, "text", "lines for people or JSON for programs", kLogFormats},
};

struct BooleanWord {
  std::string_view word;
  bool value;
};
constexpr BooleanWord kBooleans[] = {{"1", true},  {"true", true},   {"yes", true}, {"on", true},
                                     {"0", false}, {"false", false}, {"no", false}, {"off", false}};

std::string to_lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

std::optional<bool> parse_boolean(const std::string& text) {
  const std::string lower = to_lower(text);
  for (const BooleanWord& row : kBooleans) {
    if (lower == row.word) return row.value;
  }
  return std::nullopt;
}

template <typename Number>
std::optional<Number> parse_number(const std::string& text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool is_in_range(const Setting& setting, double value) {
  return value >= setting.smallest && value <= setting.largest;
}

bool is_allowed(const Setting& setting, const std::string& value) {
  switch (setting.type) {
    case SettingType::text:
      return true;
    case SettingType::choice:
      return std::find(setting.choices.begin(), setting.choices.end(), value) != setting.choices.end();
    case SettingType::boolean:
      return parse_boolean(value).has_value();
    case SettingType::integer: {
      const auto number = parse_number<int64_t>(value);
      return number && is_in_range(setting, static_cast<double>(*number));
    }
    case SettingType::number: {
      const auto number = parse_number<double>(value);
      return number && is_in_range(setting, *number);
    }
    case SettingType::size:
      try {
        parse_size(value);
        return true;
      } catch (const Error&) {
        return false;
      }
  }
  return false;
}

}  // namespace

std::span<const Setting> settings() {
  return kSettings;
}

std::string allowed_values(const Setting& setting) {
  switch (setting.type) {
    case SettingType::text:
      return "any text";
    case SettingType::choice:
      return fmt::format("{}", fmt::join(setting.choices, ", "));
    case SettingType::boolean:
      return "1/0, true/false, yes/no, on/off";
    case SettingType::integer:
    case SettingType::number:
      return fmt::format("{}..{}", setting.smallest, setting.largest);
    case SettingType::size:
      return fmt::format("WIDTHxHEIGHT, multiples of {} up to {}", kSizeStep, kMaxPictureSide);
  }
  return "";
}

Config::Config(const Lookup& lookup) {
  for (const Setting& setting : kSettings) {
    std::string value = lookup(setting.name).value_or("");
    if (setting.type == SettingType::choice) value = to_lower(value);
    set_[std::string(setting.name)] = !value.empty();
    if (value.empty()) value = setting.fallback;
    if (value.empty()) continue;
    if (!is_allowed(setting, value)) {
      fail(ErrorKind::invalid_argument, "{}={}: not allowed; {} is", setting.name, value, allowed_values(setting));
    }
    values_[std::string(setting.name)] = value;
  }
}

std::optional<std::string> Config::from_environment(std::string_view name) {
  const char* value = std::getenv(std::string(name).c_str());
  if (value == nullptr) return std::nullopt;
  return value;
}

bool Config::is_set(std::string_view name) const {
  const auto entry = set_.find(name);
  if (entry == set_.end()) fail(ErrorKind::internal, "{} is no setting", name);
  return entry->second;
}

const std::string* Config::find(std::string_view name, std::initializer_list<SettingType> types) const {
  const auto* row =
      std::find_if(std::begin(kSettings), std::end(kSettings), [&](const Setting& s) { return s.name == name; });
  if (row == std::end(kSettings) || std::find(types.begin(), types.end(), row->type) == types.end()) {
    fail(ErrorKind::internal, "{} is no setting of that type", name);
  }
  const auto entry = values_.find(name);
  return entry == values_.end() ? nullptr : &entry->second;
}

std::optional<std::string> Config::text(std::string_view name) const {
  const std::string* value = find(name, {SettingType::text, SettingType::choice});
  return value == nullptr ? std::nullopt : std::optional(*value);
}

std::optional<int64_t> Config::integer(std::string_view name) const {
  const std::string* value = find(name, {SettingType::integer});
  return value == nullptr ? std::nullopt : parse_number<int64_t>(*value);
}

std::optional<double> Config::number(std::string_view name) const {
  const std::string* value = find(name, {SettingType::number});
  return value == nullptr ? std::nullopt : parse_number<double>(*value);
}

std::optional<bool> Config::boolean(std::string_view name) const {
  const std::string* value = find(name, {SettingType::boolean});
  return value == nullptr ? std::nullopt : parse_boolean(*value);
}

std::optional<PictureSize> Config::size(std::string_view name) const {
  const std::string* value = find(name, {SettingType::size});
  return value == nullptr ? std::nullopt : std::optional(parse_size(*value));
}

}  // namespace dreamlab
