#pragma once

// The body of /generate, /generate_sdxl and /api/jobs.
#include <string>

#include "server/schema.h"
#include "server/server_context.h"
#include "worker/job.h"

namespace dreamlab {

struct GenerateBody : JobRequest {
  bool superres = false;
  int superres_magnitude = 2;
  std::string superres_format = "png";
  int superres_quality = 92;
  double timeout_s = 0;  // 0: the service's default
  bool latents = false;
  std::string init_image_base64, mask_base64;
};

const Schema<GenerateBody>& generate_schema();

// Rows that other requests have, too.
FieldRules prompt_row();
FieldRules size_row(std::string description);
FieldRules scheduler_row(const std::string& name, std::string description);

// Decodes the pictures in the body. Blocks. Throws RequestError (422).
void decode_pictures(GenerateBody& body);
// Throws Error for what is refused before any work is done: super-resolution that is not enabled or too large.
void check_post_processing(const ServerContext& context, const PipelineService& service, const GenerateBody& body);

}  // namespace dreamlab
