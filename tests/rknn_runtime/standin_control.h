#pragma once

// What a test can ask of the stand-in beyond the runtime's interface.
#include <cstdint>

extern "C" {
// Forgets all that was counted; nothing may be open.
void rknn_standin_reset();
// The call after `after` more fails: 0 is the next one. Negative: none.
void rknn_standin_fail_after(int after);
// Whether creating memory always fails, as without access to /dev/dma_heap.
void rknn_standin_refuse_memory(bool refuse);
// What rknn_query(SDK_VERSION) says.
void rknn_standin_set_versions(const char* api, const char* driver);
// Calls of the interface so far.
int rknn_standin_calls();
// What was done against the interface's rules, a line each.
const char* rknn_standin_violations();
// Contexts and blocks of memory that are not given back.
int rknn_standin_open();
// Files that were read, not shared.
int rknn_standin_loads();
// The most contexts that ran at once, and the core masks that were seen running, joined.
int rknn_standin_most_at_once();
uint32_t rknn_standin_cores();
// Milliseconds that a run takes at least.
void rknn_standin_slow_down(int ms);
}
