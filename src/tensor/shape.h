#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace dreamlab {

// The extents of a tensor, outermost first; at most 6. Activations are [N, H, W, C] or [N, T, C].
class Shape {
 public:
  static constexpr int kMaxRank = 6;

  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span<const int64_t>(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const int64_t> dims);

  int rank() const noexcept { return rank_; }
  // Negative indices count from the end, as in PyTorch.
  int64_t operator[](int index) const noexcept { return dims_[index < 0 ? rank_ + index : index]; }
  void set(int index, int64_t value) noexcept { dims_[index < 0 ? rank_ + index : index] = value; }
  // Product of all extents; 1 for rank 0.
  int64_t elements() const noexcept;
  std::span<const int64_t> dims() const noexcept { return {dims_.data(), static_cast<size_t>(rank_)}; }

  bool operator==(const Shape& other) const noexcept;
  // "[1, 64, 64, 320]"
  std::string to_string() const;

 private:
  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

}  // namespace dreamlab
