#include "model/vae_tiles.h"

#include <algorithm>

#include "base/error.h"

namespace dreamlab {
namespace {

// Channels-last values on the host.
struct HostImage {
  Shape shape;
  std::vector<float> values;

  float* at(int64_t n, int64_t y, int64_t x) { return values.data() + ((n * shape[1] + y) * shape[2] + x) * shape[3]; }
  const float* at(int64_t n, int64_t y, int64_t x) const { return const_cast<HostImage*>(this)->at(n, y, x); }
};

HostImage crop(const HostImage& from, int64_t top, int64_t left, int64_t side) {
  const int64_t height = std::min(side, from.shape[1] - top), width = std::min(side, from.shape[2] - left);
  HostImage out{{from.shape[0], height, width, from.shape[3]}, {}};
  for (int64_t n = 0; n < from.shape[0]; ++n)
    for (int64_t y = 0; y < height; ++y) {
      const float* row = from.at(n, top + y, left);
      out.values.insert(out.values.end(), row, row + width * from.shape[3]);
    }
  return out;
}

void mix(float* target, const float* before, double share, int64_t count) {
  const auto old_share = static_cast<float>(1.0 - share), new_share = static_cast<float>(share);
  for (int64_t i = 0; i < count; ++i) target[i] = before[i] * old_share + target[i] * new_share;
}

// The first rows of `tile` fade in over the last rows of the tile above it.
void blend_rows(const HostImage& above, HostImage& tile, int64_t extent) {
  extent = std::min({extent, above.shape[1], tile.shape[1]});
  const int64_t width = std::min(above.shape[2], tile.shape[2]);
  for (int64_t n = 0; n < tile.shape[0]; ++n)
    for (int64_t y = 0; y < extent; ++y)
      mix(tile.at(n, y, 0), above.at(n, above.shape[1] - extent + y, 0), static_cast<double>(y) / extent,
          width * tile.shape[3]);
}

// The same sideways.
void blend_columns(const HostImage& left, HostImage& tile, int64_t extent) {
  extent = std::min({extent, left.shape[2], tile.shape[2]});
  const int64_t height = std::min(left.shape[1], tile.shape[1]);
  for (int64_t n = 0; n < tile.shape[0]; ++n)
    for (int64_t y = 0; y < height; ++y)
      for (int64_t x = 0; x < extent; ++x)
        mix(tile.at(n, y, x), left.at(n, y, left.shape[2] - extent + x), static_cast<double>(x) / extent,
            tile.shape[3]);
}

// Copies the top left `limit` x `limit` of a tile to its place.
void paste(const HostImage& tile, HostImage& canvas, int64_t top, int64_t left, int64_t limit) {
  const int64_t height = std::min({limit, tile.shape[1], canvas.shape[1] - top});
  const int64_t width = std::min({limit, tile.shape[2], canvas.shape[2] - left});
  for (int64_t n = 0; n < tile.shape[0]; ++n)
    for (int64_t y = 0; y < height; ++y)
      std::copy_n(tile.at(n, y, 0), width * tile.shape[3], canvas.at(n, top + y, left));
}

}  // namespace

std::vector<float> run_tiles(const Context& context, const Tensor& x, const Shape& result, const TileGeometry& geometry,
                             const std::function<Tensor(const Tensor&)>& network) {
  const HostImage input{x.shape(), context.device.download(x)};
  HostImage canvas{result, std::vector<float>(static_cast<size_t>(result.elements()))};
  const auto step = static_cast<int64_t>(static_cast<double>(geometry.input_tile) * (1.0 - geometry.overlap));
  const auto extent = static_cast<int64_t>(static_cast<double>(geometry.output_tile) * geometry.overlap);
  const int64_t limit = geometry.output_tile - extent;
  if (step < 1 || limit < 1 || step * geometry.output_tile != limit * geometry.input_tile)
    fail(ErrorKind::invalid_argument, "tiles of {} cannot overlap by {}: the rest must be whole on both sides",
         geometry.input_tile, geometry.overlap);

  std::vector<HostImage> above, row;
  for (int64_t i = 0; i * step < input.shape[1]; ++i) {
    row.clear();
    for (int64_t j = 0; j * step < input.shape[2]; ++j) {
      context.check_cancelled();
      const HostImage tile = crop(input, i * step, j * step, geometry.input_tile);
      const Tensor out = network(context.device.upload(tile.values, tile.shape));
      row.push_back({out.shape(), context.device.download(out)});
      if (i > 0) blend_rows(above[static_cast<size_t>(j)], row.back(), extent);
      if (j > 0) blend_columns(row[static_cast<size_t>(j - 1)], row.back(), extent);
      paste(row.back(), canvas, i * limit, j * limit, limit);
    }
    std::swap(above, row);
  }
  return std::move(canvas.values);
}

}  // namespace dreamlab
