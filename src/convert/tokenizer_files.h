#pragma once

#include <cstdint>
#include <filesystem>

namespace dreamlab {

// The files that transformers' CLIPTokenizer is read from (vocab.json, merges.txt, tokenizer_config.json,
// special_tokens_map.json), in a directory that is made. pad_id: 49407, or 0 for the OpenCLIP encoders.
void write_tokenizer_files(const std::filesystem::path& directory, int32_t pad_id);

}  // namespace dreamlab
