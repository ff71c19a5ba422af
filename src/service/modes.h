#pragma once

// What a server can be switched between: a model with its styles and defaults. Read from modes.yaml:
//
//   default: photo            # the first one where it is not given
//   modes:
//     photo:  {model: sd_xl_base_1.0.safetensors, size: 1024x1024, steps: 25, guidance: 6, scheduler: dpmpp_2m_karras}
//     sketch: {model: dreamshaper_lcm.safetensors, loras: [{style: ink, path: ink.safetensors, levels: [0.4, 0.8]}]}
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/picture_size.h"
#include "worker/styles.h"

namespace dreamlab {

struct Mode {
  std::string name;             // "": the one of a server without a modes file
  std::filesystem::path model;  // whole path
  std::vector<StyleEntry> styles;
  std::optional<PictureSize> size;
  std::optional<int> steps;
  std::optional<double> guidance;
  std::string scheduler;  // "": SCHEDULER
  bool operator==(const Mode&) const = default;
};

// The modes of a file, or the unnamed one alone. Safe to use from several threads.
class ModeRegistry {
 public:
  // Throws Error(invalid_file) with file, line and what is allowed.
  static std::shared_ptr<ModeRegistry> from_file(const std::filesystem::path& path,
                                                 const std::filesystem::path& model_root,
                                                 const std::filesystem::path& lora_root);
  static std::shared_ptr<ModeRegistry> single(Mode mode);

  bool named() const;  // whether there is a file
  std::vector<Mode> modes() const;
  std::string default_mode() const;
  std::optional<Mode> find(const std::string& name) const;
  // Reads the file again; as it was where that throws. No effect for a single mode.
  void reload();
  const std::filesystem::path& path() const { return path_; }

 private:
  ModeRegistry() = default;

  std::filesystem::path path_, model_root_, lora_root_;
  mutable std::mutex mutex_;
  std::vector<Mode> modes_;
  std::string default_mode_;
};

}  // namespace dreamlab
