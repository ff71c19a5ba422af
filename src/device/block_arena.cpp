#include "device/block_arena.h"

#include <algorithm>
#include <iterator>

#include "base/error.h"

namespace dreamlab {

void BlockArena::insert_free(char* at, Place place) {
  free_.emplace(at, place);
  by_size_.emplace(place.size, at);
}

void BlockArena::erase_free(std::map<char*, Place>::iterator found) {
  by_size_.erase({found->second.size, found->first});
  free_.erase(found);
}

void BlockArena::add(void* base, size_t bytes) {
  auto* const segment = static_cast<char*>(base);
  segments_.emplace(segment, bytes);
  bytes_ += bytes;
  insert_free(segment, {bytes, segment});
}

void* BlockArena::take(size_t bytes) {
  bytes = std::max<size_t>(1, (bytes + kAlignment - 1) / kAlignment) * kAlignment;
  const auto fitting = by_size_.lower_bound({bytes, nullptr});
  if (fitting == by_size_.end()) return nullptr;
  const auto found = free_.find(fitting->second);
  char* const at = found->first;
  const Place place = found->second;
  erase_free(found);
  if (place.size > bytes) insert_free(at + bytes, {place.size - bytes, place.segment});
  taken_.emplace(at, Place{bytes, place.segment});
  return at;
}

void BlockArena::give(void* block) {
  char* at = static_cast<char*>(block);
  const auto found = taken_.find(at);
  if (found == taken_.end()) fail(ErrorKind::internal, "a block is given back that was never taken");
  Place place = found->second;
  taken_.erase(found);
  // Segments may lie side by side by chance, and are given back one by one.
  const auto after = free_.lower_bound(at);
  const bool joins_after =
      after != free_.end() && after->first == at + place.size && after->second.segment == place.segment;
  if (after != free_.begin()) {
    const auto before = std::prev(after);
    if (before->first + before->second.size == at && before->second.segment == place.segment) {
      at = before->first;
      place.size += before->second.size;
      erase_free(before);
    }
  }
  if (joins_after) {
    place.size += after->second.size;
    erase_free(after);
  }
  insert_free(at, place);
}

std::vector<std::pair<void*, size_t>> BlockArena::remove_unused() {
  std::vector<std::pair<void*, size_t>> removed;
  for (auto segment = segments_.begin(); segment != segments_.end();) {
    const auto [base, size] = *segment;
    const auto place = free_.find(base);
    if (place == free_.end() || place->second.size != size) {
      ++segment;
      continue;
    }
    erase_free(place);
    bytes_ -= size;
    removed.emplace_back(base, size);
    segment = segments_.erase(segment);
  }
  return removed;
}

std::vector<std::pair<void*, size_t>> BlockArena::segments() const {
  return {segments_.begin(), segments_.end()};
}

}  // namespace dreamlab
