#pragma once

// An interpreter for the pickles that torch.save writes of dictionaries of tensors. It runs no code: the only callables
// are the few that rebuild tensors, and they are known by name. Everything else is refused by its name.
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "tensor/dtype.h"

namespace dreamlab::pickle {

// A value on the pickle machine's stack. Containers, tensors and storages live in the machine's Heap and are named by
// index, so that values are small, may be shared or cyclic, and nothing recurses when they go.
struct None {};
struct Bool {
  bool value;
};
struct Mark {};
struct Global {
  size_t row;  // in the table of known globals
};
struct TupleRef {
  size_t index;
};
struct ListRef {
  size_t index;
};
struct DictRef {
  size_t index;
};
struct StorageRef {
  size_t index;
};
struct TensorRef {
  size_t index;
};
struct Opaque {};  // an object of a harmless class that we neither make nor need

using Value = std::variant<None, Bool, int64_t, double, std::string_view, Mark, Global, TupleRef, ListRef, DictRef,
                           StorageRef, TensorRef, Opaque>;

struct Storage {
  std::string_view key;
  DType dtype;
  int64_t elements;
};
// A tensor as the pickle describes it; whether it fits its storage is for the caller to check.
struct Tensor {
  size_t storage;
  int64_t offset;                       // in elements
  std::vector<int64_t> sizes, strides;  // equally many, at most 6, none negative
};

struct Heap {
  std::deque<std::vector<Value>> sequences;                // tuples and lists
  std::deque<std::vector<std::pair<Value, Value>>> dicts;  // in order of insertion; the last of equal keys counts
  std::deque<Storage> storages;
  std::deque<Tensor> tensors;
};

struct Result {
  Value value;
  size_t bytes_read;  // up to and with the STOP
};

// Runs one pickle of protocol 2 at the start of `bytes`, which must outlive the heap (strings are views). `file` is for
// messages. Throws Error(unsupported) for a global or opcode that tensors do not need, Error(invalid_file) for a
// damaged pickle. At most 32 MiB are read and a million containers made: a pickle of a thousand tensors takes some 200
// KiB.
Result run(std::span<const std::byte> bytes, Heap& heap, const std::string& file);

}  // namespace dreamlab::pickle
