#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

namespace dreamlab {

// Blocks of any size out of a few large segments: the smallest free place that fits is cut, and neighbors that are free
// become one. Only the bookkeeping: the memory itself is never touched. Not thread-safe.
class BlockArena {
 public:
  static constexpr size_t kAlignment = 512;

  // A further segment, all of it free. base: a multiple of kAlignment.
  void add(void* base, size_t bytes);
  // nullptr: no free place is large enough.
  void* take(size_t bytes);
  void give(void* block);

  // Segments of which nothing is handed out, which are forgotten.
  std::vector<std::pair<void*, size_t>> remove_unused();
  // All segments, handed out or not.
  std::vector<std::pair<void*, size_t>> segments() const;
  size_t bytes() const { return bytes_; }

 private:
  struct Place {
    size_t size;
    char* segment;  // that it is in
  };

  void insert_free(char* at, Place place);
  void erase_free(std::map<char*, Place>::iterator found);

  std::map<char*, size_t> segments_;
  std::map<char*, Place> free_;
  std::set<std::pair<size_t, char*>> by_size_;  // the free places
  std::unordered_map<char*, Place> taken_;
  size_t bytes_ = 0;  // of all segments
};

}  // namespace dreamlab
