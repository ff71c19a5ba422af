#include "weights/pickle.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <unordered_map>

#include "base/error.h"
#include "tensor/shape.h"
#include "weights/printable.h"

namespace dreamlab::pickle {
namespace {

// Opcodes as in CPython's pickletools.
enum class Op : uint8_t {
  mark = '(',
  stop = '.',
  pop = '0',
  binfloat = 'G',
  binint = 'J',
  binint1 = 'K',
  binint2 = 'M',
  none = 'N',
  binpersid = 'Q',
  reduce = 'R',
  binunicode = 'X',
  empty_list = ']',
  append = 'a',
  build = 'b',
  global = 'c',
  appends = 'e',
  binget = 'h',
  long_binget = 'j',
  binput = 'q',
  long_binput = 'r',
  setitem = 's',
  tuple = 't',
  empty_tuple = ')',
  setitems = 'u',
  empty_dict = '}',
  binstring = 'T',
  short_binstring = 'U',
  proto = 0x80,
  newobj = 0x81,
  tuple1 = 0x85,
  tuple2 = 0x86,
  tuple3 = 0x87,
  newtrue = 0x88,
  newfalse = 0x89,
  long1 = 0x8a,
};

enum class Callable {
  ordered_dict,
  rebuild_tensor,     // torch._utils._rebuild_tensor(storage, offset, size, stride)
  rebuild_tensor_v2,  // ...(storage, offset, size, stride, requires_grad, backward_hooks)
  rebuild_parameter,  // torch._utils._rebuild_parameter(tensor, requires_grad, backward_hooks)
  storage_class,
  opaque,  // stands in training checkpoints beside the weights; never made, its arguments are dropped
};

struct GlobalRow {
  std::string_view module, name;
  Callable callable;
  DType dtype = DType::f32;  // of a storage class
};

constexpr std::array<GlobalRow, 27> kGlobals{{
    {"collections", "OrderedDict", Callable::ordered_dict},
    {"torch._utils", "_rebuild_tensor", Callable::rebuild_tensor},
    {"torch._utils", "_rebuild_tensor_v2", Callable::rebuild_tensor_v2},
    {"torch._utils", "_rebuild_parameter", Callable::rebuild_parameter},
    {"torch", "FloatStorage", Callable::storage_class, DType::f32},
    {"torch", "HalfStorage", Callable::storage_class, DType::f16},
    {"torch", "BFloat16Storage", Callable::storage_class, DType::bf16},
    {"torch", "DoubleStorage", Callable::storage_class, DType::f64},
    {"torch", "LongStorage", Callable::storage_class, DType::i64},
    {"torch", "IntStorage", Callable::storage_class, DType::i32},
    {"torch", "ShortStorage", Callable::storage_class, DType::i16},
    {"torch", "CharStorage", Callable::storage_class, DType::i8},
    {"torch", "ByteStorage", Callable::storage_class, DType::u8},
    {"torch", "BoolStorage", Callable::storage_class, DType::boolean},
    {"pytorch_lightning.callbacks", "ModelCheckpoint", Callable::opaque},
    {"pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint", Callable::opaque},
    {"pytorch_lightning.callbacks.early_stopping", "EarlyStopping", Callable::opaque},
    {"numpy.core.multiarray", "scalar", Callable::opaque},
    {"numpy", "dtype", Callable::opaque},
    {"_codecs", "encode", Callable::opaque},
    {"torch", "device", Callable::opaque},
    {"torch", "Size", Callable::opaque},
    {"torch", "float32", Callable::opaque},
    {"torch", "float16", Callable::opaque},
    {"__builtin__", "set", Callable::opaque},
    {"builtins", "set", Callable::opaque},
    {"collections", "defaultdict", Callable::opaque},
}};

constexpr size_t kLongestPickle = size_t{32} << 20;
constexpr size_t kMostObjects = size_t{1} << 20;
constexpr size_t kDeepestStack = size_t{1} << 20;

class Machine {
 public:
  Machine(std::span<const std::byte> bytes, Heap& heap, const std::string& file)
      : bytes_(bytes.first(std::min(bytes.size(), kLongestPickle))), heap_(heap), file_(file) {}

  Result run() {
    for (;;) {
      const auto op = static_cast<Op>(number<uint8_t>());
      if (op == Op::stop) {
        const Value value = pop();
        if (!stack_.empty()) damaged("values are left when it ends");
        return {value, position_};
      }
      step(op);
    }
  }

 private:
  void step(Op op) {
    switch (op) {
      case Op::proto:
        return check_protocol(number<uint8_t>());
      case Op::mark:
        return push(Mark{});
      case Op::pop:
        return drop();
      case Op::none:
        return push(None{});
      case Op::newtrue:
        return push(Bool{true});
      case Op::newfalse:
        return push(Bool{false});
      case Op::binint:
        return push(static_cast<int64_t>(number<int32_t>()));
      case Op::binint1:
        return push(static_cast<int64_t>(number<uint8_t>()));
      case Op::binint2:
        return push(static_cast<int64_t>(number<uint16_t>()));
      case Op::long1:
        return push(long_integer(number<uint8_t>()));
      case Op::binfloat:
        return push(big_endian_double());
      case Op::binunicode:
      case Op::binstring:
        return push(text(number<uint32_t>()));
      case Op::short_binstring:
        return push(text(number<uint8_t>()));
      case Op::empty_tuple:
        return push(new_sequence<TupleRef>({}));
      case Op::tuple1:
        return push_tuple(1);
      case Op::tuple2:
        return push_tuple(2);
      case Op::tuple3:
        return push_tuple(3);
      case Op::tuple:
        return push(new_sequence<TupleRef>(pop_to_mark()));
      case Op::empty_list:
        return push(new_sequence<ListRef>({}));
      case Op::append:
        return append({pop()});
      case Op::appends:
        return append(pop_to_mark());
      case Op::empty_dict:
        return push(new_dict());
      case Op::setitem:
        return set_one_item();
      case Op::setitems:
        return set_items(pop_to_mark());
      case Op::binput:
        return put(number<uint8_t>());
      case Op::long_binput:
        return put(number<uint32_t>());
      case Op::binget:
        return get(number<uint8_t>());
      case Op::long_binget:
        return get(number<uint32_t>());
      case Op::global:
        return push_global();
      case Op::binpersid:
        return push(storage(pop()));
      case Op::reduce:
      case Op::newobj:
        return call();
      case Op::build:
        return build();
      case Op::stop:
        break;
    }
    fail(ErrorKind::unsupported, "{}: the pickle uses opcode 0x{:02x} at byte {}; only what tensors need is allowed",
         file_, static_cast<unsigned>(op), position_ - 1);
  }

  [[noreturn]] void damaged(std::string_view what) const {
    fail(ErrorKind::invalid_file, "{}: damaged pickle near byte {}: {}", file_, position_, what);
  }

  // ---- reading
  template <typename T>
  T number() {
    T value;
    if (sizeof(T) > bytes_.size() - position_) damaged("it ends early (truncated?)");
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }

  double big_endian_double() { return std::bit_cast<double>(__builtin_bswap64(number<uint64_t>())); }

  std::string_view text(size_t length) {
    if (length > bytes_.size() - position_) damaged("a text reaches past its end (truncated?)");
    const std::string_view out(reinterpret_cast<const char*>(bytes_.data()) + position_, length);
    position_ += length;
    return out;
  }

  std::string_view line() {
    const std::string_view rest(reinterpret_cast<const char*>(bytes_.data()) + position_, bytes_.size() - position_);
    const size_t end = rest.substr(0, 1024).find('\n');
    if (end == std::string_view::npos) damaged("a name does not end");
    position_ += end + 1;
    return rest.substr(0, end);
  }

  // Little-endian two's complement of any length. What does not fit 64 bits is no size of a tensor: torch's magic
  // number is such.
  Value long_integer(size_t length) {
    const std::string_view digits = text(length);
    if (length > 8) return Opaque{};
    uint64_t value = 0;
    for (size_t i = 0; i < length; ++i) value |= static_cast<uint64_t>(static_cast<uint8_t>(digits[i])) << (8 * i);
    const auto unused = static_cast<int>(64 - 8 * length);
    return length == 0 ? int64_t{0} : static_cast<int64_t>(value << unused) >> unused;
  }

  void check_protocol(uint8_t protocol) const {
    if (protocol != 2) fail(ErrorKind::unsupported, "{}: a pickle of protocol {}; 2 is allowed", file_, protocol);
  }

  // ---- the stack
  void push(Value value) {
    if (stack_.size() == kDeepestStack) damaged("it needs a deeper stack than any file of tensors");
    stack_.push_back(value);
  }

  // The top of the stack; what an opcode consumes may not reach below a mark.
  const Value& top() const {
    if (stack_.empty() || std::holds_alternative<Mark>(stack_.back())) damaged("an operand is missing");
    return stack_.back();
  }

  Value pop() {
    const Value value = top();
    stack_.pop_back();
    return value;
  }

  void drop() {
    if (stack_.empty()) damaged("an operand is missing");
    stack_.pop_back();
  }

  std::vector<Value> pop_to_mark() {
    size_t begin = stack_.size();
    while (begin > 0 && !std::holds_alternative<Mark>(stack_[begin - 1])) --begin;
    if (begin == 0) damaged("a mark is missing");
    std::vector<Value> values(stack_.begin() + static_cast<std::ptrdiff_t>(begin), stack_.end());
    stack_.resize(begin - 1);
    return values;
  }

  void push_tuple(size_t count) {
    std::vector<Value> values(count);
    for (size_t i = count; i-- > 0;) values[i] = pop();
    push(new_sequence<TupleRef>(std::move(values)));
  }

  // Counts what a pickle makes, so that a small one cannot fill the memory.
  void count_objects(size_t objects) {
    objects_ += objects;
    if (objects_ > kMostObjects) damaged("it makes more objects than any file of tensors");
  }

  template <typename Ref>
  Value new_sequence(std::vector<Value> values) {
    count_objects(1);
    heap_.sequences.push_back(std::move(values));
    return Ref{heap_.sequences.size() - 1};
  }

  Value new_dict() {
    count_objects(1);
    heap_.dicts.emplace_back();
    return DictRef{heap_.dicts.size() - 1};
  }

  // ---- the memo
  void put(uint32_t slot) { memo_[slot] = top(); }

  void get(uint32_t slot) {
    const auto found = memo_.find(slot);
    if (found == memo_.end()) damaged("it recalls what it never stored");
    push(found->second);
  }

  // ---- containers
  void append(const std::vector<Value>& values) {
    if (std::holds_alternative<Opaque>(top())) return;
    const auto* list = std::get_if<ListRef>(&top());
    if (!list) damaged("it appends to what is no list");
    std::vector<Value>& target = heap_.sequences[list->index];
    target.insert(target.end(), values.begin(), values.end());
  }

  void set_one_item() {
    const Value value = pop();
    const Value key = pop();
    set_items({key, value});
  }

  void set_items(const std::vector<Value>& values) {
    if (values.size() % 2 != 0) damaged("a key without a value");
    if (std::holds_alternative<Opaque>(top())) return;
    const auto* dict = std::get_if<DictRef>(&top());
    if (!dict) damaged("it sets items of what is no dictionary");
    for (size_t i = 0; i < values.size(); i += 2) heap_.dicts[dict->index].emplace_back(values[i], values[i + 1]);
  }

  // Attributes of an object ("_metadata" of a state dict): nothing that we need.
  void build() {
    pop();
    if (!std::holds_alternative<DictRef>(top()) && !std::holds_alternative<Opaque>(top()))
      damaged("it sets the state of a plain value");
  }

  // ---- globals and calls
  void push_global() {
    const std::string_view module = line(), name = line();
    for (size_t i = 0; i < kGlobals.size(); ++i)
      if (kGlobals[i].module == module && kGlobals[i].name == name) return push(Global{i});
    fail(ErrorKind::unsupported, "{}: the pickle asks for {}.{}, which no file of tensors needs; it was not loaded",
         file_, printable(module), printable(name));
  }

  void call() {
    const Value arguments_value = pop();
    const auto* tuple = std::get_if<TupleRef>(&arguments_value);
    const Value callee = pop();
    if (!tuple) damaged("a call without arguments");
    const std::vector<Value>& arguments = heap_.sequences[tuple->index];
    if (std::holds_alternative<Opaque>(callee)) return push(Opaque{});
    const auto* global = std::get_if<Global>(&callee);
    if (!global) damaged("it calls a plain value");
    switch (kGlobals[global->row].callable) {
      case Callable::ordered_dict:
        return push(ordered_dict(arguments));
      case Callable::rebuild_tensor:
        return push(tensor(arguments, 4, 4));
      case Callable::rebuild_tensor_v2:
        return push(tensor(arguments, 6, 7));
      case Callable::rebuild_parameter:
        return push(parameter(arguments));
      case Callable::opaque:
        return push(Opaque{});
      case Callable::storage_class:
        break;
    }
    damaged("it calls a storage class");
  }

  Value ordered_dict(const std::vector<Value>& arguments) {
    if (arguments.empty()) return new_dict();
    const auto* pairs = std::get_if<ListRef>(&arguments[0]);  // the older form: OrderedDict([[key, value], ...])
    if (arguments.size() != 1 || !pairs) damaged("OrderedDict with other arguments than a list of pairs");
    const Value dict = new_dict();
    count_objects(heap_.sequences[pairs->index].size());
    for (const Value& pair : heap_.sequences[pairs->index]) {
      const std::vector<Value>* items = sequence(pair);
      if (!items || items->size() != 2) damaged("OrderedDict with other arguments than a list of pairs");
      heap_.dicts.back().emplace_back((*items)[0], (*items)[1]);
    }
    return dict;
  }

  const std::vector<Value>* sequence(const Value& value) const {
    if (const auto* tuple = std::get_if<TupleRef>(&value)) return &heap_.sequences[tuple->index];
    if (const auto* list = std::get_if<ListRef>(&value)) return &heap_.sequences[list->index];
    return nullptr;
  }

  std::vector<int64_t> extents(const Value& value) const {
    const std::vector<Value>* items = sequence(value);
    if (!items || items->size() > static_cast<size_t>(Shape::kMaxRank))
      damaged("a tensor's shape is no list of at most 6 sizes");
    std::vector<int64_t> out;
    for (const Value& item : *items) {
      const auto* size = std::get_if<int64_t>(&item);
      if (!size || *size < 0) damaged("a tensor's size or stride is no natural number");
      out.push_back(*size);
    }
    return out;
  }

  Value tensor(const std::vector<Value>& arguments, size_t fewest, size_t most) {
    if (arguments.size() < fewest || arguments.size() > most) damaged("a tensor with a wrong number of arguments");
    const auto* storage = std::get_if<StorageRef>(&arguments[0]);
    const auto* offset = std::get_if<int64_t>(&arguments[1]);
    if (!storage || !offset || *offset < 0) damaged("a tensor without storage or offset");
    Tensor tensor{storage->index, *offset, extents(arguments[2]), extents(arguments[3])};
    if (tensor.sizes.size() != tensor.strides.size()) damaged("a tensor with more sizes than strides, or fewer");
    count_objects(1);
    heap_.tensors.push_back(std::move(tensor));
    return TensorRef{heap_.tensors.size() - 1};
  }

  Value parameter(const std::vector<Value>& arguments) const {
    if (arguments.empty() || !std::holds_alternative<TensorRef>(arguments[0])) damaged("a parameter without a tensor");
    return arguments[0];
  }

  // torch's persistent ids: ("storage", class, key, location, elements), with a sixth item in old files.
  Value storage(const Value& id) {
    const std::vector<Value>* items = std::holds_alternative<TupleRef>(id) ? sequence(id) : nullptr;
    if (!items || items->size() < 5 || items->size() > 6) damaged("a persistent id that names no storage");
    const auto* kind = std::get_if<std::string_view>(&(*items)[0]);
    const auto* type = std::get_if<Global>(&(*items)[1]);
    const auto* key = std::get_if<std::string_view>(&(*items)[2]);
    const auto* elements = std::get_if<int64_t>(&(*items)[4]);
    const GlobalRow* row = type ? &kGlobals[type->row] : nullptr;
    if (!kind || *kind != "storage" || !row || row->callable != Callable::storage_class || !key || !elements ||
        *elements < 0)
      damaged("a persistent id that names no storage");
    if (items->size() == 6 && !std::holds_alternative<None>((*items)[5]))
      fail(ErrorKind::unsupported, "{}: the pickle has views of storages, as very old PyTorch wrote them", file_);
    count_objects(1);
    heap_.storages.push_back({*key, row->dtype, *elements});
    return StorageRef{heap_.storages.size() - 1};
  }

  std::span<const std::byte> bytes_;
  Heap& heap_;
  const std::string& file_;
  size_t position_ = 0, objects_ = 0;
  std::vector<Value> stack_;
  std::unordered_map<uint32_t, Value> memo_;
};

}  // namespace

Result run(std::span<const std::byte> bytes, Heap& heap, const std::string& file) {
  return Machine(bytes, heap, file).run();
}

}  // namespace dreamlab::pickle
