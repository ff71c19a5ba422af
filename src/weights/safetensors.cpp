// The safetensors format: 8 bytes little-endian header length, a JSON object {"name": {"dtype", "shape",
// "data_offsets"}, ...,
// "__metadata__": {text: text}}, then the data. The checks are those of the format's description: offsets neither
// overlap nor leave holes and end where the file ends, names are unique, the byte count follows from dtype and shape.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "weights/checked_math.h"
#include "weights/printable.h"
#include "weights/tensor_file.h"

namespace dreamlab {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are stored little-endian and used as they are");

constexpr uint64_t kLongestHeader = 100'000'000;  // the limit of the reference implementation
constexpr std::string_view kMetadata = "__metadata__";

struct DTypeName {
  std::string_view stored;
  DType dtype;
};
constexpr std::array<DTypeName, 10> kDTypeNames{{{"F32", DType::f32},
                                                 {"F16", DType::f16},
                                                 {"BF16", DType::bf16},
                                                 {"F64", DType::f64},
                                                 {"I64", DType::i64},
                                                 {"I32", DType::i32},
                                                 {"I16", DType::i16},
                                                 {"I8", DType::i8},
                                                 {"U8", DType::u8},
                                                 {"BOOL", DType::boolean}}};

struct HeaderEntry {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::array<uint64_t, 2> offsets{};
  bool has_dtype = false, has_shape = false;
  int offset_count = -1;  // -1: no data_offsets yet
};

// Takes the header's events in order. Where we are follows from the depth and the last key, so nothing recurses and
// nothing but the entries is kept.
class HeaderParser : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderParser(std::string file) : file_(std::move(file)) {}

  std::vector<HeaderEntry> entries;
  std::map<std::string, std::string> metadata;

  bool start_object(size_t) override {
    if (in_list_ || depth_ > 1 || (depth_ == 1 && !at_value_)) refuse("an object where none belongs");
    ++depth_;
    at_value_ = false;
    return true;
  }

  bool end_object() override {
    if (--depth_ == 1) {
      if (!in_metadata_) finish_entry();
      in_metadata_ = false;
      at_value_ = false;
    }
    return true;
  }

  bool key(std::string& text) override {
    at_value_ = true;
    if (depth_ == 1) {
      in_metadata_ = text == kMetadata;
      if (!names_.insert(text).second)
        fail(ErrorKind::invalid_file, "{}: the header names {} twice", file_, printable(text));
      if (!in_metadata_) {
        entries.emplace_back();
        entries.back().name = std::move(text);
      }
    } else {
      key_ = std::move(text);
    }
    return true;
  }

  bool start_array(size_t) override {
    if (depth_ != 2 || in_metadata_ || in_list_) refuse("a list where none belongs");
    HeaderEntry& entry = entries.back();
    if (key_ == "shape") {
      if (entry.has_shape) refuse("shape twice");
      entry.has_shape = true;
    } else if (key_ == "data_offsets") {
      if (entry.offset_count >= 0) refuse("data_offsets twice");
      entry.offset_count = 0;
    } else {
      refuse("an unknown field " + printable(key_));
    }
    in_list_ = true;
    return true;
  }

  bool end_array() override {
    in_list_ = false;
    return true;
  }

  bool string(std::string& text) override {
    if (depth_ != 2 || in_list_) refuse("a text where none belongs");
    if (in_metadata_) {
      if (!metadata.emplace(key_, std::move(text)).second)
        fail(ErrorKind::invalid_file, "{}: the header's metadata names {} twice", file_, printable(key_));
      return true;
    }
    HeaderEntry& entry = entries.back();
    if (key_ != "dtype") refuse("an unknown field " + printable(key_));
    if (entry.has_dtype) refuse("dtype twice");
    entry.has_dtype = true;
    entry.dtype = std::move(text);
    return true;
  }

  bool number_unsigned(uint64_t number) override {
    if (!in_list_) refuse("a number where none belongs");
    HeaderEntry& entry = entries.back();
    if (key_ == "shape") {
      if (number > static_cast<uint64_t>(INT64_MAX)) refuse("an extent out of range");
      if (entry.shape.size() == static_cast<size_t>(Shape::kMaxRank)) refuse("more than 6 dimensions");
      entry.shape.push_back(static_cast<int64_t>(number));
    } else {
      if (entry.offset_count == 2) refuse("more than two data_offsets");
      entry.offsets[static_cast<size_t>(entry.offset_count++)] = number;
    }
    return true;
  }

  bool number_integer(int64_t number) override {
    if (number < 0) refuse("a negative number");
    return number_unsigned(static_cast<uint64_t>(number));
  }
  bool number_float(double, const std::string&) override { return refuse("a fraction"); }
  bool null() override { return refuse("null"); }
  bool boolean(bool) override { return refuse("a truth value"); }
  bool binary(nlohmann::json::binary_t&) override { return refuse("binary data"); }

  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    fail(ErrorKind::invalid_file, "{}: the header is not valid JSON at byte {}", file_, position);
  }

 private:
  bool refuse(const std::string& what) const {
    const std::string where = in_metadata_ ? "metadata" : entries.empty() ? "start" : printable(entries.back().name);
    fail(ErrorKind::invalid_file, "{}: the header has {} ({})", file_, what, where);
  }

  void finish_entry() const {
    const HeaderEntry& entry = entries.back();
    if (!entry.has_dtype || !entry.has_shape || entry.offset_count != 2)
      fail(ErrorKind::invalid_file, "{}: tensor {} lacks dtype, shape or two data_offsets", file_,
           printable(entry.name));
  }

  std::string file_, key_;
  std::set<std::string, std::less<>> names_;
  int depth_ = 0;
  bool in_metadata_ = false, in_list_ = false, at_value_ = false;
};

DType dtype_of(const HeaderEntry& entry, const std::string& file) {
  for (const DTypeName& row : kDTypeNames)
    if (row.stored == entry.dtype) return row.dtype;
  fail(ErrorKind::unsupported,
       "{}: tensor {} has dtype {}; F32, F16, BF16, F64, I64, I32, I16, I8, U8 and BOOL are allowed", file,
       printable(entry.name), printable(entry.dtype));
}

void check_size(const HeaderEntry& entry, DType dtype, const std::string& file) {
  const auto elements = checked_elements(entry.shape);
  const auto bytes = elements ? checked_multiply(*elements, size_of(dtype)) : std::nullopt;
  if (!bytes || entry.offsets[0] > entry.offsets[1] || *bytes != entry.offsets[1] - entry.offsets[0])
    fail(ErrorKind::invalid_file, "{}: tensor {} of shape [{}] in {} does not fit its data_offsets {} to {}", file,
         printable(entry.name), fmt::join(entry.shape, ", "), entry.dtype, entry.offsets[0], entry.offsets[1]);
}

// Sorted by place in the file, each tensor must begin where the one before ended.
void check_layout(std::vector<HeaderEntry>& entries, uint64_t data_bytes, const std::string& file) {
  std::sort(entries.begin(), entries.end(),
            [](const HeaderEntry& a, const HeaderEntry& b) { return a.offsets < b.offsets; });
  uint64_t end = 0;
  for (const HeaderEntry& entry : entries) {
    if (entry.offsets[0] != end)
      fail(ErrorKind::invalid_file, "{}: tensor {} begins at byte {} of the data, {} {}", file, printable(entry.name),
           entry.offsets[0], entry.offsets[0] < end ? "inside the tensor that ends at" : "leaving a hole after", end);
    end = entry.offsets[1];
  }
  if (end != data_bytes)
    fail(ErrorKind::invalid_file, "{}: the header describes {} bytes of data, the file has {}{}", file, end, data_bytes,
         end > data_bytes ? " (truncated?)" : "");
}

}  // namespace

std::shared_ptr<const TensorFile> read_safetensors(std::span<const std::byte> bytes,
                                                   const std::shared_ptr<const void>& owner,
                                                   const std::filesystem::path& path) {
  const std::string file = path.string();
  uint64_t header_bytes = 0;
  if (bytes.size() < sizeof(header_bytes))
    fail(ErrorKind::invalid_file, "{}: {} bytes are too few for a safetensors file", file, bytes.size());
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  if (header_bytes > kLongestHeader)
    fail(ErrorKind::invalid_file, "{}: a safetensors header of {} bytes; at most {} are allowed", file, header_bytes,
         kLongestHeader);
  if (header_bytes > bytes.size() - sizeof(header_bytes))
    fail(ErrorKind::invalid_file, "{}: the safetensors header is {} bytes long, the file only {} (truncated?)", file,
         header_bytes, bytes.size());

  const auto* text = reinterpret_cast<const char*>(bytes.data()) + sizeof(header_bytes);
  if (header_bytes == 0 || text[0] != '{')
    fail(ErrorKind::invalid_file, "{}: the safetensors header does not begin with '{{'", file);
  HeaderParser parser(file);
  nlohmann::json::sax_parse(text, text + header_bytes, &parser);

  const std::span<const std::byte> data = bytes.subspan(sizeof(header_bytes) + header_bytes);
  TensorFile::Tensors tensors;
  for (const HeaderEntry& entry : parser.entries) check_size(entry, dtype_of(entry, file), file);
  check_layout(parser.entries, data.size(), file);
  for (HeaderEntry& entry : parser.entries) {
    HostTensor tensor{data.data() + entry.offsets[0], dtype_of(entry, file),
                      Shape(std::span<const int64_t>(entry.shape)), owner};
    tensors.emplace(std::move(entry.name), std::move(tensor));
  }
  return std::make_shared<TensorFile>(path, "safetensors", std::move(tensors), std::move(parser.metadata));
}

}  // namespace dreamlab
