#pragma once

// Hopper's instructions for matrix products (compute capability 9.0a): bulk tensor copies into the shared memory of a
// cluster's blocks, the barriers they report to, and products by warpgroups.
//
// PTX ISA, https://docs.nvidia.com/cuda/parallel-thread-execution/: "Asynchronous Warpgroup Level Matrix Instructions",
// "Data Movement and Conversion Instructions: Tensor copy", "mbarrier".
#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <atomic>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "device/cuda/cuda_error.h"

namespace dreamlab::cuda::hopper {

constexpr int kWarpgroup = 128;  // threads

__device__ inline uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// --- Barriers in shared memory, by their addresses there ---
__device__ inline void init_barrier(uint32_t barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals));
}
// Makes initialized barriers known to the copy engine and to the cluster's other blocks.
__device__ inline void fence_barrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
// Arrives, and has the phase wait for so many bytes, too.
__device__ inline void arrive_expecting(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
// What is at an address of a block's shared memory in another block of the cluster.
__device__ inline uint32_t address_in(uint32_t block, uint32_t address) {
  uint32_t remote;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(address), "r"(block));
  return remote;
}
// On the barrier at the same address of another block of the cluster.
__device__ inline void arrive_at(uint32_t barrier, uint32_t block) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(address_in(block, barrier)) : "memory");
}
// Until the phase of that parity is over.
__device__ inline void wait(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

// --- Barriers of some of a block's threads, by number ---
__device__ inline void wait_at(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
// Is one of those that are waited for, and does not wait.
__device__ inline void arrive_for(int barrier, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
// Warpgroups that take turns. Each has a barrier of its own, from `first_barrier` on, where it and the one before it
// meet.
struct Turns {
  int first_barrier, warpgroup, warpgroups;

  // Once, before the first turn.
  __device__ void begin() const {
    if (warpgroup == warpgroups - 1) pass();
  }
  __device__ void take() const { wait_at(first_barrier + warpgroup, 2 * kWarpgroup); }
  __device__ void pass() const { arrive_for(first_barrier + (warpgroup + 1) % warpgroups, 2 * kWarpgroup); }
};

// --- Clusters ---
__device__ inline uint32_t block_in_cluster() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
// Without making earlier writes visible to the others, other than initialized barriers: that would have to wait for all
// of them.
__device__ inline void synchronize_cluster() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
}

// The same, and what was written to shared memory before is there for the others after it.
__device__ inline void exchange_in_cluster() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
// A number at the same address of another block's shared memory.
__device__ inline float load_from(uint32_t address, uint32_t block) {
  float value;
  asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(address_in(block, address)) : "memory");
  return value;
}

// Four numbers at an address of shared memory: written to the block's own, and added to from a block's.
__device__ inline void store_shared(uint32_t address, const float* four) {
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(address), "f"(four[0]), "f"(four[1]), "f"(four[2]),
               "f"(four[3])
               : "memory");
}
__device__ inline void add_shared(uint32_t address, uint32_t block, float* four) {
  float values[4];
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(values[0]), "=f"(values[1]), "=f"(values[2]), "=f"(values[3])
               : "r"(address_in(block, address))
               : "memory");
#pragma unroll
  for (int i = 0; i < 4; ++i) four[i] += values[i];
}
// What threads did with shared memory comes before what the copy engine does with it.
__device__ inline void fence_shared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// --- Dependent launches: no effect unless the kernel was launched so that it may start before the last one's end. ---
__device__ inline void wait_for_previous_kernel() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}
__device__ inline void let_next_kernel_start() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

// --- Bulk tensor copies ---
__device__ inline void prefetch_map(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
// A box of a tensor of four dimensions to the same place of each block in `blocks` (a bit for each of the cluster).
__device__ inline void copy_box(const CUtensorMap* map, uint32_t to, uint32_t barrier, int32_t c0, int32_t c1,
                                int32_t c2, int32_t c3, uint16_t blocks, bool multicast) {
  if (multicast)
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster"
        " [%0], [%1, {%3, %4, %5, %6}], [%2], %7;" ::"r"(to),
        "l"(map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "h"(blocks)
        : "memory");
  else
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes"
        " [%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(to),
        "l"(map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
        : "memory");
}

// --- Products of warpgroups ---
// A matrix in shared memory whose rows are 128 bytes, swizzled as the copy engine does it; 1,024 bytes for eight rows.
__device__ inline uint64_t matrix_descriptor(uint32_t address) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62, kEightRows = uint64_t{1024 >> 4} << 32,
                     kUnused = uint64_t{1} << 16;
  return kSwizzle128 | kEightRows | kUnused | ((address & 0x3ffff) >> 4);
}
// The same of a matrix that is stored by columns of its transpose: rows of 64 elements, `chunk_bytes` from those to the
// next 64.
__device__ inline uint64_t transposed_descriptor(uint32_t address, uint32_t chunk_bytes) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62, kEightRows = uint64_t{1024 >> 4} << 32;
  return kSwizzle128 | kEightRows | uint64_t{chunk_bytes >> 4} << 16 | ((address & 0x3ffff) >> 4);
}
__device__ inline void fence_products() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ inline void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Until no more than so many groups are under way.
template <int kPending>
__device__ inline void wait_for_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// The compiler must not move or copy accumulators while a product is under way.
template <int kCount>
__device__ inline void pin(float (&values)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(values[i])::"memory");
}

template <int kRegisters>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// --- On the host ---
// GPUs, a bit each.
using DevicesSeen = std::atomic<uint64_t>;
// Lets a kernel use more shared memory than all GPUs have, on the current GPU.
template <typename Kernel>
void allow_shared(Kernel* kernel, int bytes, DevicesSeen& seen) {
  int device = 0;
  check(cudaGetDevice(&device), "asking for the device");
  const uint64_t bit = uint64_t{1} << device % 64;
  if ((seen & bit) != 0) return;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), "asking for shared memory");
  seen |= bit;
}

struct Launch {
  dim3 blocks;
  int threads, shared;  // of a block; bytes
  cudaStream_t stream;
  int cluster = 1;    // blocks
  bool ahead = true;  // it may start while the kernel before it ends
};
template <typename... Parameters>
void launch(void (*kernel)(Parameters...), const Launch& how, std::string_view what,
            std::type_identity_t<const Parameters&>... arguments) {
  cudaLaunchAttribute attributes[2];
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim.x = static_cast<unsigned>(how.cluster);
  attributes[0].val.clusterDim.y = attributes[0].val.clusterDim.z = 1;
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = how.ahead ? 1 : 0;
  cudaLaunchConfig_t config{};
  config.gridDim = how.blocks;
  config.blockDim = dim3(static_cast<unsigned>(how.threads));
  config.dynamicSmemBytes = static_cast<size_t>(how.shared);
  config.stream = how.stream;
  config.attrs = attributes;
  config.numAttrs = 2;
  check(cudaLaunchKernelEx(&config, kernel, arguments...), what);
}

// sums [64, N] (each thread its N / 2) = a [64, 16] * b [N, 16]^T + (add ? sums : 0), a and b in shared memory
template <typename T, int N>
struct WarpgroupProduct;
// The same for an a in registers, and a b that is stored as [16, N].
template <typename T, int N>
struct RegisterProduct;

// clang-format off
// Lists of registers in the instruction, and of what they stand for, eight at a time.
#define DL_R0 "%0, %1, %2, %3, %4, %5, %6, %7"
#define DL_R1 DL_R0 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define DL_R2 DL_R1 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define DL_R3 DL_R2 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define DL_R4 DL_R3 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define DL_R5 DL_R4 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define DL_R6 DL_R5 ", %48, %49, %50, %51, %52, %53, %54, %55"
#define DL_R7 DL_R6 ", %56, %57, %58, %59, %60, %61, %62, %63"
#define DL_R8 DL_R7 ", %64, %65, %66, %67, %68, %69, %70, %71"
#define DL_R9 DL_R8 ", %72, %73, %74, %75, %76, %77, %78, %79"
#define DL_R10 DL_R9 ", %80, %81, %82, %83, %84, %85, %86, %87"
#define DL_R11 DL_R10 ", %88, %89, %90, %91, %92, %93, %94, %95"
#define DL_R12 DL_R11 ", %96, %97, %98, %99, %100, %101, %102, %103"
#define DL_R13 DL_R12 ", %104, %105, %106, %107, %108, %109, %110, %111"
#define DL_R14 DL_R13 ", %112, %113, %114, %115, %116, %117, %118, %119"
#define DL_R15 DL_R14 ", %120, %121, %122, %123, %124, %125, %126, %127"
#define DL_D8(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
                 "+f"(d[i + 6]), "+f"(d[i + 7])
#define DL_D0 DL_D8(0)
#define DL_D1 DL_D0, DL_D8(8)
#define DL_D2 DL_D1, DL_D8(16)
#define DL_D3 DL_D2, DL_D8(24)
#define DL_D4 DL_D3, DL_D8(32)
#define DL_D5 DL_D4, DL_D8(40)
#define DL_D6 DL_D5, DL_D8(48)
#define DL_D7 DL_D6, DL_D8(56)
#define DL_D8_ DL_D7, DL_D8(64)
#define DL_D9 DL_D8_, DL_D8(72)
#define DL_D10 DL_D9, DL_D8(80)
#define DL_D11 DL_D10, DL_D8(88)
#define DL_D12 DL_D11, DL_D8(96)
#define DL_D13 DL_D12, DL_D8(104)
#define DL_D14 DL_D13, DL_D8(112)
#define DL_D15 DL_D14, DL_D8(120)
#define DL_PRODUCT(T, TYPE, N, REGISTERS, A, B, ADD, ...)                                                             \
  template <> struct WarpgroupProduct<T, N> {                                                                         \
    __device__ static inline void run(float (&d)[N / 2], uint64_t a, uint64_t b, int add = 1) {                          \
      asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, " ADD ", 0;\n"                                               \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" REGISTERS "}, " A ", " B      \
                   ", add, 1, 1, 0, 0;\n}"                                                                            \
                   : __VA_ARGS__ : "l"(a), "l"(b), "r"(add));                                                                \
    }                                                                                                                 \
  };
#define DL_PRODUCTS(N, REGISTERS, A, B, ADD, ...)                     \
  DL_PRODUCT(__half, "f16", N, REGISTERS, A, B, ADD, __VA_ARGS__)      \
  DL_PRODUCT(__nv_bfloat16, "bf16", N, REGISTERS, A, B, ADD, __VA_ARGS__)
DL_PRODUCTS(80, DL_R4, "%40", "%41", "%42", DL_D4)
DL_PRODUCTS(128, DL_R7, "%64", "%65", "%66", DL_D7)
DL_PRODUCTS(160, DL_R9, "%80", "%81", "%82", DL_D9)
DL_PRODUCTS(256, DL_R15, "%128", "%129", "%130", DL_D15)

#undef DL_PRODUCT
#define DL_PRODUCT(T, TYPE, N, REGISTERS, A, B, ADD, ...)                                                              \
  template <> struct RegisterProduct<T, N> {                                                                          \
    __device__ static inline void run(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, int add) {               \
      asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, " ADD ", 0;\n"                                               \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" REGISTERS "}, {" A "}, " B    \
                   ", add, 1, 1, 1;\n}"                                                                               \
                   : __VA_ARGS__ : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));                      \
    }                                                                                                                 \
  };
DL_PRODUCTS(40, DL_R1 ", %16, %17, %18, %19", "%20, %21, %22, %23", "%24", "%25", DL_D1, "+f"(d[16]), "+f"(d[17]),
            "+f"(d[18]), "+f"(d[19]))
DL_PRODUCTS(64, DL_R3, "%32, %33, %34, %35", "%36", "%37", DL_D3)
DL_PRODUCTS(80, DL_R4, "%40, %41, %42, %43", "%44", "%45", DL_D4)
DL_PRODUCTS(160, DL_R9, "%80, %81, %82, %83", "%84", "%85", DL_D9)
#undef DL_PRODUCT
// clang-format on

}  // namespace dreamlab::cuda::hopper
