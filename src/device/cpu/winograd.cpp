#include "device/cpu/winograd.h"

#include <algorithm>
#include <array>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "device/cpu/winograd.cpp"
#include <hwy/foreach_target.h>

#include "device/cpu/gemm_f32-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dreamlab::cpu::HWY_NAMESPACE {

constexpr int kTile = 4;                  // side of a tile of results
constexpr int kPatch = kTile + 2;         // side of the patch of inputs it needs
constexpr int kPoints = kPatch * kPatch;  // products per tile and channel pair

// The interpolation points 0, +-a, +-b, infinity.
constexpr float kA = 0.625f, kB = 1.5f;
constexpr float kA2 = kA * kA, kB2 = kB * kB;

// One dimension of the input transform: for each finite point p the coefficients of m(x) / (x - p), and of m(x) for
// infinity, where m(x) = x (x^2 - a^2) (x^2 - b^2).
inline void transform_input(const VF32 x[kPatch], VF32 out[kPatch]) {
  const VF32 a2 = splat(kA2), b2 = splat(kB2);
  const VF32 even_a = hn::NegMulAdd(b2, x[2], x[4]), odd_a = hn::Mul(splat(kA), hn::NegMulAdd(b2, x[1], x[3]));
  const VF32 even_b = hn::NegMulAdd(a2, x[2], x[4]), odd_b = hn::Mul(splat(kB), hn::NegMulAdd(a2, x[1], x[3]));
  const VF32 product = splat(kA2 * kB2), sum = splat(kA2 + kB2);
  out[0] = hn::MulAdd(product, x[0], hn::NegMulAdd(sum, x[2], x[4]));
  out[1] = hn::Add(even_a, odd_a);
  out[2] = hn::Sub(even_a, odd_a);
  out[3] = hn::Add(even_b, odd_b);
  out[4] = hn::Sub(even_b, odd_b);
  out[5] = hn::MulAdd(product, x[1], hn::NegMulAdd(sum, x[3], x[5]));
}

// One dimension of the filter transform: the filter's polynomial at each point p, divided by the product of p - q over
// the other finite points q; its leading coefficient at infinity.
inline void transform_filter(const VF32 g[3], VF32 out[kPatch]) {
  constexpr float n0 = 1.0f / (kA2 * kB2);
  constexpr float na = 1.0f / (2 * kA2 * (kA2 - kB2));
  constexpr float nb = 1.0f / (2 * kB2 * (kB2 - kA2));
  const VF32 even_a = hn::Mul(splat(na), hn::MulAdd(splat(kA2), g[2], g[0])), odd_a = hn::Mul(splat(na * kA), g[1]);
  const VF32 even_b = hn::Mul(splat(nb), hn::MulAdd(splat(kB2), g[2], g[0])), odd_b = hn::Mul(splat(nb * kB), g[1]);
  out[0] = hn::Mul(splat(n0), g[0]);
  out[1] = hn::Add(even_a, odd_a);
  out[2] = hn::Sub(even_a, odd_a);
  out[3] = hn::Add(even_b, odd_b);
  out[4] = hn::Sub(even_b, odd_b);
  out[5] = g[2];
}

// One dimension of the output transform: powers 0 to 3 of each point times its product.
inline void transform_output(const VF32 m[kPatch], VF32 out[kTile]) {
  const VF32 sum_a = hn::Add(m[1], m[2]), difference_a = hn::Sub(m[1], m[2]);
  const VF32 sum_b = hn::Add(m[3], m[4]), difference_b = hn::Sub(m[3], m[4]);
  out[0] = hn::Add(m[0], hn::Add(sum_a, sum_b));
  out[1] = hn::MulAdd(splat(kA), difference_a, hn::Mul(splat(kB), difference_b));
  out[2] = hn::MulAdd(splat(kA2), sum_a, hn::Mul(splat(kB2), sum_b));
  out[3] = hn::Add(m[5], hn::MulAdd(splat(kA2 * kA), difference_a, hn::Mul(splat(kB2 * kB), difference_b)));
}

// Filters of one panel: [in][9][panel] to 36 times [in][panel], `point_stride` floats apart.
void transform_filters(Elements filters, int64_t in_channels, float* out, int64_t point_stride) {
  for (int64_t c = 0; c < in_channels; ++c) {
    for (int64_t lane = 0; lane < kPanel; lane += kLanes) {
      VF32 half[3][kPatch];
      for (int x = 0; x < 3; ++x) {
        VF32 column[3];
        for (int y = 0; y < 3; ++y) column[y] = load(filters, (c * 9 + y * 3 + x) * kPanel + lane);
        transform_filter(column, half[x]);
      }
      for (int y = 0; y < kPatch; ++y) {
        const VF32 row[3] = {half[0][y], half[1][y], half[2][y]};
        VF32 points[kPatch];
        transform_filter(row, points);
        for (int x = 0; x < kPatch; ++x)
          hn::StoreU(points[x], F32(), out + (y * kPatch + x) * point_stride + c * kPanel + lane);
      }
    }
  }
}

// One tile's patch, all channels, into the blocked matrices [point][channel / 64][tile][64].
// offsets: element index of each of the patch's pixels, or -1 outside the picture.
void transform_patch(Elements source, const int64_t offsets[kPoints], int64_t channels, int64_t tile, int64_t tiles,
                     float* out, int64_t point_stride) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    const int64_t count = std::min<int64_t>(kLanes, channels - c);
    VF32 half[kPatch][kPatch];  // [x][y]
    for (int x = 0; x < kPatch; ++x) {
      VF32 column[kPatch];
      for (int y = 0; y < kPatch; ++y) {
        const int64_t offset = offsets[y * kPatch + x];
        column[y] = offset < 0 ? hn::Zero(F32()) : load_some(source, offset + c, count);
      }
      transform_input(column, half[x]);
    }
    float* to = out + (c / kBlock * tiles + tile) * kBlock + c % kBlock;
    for (int y = 0; y < kPatch; ++y) {
      VF32 row[kPatch], points[kPatch];
      for (int x = 0; x < kPatch; ++x) row[x] = half[x][y];
      transform_input(row, points);
      for (int x = 0; x < kPatch; ++x) hn::StoreU(points[x], F32(), to + (y * kPatch + x) * point_stride);
    }
  }
}

struct TilePlace {
  int64_t image, y, x;  // of the tile's first result pixel
};

// One tile's results for one panel of channels: products [point][tile][panel] to pixels, through the epilogue.
void write_tile(const float* products, int64_t point_stride, const TilePlace& place, int64_t channel, int64_t channels,
                const WinogradArgs& args) {
  for (int64_t lane = 0; lane < kPanel && channel + lane < channels; lane += kLanes) {
    const int64_t count = std::min<int64_t>(kLanes, channels - channel - lane);
    VF32 half[kPatch][kTile];  // [x][y]
    for (int x = 0; x < kPatch; ++x) {
      VF32 column[kPatch];
      for (int y = 0; y < kPatch; ++y) column[y] = hn::LoadU(F32(), products + (y * kPatch + x) * point_stride + lane);
      transform_output(column, half[x]);
    }
    for (int y = 0; y < kTile && place.y + y < args.out_height; ++y) {
      VF32 row[kPatch], pixels[kTile];
      for (int x = 0; x < kPatch; ++x) row[x] = half[x][y];
      transform_output(row, pixels);
      const int64_t first = (place.image * args.out_height + place.y + y) * args.out_width + place.x;
      for (int x = 0; x < kTile && place.x + x < args.out_width; ++x) {
        const VF32 value = finish(pixels[x], args.epilogue, place.image, first + x, channels, channel + lane, count);
        store_some(value, args.result, (first + x) * channels + channel + lane, count);
      }
    }
  }
}

struct Blocking {
  int64_t tiles;   // per block
  int64_t panels;  // whose products are kept at once
};

// Few channels: a block's transformed patches and one panel's products share the second-level cache. Many: matrices
// have to be tall to pay for reading the filters, and patches and products go through the third level.
Blocking blocking_for(int64_t channels, int64_t panels) {
  if (channels <= 192) return {4 * kRows, 1};
  return {16 * kRows, panels};
}

// Products of a block of tiles with `count` panels of filters, one interpolation point after the other: a point's
// patches stay in the second-level cache while its filters stream past them. products: [point][panel][block][kPanel].
void multiply_block(const float* patches, int64_t tiles, int64_t block, const float* filters, int64_t point_stride,
                    int64_t panels, int64_t channels, float* products) {
  for (int64_t point = 0; point < kPoints; ++point) {
    const float* a = patches + point * round_up(channels, kBlock) * block;
    for (int64_t panel = 0; panel < panels; ++panel) {
      const float* b = filters + point * point_stride + panel * channels * kPanel;
      float* c = products + (point * panels + panel) * block * kPanel;
      for (int64_t k = 0; k < channels; k += kDepth)
        multiply_panel(a + k * block, block, tiles, b + k * kPanel, std::min(kDepth, channels - k), c, kPanel, k > 0);
    }
  }
}

TilePlace place_of(int64_t tile, int64_t tiles_y, int64_t tiles_x) {
  return {tile / (tiles_y * tiles_x), tile / tiles_x % tiles_y * kTile, tile % tiles_x * kTile};
}

void patch_offsets(const TilePlace& place, const WinogradArgs& args, int64_t channels, int64_t offsets[kPoints]) {
  for (int dy = 0; dy < kPatch; ++dy) {
    const int64_t y = place.y + dy - args.pad_before;
    const int64_t source_y = y * args.source_height / args.height;
    for (int dx = 0; dx < kPatch; ++dx) {
      const int64_t x = place.x + dx - args.pad_before;
      const int64_t source_x = x * args.source_width / args.width;
      const bool inside = y >= 0 && y < args.height && x >= 0 && x < args.width;
      offsets[dy * kPatch + dx] =
          inside ? ((place.image * args.source_height + source_y) * args.source_width + source_x) * channels : -1;
    }
  }
}

int64_t panel_size() {
  return kPanel;
}

void convolve(const WinogradArgs& args, const WinogradFilters& filters, ThreadPool& threads, MemoryPool& pool) {
  const int64_t in = filters.in_channels, out = filters.out_channels;
  const int64_t panels = (out + kPanel - 1) / kPanel;
  const int64_t filter_stride = panels * in * kPanel;  // between points

  const auto transformed = pool.allocate(sizeof(float) * static_cast<size_t>(kPoints * filter_stride));
  auto* const u = static_cast<float*>(transformed.get());
  threads.parallel_for(panels, [&](int64_t panel, int) {
    transform_filters(Elements{filters.memory.get(), filters.dtype}.at(panel * in * 9 * kPanel), in,
                      u + panel * in * kPanel, filter_stride);
  });

  const int64_t tiles_y = (args.out_height + kTile - 1) / kTile, tiles_x = (args.out_width + kTile - 1) / kTile;
  const int64_t tiles = args.images * tiles_y * tiles_x;
  // A block for each thread at least, where there are tiles enough for that.
  const int64_t per_thread = round_up((tiles + threads.size() - 1) / threads.size(), kRows);
  const Blocking blocking = blocking_for(in, panels);
  const int64_t block = std::min(blocking.tiles, per_thread);
  const int64_t blocks = (tiles + block - 1) / block;

  const int64_t patch_floats = kPoints * round_up(in, kBlock) * block,
                product_floats = kPoints * blocking.panels * block * kPanel;
  std::vector<std::shared_ptr<void>> scratch(static_cast<size_t>(threads.size()));
  for (auto& memory : scratch)
    memory = pool.allocate(sizeof(float) * static_cast<size_t>(patch_floats + product_floats));

  threads.parallel_for(blocks, [&](int64_t index, int worker) {
    auto* const patches = static_cast<float*>(scratch[static_cast<size_t>(worker)].get());
    float* const products = patches + patch_floats;
    const int64_t first = index * block, count = std::min(block, tiles - first);
    for (int64_t t = 0; t < count; ++t) {
      int64_t offsets[kPoints];
      patch_offsets(place_of(first + t, tiles_y, tiles_x), args, in, offsets);
      transform_patch(args.source, offsets, in, t, block, patches, round_up(in, kBlock) * block);
    }
    for (int64_t panel = 0; panel < panels; panel += blocking.panels) {
      const int64_t group = std::min(blocking.panels, panels - panel);
      multiply_block(patches, count, block, u + panel * in * kPanel, filter_stride, group, in, products);
      for (int64_t t = 0; t < count; ++t) {
        const TilePlace place = place_of(first + t, tiles_y, tiles_x);
        for (int64_t g = 0; g < group; ++g)
          write_tile(products + (g * block + t) * kPanel, group * block * kPanel, place, (panel + g) * kPanel, out,
                     args);
      }
    }
  });
}

}  // namespace dreamlab::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dreamlab::cpu {

HWY_EXPORT(panel_size);
HWY_EXPORT(convolve);

int64_t winograd_panel() {
  return HWY_DYNAMIC_DISPATCH(panel_size)();
}

void winograd_convolution(const WinogradArgs& args, const WinogradFilters& filters, ThreadPool& threads,
                          MemoryPool& pool) {
  HWY_DYNAMIC_DISPATCH(convolve)(args, filters, threads, pool);
}

WinogradFilters pack_winograd(const HostTensor& weight, DType dtype, ThreadPool& threads, WeightArena& arena) {
  const int64_t out_channels = weight.shape[0], in_channels = weight.shape[1], row = in_channels * 9;
  const int64_t panel = winograd_panel(), panels = (out_channels + panel - 1) / panel;
  WinogradFilters filters{arena.allocate(static_cast<size_t>(panels * row * panel) * size_of(dtype)), dtype,
                          in_channels, out_channels};
  threads.parallel_for(panels, [&](int64_t p, int) {
    const int64_t first = p * panel, count = std::min(panel, out_channels - first);
    // [out][in * 9] of this panel, and the same with the columns innermost.
    std::vector<float> rows(static_cast<size_t>(count * row)), columns(static_cast<size_t>(row * panel), 0.0f);
    const HostTensor source = weight.rows(first, first + count);
    convert_elements(source.data, source.dtype, rows.data(), DType::f32, rows.size());
    for (int64_t lane = 0; lane < count; ++lane)
      for (int64_t i = 0; i < row; ++i)
        columns[static_cast<size_t>(i * panel + lane)] = rows[static_cast<size_t>(lane * row + i)];
    convert_elements(columns.data(), DType::f32,
                     static_cast<char*>(filters.memory.get()) + static_cast<size_t>(p * row * panel) * size_of(dtype),
                     dtype, columns.size());
  });
  return filters;
}

}  // namespace dreamlab::cpu
#endif
