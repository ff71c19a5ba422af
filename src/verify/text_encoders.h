#pragma once

// The text encoders of a checkpoint by the names that records give them.
#include <memory>
#include <string>

#include "model/clip_text.h"
#include "verify/record_run.h"
#include "weights/checkpoint.h"

namespace dreamlab {

// "te1": the model's first text encoder; "te2": its last (SDXL: the second; refiner: the only one).
struct TextEncoderPlace {
  size_t index;
  std::string network;  // what adapters call it
};
TextEncoderPlace text_encoder_place(const std::string& name, const Checkpoint& checkpoint);
std::unique_ptr<ClipTextEncoder> make_text_encoder(Device& device, const Checkpoint& checkpoint,
                                                   const std::string& name);

// Compares those of "<prefix>last_hidden_state<suffix>", "penultimate", "pooler_output", "text_embeds" that are
// recorded.
void compare_states(RecordCase& record_case, Device& device, const RecordFile& record, const std::string& prefix,
                    const TextStates& states, const std::string& suffix = "");

}  // namespace dreamlab
