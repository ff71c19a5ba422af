#pragma once

#include <string>
#include <vector>

namespace dreamlab {

struct ServerBenchFlags {
  std::string model;  // file or directory
  std::string size = "512x512";
  int steps = 4;
  int threads = 0;  // of the device; 0: one per processor
  std::string dtype = "auto";
  int repeat = 3;
};

// Where the time of a request goes, in milliseconds; medians of the requests.
struct ServerBenchReport {
  std::string device, model, size;
  int steps = 0;
  double request = 0;  // as the client sees it
  double text = 0, denoise = 0, decode = 0;
  double encode_png = 0;
  double overhead = 0;  // the request without text, denoising and decoding: HTTP, JSON, queue, PNG
};

// Serves the model on a free port of this machine and asks for pictures, one after the other. Throws Error.
ServerBenchReport bench_server(const ServerBenchFlags& flags);
// A table, or JSON.
void print(const ServerBenchReport& report, bool as_json);

}  // namespace dreamlab
