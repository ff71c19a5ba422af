#pragma once

// What a folder of records may hold, and who runs it.
#include <span>
#include <string>
#include <string_view>

#include "verify/record_run.h"

namespace dreamlab {

// One line of the table of kinds.
struct RecordKind {
  std::string_view file;      // the record's file name; '*' stands for any characters
  std::string_view settings;  // the file of settings that belongs to it, with the same '*'; "" for none
  bool of_model;              // lies in a folder named after the model that it was made with
  void (*run)(RecordRun& run, const std::string& record);  // record: path inside the folder
};
std::span<const RecordKind> record_kinds();

// Whether `name` matches a pattern in which '*' stands for any characters.
bool matches(std::string_view pattern, std::string_view name);

// Each runs the cases of one record file and accounts for every tensor in it.
void run_tokenizer_record(RecordRun& run, const std::string& record);
void run_emphasis_record(RecordRun& run, const std::string& record);
void run_random_record(RecordRun& run, const std::string& record);
void run_scheduler_record(RecordRun& run, const std::string& record);
void run_esrgan_record(RecordRun& run, const std::string& record);
void run_taesd_record(RecordRun& run, const std::string& record);
void run_text_encoder_record(RecordRun& run, const std::string& record);
void run_unet_record(RecordRun& run, const std::string& record);
void run_guidance_embedding_record(RecordRun& run, const std::string& record);
void run_vae_record(RecordRun& run, const std::string& record);
void run_layer_record(RecordRun& run, const std::string& record);
void run_controlnet_record(RecordRun& run, const std::string& record);
void run_lora_record(RecordRun& run, const std::string& record);
void run_pipeline_record(RecordRun& run, const std::string& record);

// Opens every model file under models/ and checks that nothing in it is missing or unknown.
void run_model_files(RecordRun& run);
// Checks that every file and tensor that INDEX.json lists is there as it says.
void run_index(RecordRun& run);

}  // namespace dreamlab
