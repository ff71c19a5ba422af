#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pipeline/pipeline.h"
#include "worker/job.h"
#include "worker/pipeline_worker.h"
#include "worker/styles.h"

namespace dreamlab {

// Adapters that stay loaded may come from files of so many bytes; the last one used always stays.
constexpr uint64_t kKeptAdapterBytes = uint64_t{1} << 30;

// The styles of a registry that fit a model, and their adapters, loaded when they are first asked for.
class StyleShelf {
 public:
  // Reads the files' headers. What does not fit the model or is no adapter is skipped with one line in the log. The
  // pipeline must outlive the shelf.
  StyleShelf(const Pipeline& pipeline, const std::vector<StyleEntry>& styles, uint64_t kept_bytes = kKeptAdapterBytes);

  // Those that fit, in the registry's order.
  std::vector<StyleInfo> infos() const;

  // Throws Error(invalid_argument) for a style that is not there, naming those that are, for a skipped one, saying why,
  // and for a level below 0. Safe to call from any thread.
  void check(const std::optional<StyleChoice>& choice) const;
  // The adapter and strength of a choice; nothing for none and for level 0. Throws as check() does.
  std::vector<LoraUse> uses(const std::optional<StyleChoice>& choice);

  // Adapters that are loaded.
  size_t kept() const { return adapters_.size(); }

 private:
  struct Adapter {
    std::filesystem::path path;
    uint64_t bytes = 0;  // of the file
    std::shared_ptr<const LoraAdapter> adapter;
  };

  const StyleEntry& find(const StyleChoice& choice) const;
  std::shared_ptr<const LoraAdapter> adapter_of(const StyleEntry& style);

  const Pipeline& pipeline_;
  uint64_t kept_bytes_;
  std::vector<StyleEntry> styles_;              // that fit
  std::map<std::string, std::string> skipped_;  // id -> why
  std::list<Adapter> adapters_;                 // last used first
};

}  // namespace dreamlab
