#include "weights/token_table.h"

#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "weights/tensor_file.h"

namespace dreamlab {

namespace {

constexpr std::string_view kTable = "text_model.embeddings.token_embedding.weight";
constexpr std::string_view kIds = "text_model.embeddings.token_embedding.token_ids";

std::vector<int32_t> read_ids(const HostTensor& tensor, const std::string& label) {
  if (tensor.dtype != DType::i32 || tensor.shape.rank() != 1)
    fail(ErrorKind::invalid_file, "{}: token_ids is {} of {}; a list of i32 is expected", label,
         tensor.shape.to_string(), name_of(tensor.dtype));
  std::vector<int32_t> ids(static_cast<size_t>(tensor.shape[0]));
  std::memcpy(ids.data(), tensor.data, tensor.bytes());
  return ids;
}

}  // namespace

void expand_token_table(TensorMap& text_encoder, int64_t vocab_size) {
  const auto list = text_encoder.entries().find(kIds);
  if (list == text_encoder.entries().end()) return;
  const std::string& label = text_encoder.label();
  const std::vector<int32_t> ids = read_ids(list->second.tensor, label);
  const auto stored = text_encoder.shape_of(kTable);
  if (!stored || stored->rank() != 2 || (*stored)[0] != static_cast<int64_t>(ids.size()) + 1)
    fail(ErrorKind::invalid_file, "{}: token_ids names {} tokens; a token table of one row more is expected", label,
         ids.size());
  const HostTensor rows = text_encoder.get(kTable, *stored);
  const size_t row_bytes = static_cast<size_t>((*stored)[1]) * size_of(rows.dtype);
  const std::byte* others = rows.data + ids.size() * row_bytes;

  auto bytes = std::make_shared<std::vector<std::byte>>(static_cast<size_t>(vocab_size) * row_bytes);
  int64_t next = 0;
  const auto put = [&](const std::byte* row) { std::memcpy(bytes->data() + next++ * row_bytes, row, row_bytes); };
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < next || ids[i] >= vocab_size)
      fail(ErrorKind::invalid_file, "{}: token_ids has {} after {}; ascending ids below {} are expected", label, ids[i],
           next - 1, vocab_size);
    while (next < ids[i]) put(others);
    put(rows.data + i * row_bytes);
  }
  while (next < vocab_size) put(others);

  HostTensor table;
  table.data = bytes->data();
  table.dtype = rows.dtype;
  table.shape = {vocab_size, (*stored)[1]};
  table.owner = std::move(bytes);
  text_encoder.remove(kIds);
  text_encoder.replace(kTable, std::move(table));
}

}  // namespace dreamlab
