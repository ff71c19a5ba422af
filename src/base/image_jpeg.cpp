// JPEG (ITU-T T.81) through libjpeg-turbo.
#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>

// libjpeg's header needs <cstdio> before it.
#include <jerror.h>
#include <jpeglib.h>

#include "base/error.h"
#include "base/exif.h"
#include "base/image_codecs.h"

namespace dreamlab {

namespace {

constexpr std::string_view kExifMark{"Exif\0\0", 6};
constexpr unsigned kMaxMarkerBytes = 0xFFFF;
// An 8x8 block takes at least one bit: a file that claims more pixels a byte than that is cut short.
constexpr int64_t kMaxPixelsPerByte = 512;
constexpr int64_t kMaxHeaderSlack = 4096;
// A progressive file may repeat scans without end and keep the decoder busy for hours.
constexpr int kMaxScans = 100;
constexpr int kFullChromaQuality = 90;  // from here on chroma is stored at full resolution
constexpr int64_t kMaxSide = JPEG_MAX_DIMENSION;

// libjpeg reports errors by a call that must not return: it jumps back to where the reader or writer was entered.
// Objects with destructors live outside the function that may be jumped out of.
struct ErrorManager {
  jpeg_error_mgr base;
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void jump_out(j_common_ptr info) {
  auto* manager = reinterpret_cast<ErrorManager*>(info->err);
  manager->base.format_message(info, manager->message);
  std::longjmp(manager->jump, 1);
}

// A premature end is a mere warning to libjpeg, which fills the rest with gray; half a picture is not what the caller
// asked for. Other warnings (stray bytes between segments, odd markers) are common in whole files.
void fail_on_premature_end(j_common_ptr info, int level) {
  const int code = info->err->msg_code;
  if (level < 0 && (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER)) jump_out(info);
}

void limit_scans(j_common_ptr info) {
  if (info->is_decompressor && reinterpret_cast<j_decompress_ptr>(info)->input_scan_number > kMaxScans) {
    auto* manager = reinterpret_cast<ErrorManager*>(info->err);
    std::snprintf(manager->message, sizeof(manager->message), "more than %d scans", kMaxScans);
    std::longjmp(manager->jump, 1);
  }
}

void install(ErrorManager& manager) {
  jpeg_std_error(&manager.base);
  manager.base.error_exit = jump_out;
  manager.base.emit_message = fail_on_premature_end;
  manager.base.output_message = [](j_common_ptr) {};
  manager.message[0] = '\0';
}

class JpegReader {
 public:
  JpegReader(std::span<const uint8_t> bytes, std::string_view name) : bytes_(bytes), name_(name) {
    install(errors_);
    info_.err = &errors_.base;
    progress_.progress_monitor = limit_scans;
  }
  ~JpegReader() { jpeg_destroy_decompress(&info_); }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  void read_header(const ImageLimits& limits) {
    if (!try_header()) fail_damaged();
    check_image_size(info_.image_width, info_.image_height, name_, limits);
    const int64_t pixels = int64_t{info_.image_width} * info_.image_height;
    if ((pixels - kMaxHeaderSlack) / kMaxPixelsPerByte > static_cast<int64_t>(bytes_.size())) {
      fail(ErrorKind::invalid_file, "{}: {} bytes cannot hold the {}x{} pixels that the header promises", name_,
           bytes_.size(), info_.image_width, info_.image_height);
    }
    if (info_.jpeg_color_space == JCS_CMYK || info_.jpeg_color_space == JCS_YCCK) {
      fail(ErrorKind::unsupported, "{}: a CMYK JPEG; convert it to RGB first", name_);
    }
  }

  ExifData exif() const {
    for (jpeg_saved_marker_ptr marker = info_.marker_list; marker != nullptr; marker = marker->next) {
      const std::span<const uint8_t> data(marker->data, marker->data_length);
      if (data.size() > kExifMark.size() && std::memcmp(data.data(), kExifMark.data(), kExifMark.size()) == 0) {
        return parse_exif(data.subspan(kExifMark.size()));
      }
    }
    return {};
  }

  Image read_pixels() {
    Image image = Image::blank(info_.image_width, info_.image_height, 3);
    if (!try_pixels(image)) fail_damaged();
    return image;
  }

 private:
  [[noreturn]] void fail_damaged() const {
    fail(ErrorKind::invalid_file, "{}: damaged or truncated JPEG ({})", name_, errors_.message);
  }

  bool try_header() {
    if (setjmp(errors_.jump)) return false;
    jpeg_create_decompress(&info_);
    info_.progress = &progress_;
    jpeg_mem_src(&info_, bytes_.data(), bytes_.size());
    jpeg_save_markers(&info_, JPEG_APP0 + 1, kMaxMarkerBytes);
    jpeg_read_header(&info_, TRUE);
    return true;
  }

  bool try_pixels(Image& image) {
    if (setjmp(errors_.jump)) return false;
    info_.out_color_space = JCS_RGB;
    jpeg_start_decompress(&info_);
    while (info_.output_scanline < info_.output_height) {
      JSAMPROW row = image.row(info_.output_scanline);
      jpeg_read_scanlines(&info_, &row, 1);
    }
    jpeg_finish_decompress(&info_);
    return true;
  }

  std::span<const uint8_t> bytes_;
  std::string_view name_;
  jpeg_decompress_struct info_{};
  jpeg_progress_mgr progress_{};
  ErrorManager errors_{};
};

class JpegWriter {
 public:
  JpegWriter() {
    install(errors_);
    info_.err = &errors_.base;
  }
  ~JpegWriter() {
    jpeg_destroy_compress(&info_);
    std::free(buffer_);
  }
  JpegWriter(const JpegWriter&) = delete;
  JpegWriter& operator=(const JpegWriter&) = delete;

  std::vector<uint8_t> write(const Image& image, int quality, std::span<const uint8_t> exif) {
    if (!try_write(image, quality, exif)) fail(ErrorKind::internal, "writing a JPEG failed ({})", errors_.message);
    return {buffer_, buffer_ + size_};
  }

 private:
  bool try_write(const Image& image, int quality, std::span<const uint8_t> exif) {
    if (setjmp(errors_.jump)) return false;
    jpeg_create_compress(&info_);
    jpeg_mem_dest(&info_, &buffer_, &size_);
    info_.image_width = static_cast<JDIMENSION>(image.width);
    info_.image_height = static_cast<JDIMENSION>(image.height);
    info_.input_components = 3;
    info_.in_color_space = JCS_RGB;
    jpeg_set_defaults(&info_);
    jpeg_set_quality(&info_, quality, TRUE);
    const int sampling = quality >= kFullChromaQuality ? 1 : 2;
    info_.comp_info[0].h_samp_factor = info_.comp_info[0].v_samp_factor = sampling;
    jpeg_start_compress(&info_, TRUE);
    if (!exif.empty()) jpeg_write_marker(&info_, JPEG_APP0 + 1, exif.data(), static_cast<unsigned>(exif.size()));
    while (info_.next_scanline < info_.image_height) {
      auto* row = const_cast<JSAMPROW>(image.row(info_.next_scanline));
      jpeg_write_scanlines(&info_, &row, 1);
    }
    jpeg_finish_compress(&info_);
    return true;
  }

  jpeg_compress_struct info_{};
  ErrorManager errors_{};
  unsigned char* buffer_ = nullptr;
  unsigned long size_ = 0;
};

}  // namespace

DecodedImage decode_jpeg(std::span<const uint8_t> bytes, std::string_view name, const ImageLimits& limits) {
  JpegReader reader(bytes, name);
  reader.read_header(limits);
  const ExifData exif = reader.exif();
  DecodedImage decoded{
      .image = apply_orientation(reader.read_pixels(), exif.orientation), .format = ImageFormat::jpeg, .texts = {}};
  if (!exif.user_comment.empty()) decoded.texts.push_back({"parameters", exif.user_comment});
  return decoded;
}

std::vector<uint8_t> encode_jpeg(const Image& image, const EncodeOptions& options) {
  if (image.width > kMaxSide || image.height > kMaxSide) {
    fail(ErrorKind::invalid_argument, "a JPEG cannot be {}x{}; at most {} a side", image.width, image.height, kMaxSide);
  }
  std::vector<uint8_t> exif;
  if (!options.texts.empty()) {
    const std::vector<uint8_t> tiff = make_exif(options.texts.front().text);
    exif.assign(kExifMark.begin(), kExifMark.end());
    exif.insert(exif.end(), tiff.begin(), tiff.end());
    if (exif.size() > kMaxMarkerBytes - 2) exif.clear();  // a segment holds 64 KiB; a longer text is left out
  }
  return JpegWriter().write(image.channels == 3 ? image : drop_alpha(image), options.quality, exif);
}

}  // namespace dreamlab
