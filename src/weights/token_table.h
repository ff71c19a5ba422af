#pragma once

#include <cstdint>

#include "weights/tensor_map.h"

namespace dreamlab {

// A small text encoder may keep only those rows of its token table that its captions use. Then
// "text_model.embeddings.token_embedding.token_ids" [K] says whose they are, in ascending order, and one more row, the
// last of K + 1, stands for every other token. Puts the table of all `vocab_size` tokens in their place; does nothing
// where there is no such list. Throws Error(invalid_file) where list and table do not fit together.
void expand_token_table(TensorMap& text_encoder, int64_t vocab_size);

}  // namespace dreamlab
