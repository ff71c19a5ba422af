#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "file_writers.h"
#include "golden_dir.h"
#include "weights/tensor_file.h"

namespace dreamlab {
namespace {

using namespace pickle_text;
using testing::ElementsAre;

std::shared_ptr<const TensorFile> read(const std::string& bytes) {
  const auto owner = std::make_shared<std::string>(bytes);
  return read_pytorch(std::as_bytes(std::span(owner->data(), owner->size())), owner, "test.pt");
}

std::vector<float> values(const TensorFile& file, const char* name) {
  return aligned(*file.find(name)).to_f32();
}

const std::string kStorage = storage("FloatStorage", "0", 6);
const std::string kSix = floats({0, 1, 2, 3, 4, 5});

TEST(PyTorchFile, ReadsAZipWithViewsOfOneStorage) {
  const auto file = read(pytorch_zip(
      dict({{"all", tensor(kStorage, 0, {2, 3}, {3, 1})}, {"tail", tensor(kStorage, 4, {2}, {1})}}), {{"0", kSix}}));
  EXPECT_EQ(file->format(), "PyTorch zip");
  EXPECT_EQ(file->find("all")->shape, (Shape{2, 3}));
  EXPECT_THAT(values(*file, "all"), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(values(*file, "tail"), ElementsAre(4, 5));
}

TEST(PyTorchFile, ReadsALegacyFile) {
  const auto file = read(pytorch_legacy(
      dict({{"w", tensor(kStorage, 0, {2, 3}, {3, 1})}, {"h", tensor(storage("HalfStorage", "x", 1), 0, {1}, {1})}}),
      {{"0", 6, kSix}, {"x", 1, std::string("\x00\x3c", 2)}}));
  EXPECT_EQ(file->format(), "PyTorch legacy");
  EXPECT_THAT(values(*file, "w"), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(values(*file, "h"), ElementsAre(1));
}

TEST(PyTorchFile, PutsStridedTensorsIntoRowMajorOrder) {
  const auto file = read(pytorch_zip(dict({{"t", tensor(kStorage, 0, {3, 2}, {1, 3})}}), {{"0", kSix}}));
  EXPECT_THAT(values(*file, "t"), ElementsAre(0, 3, 1, 4, 2, 5));
}

TEST(PyTorchFile, KnowsEveryStorageClass) {
  const std::vector<std::pair<std::string, DType>> classes{
      {"FloatStorage", DType::f32},   {"HalfStorage", DType::f16}, {"BFloat16Storage", DType::bf16},
      {"DoubleStorage", DType::f64},  {"LongStorage", DType::i64}, {"IntStorage", DType::i32},
      {"ShortStorage", DType::i16},   {"CharStorage", DType::i8},  {"ByteStorage", DType::u8},
      {"BoolStorage", DType::boolean}};
  for (const auto& [name, dtype] : classes) {
    const auto file = read(pytorch_zip(dict({{"t", tensor(storage(name, "0", 1), 0, {1}, {1})}}),
                                       {{"0", std::string(size_of(dtype), '\0')}}));
    EXPECT_EQ(file->find("t")->dtype, dtype) << name;
  }
}

TEST(PyTorchFile, DescendsToTheStateDictAndKeepsTheNumbersBesideIt) {
  const std::string weights = dict({{"w", tensor(kStorage, 0, {6}, {1})}});
  const auto file = read(pytorch_zip(dict({{"global_step", integer(875000)}, {"state_dict", weights}}), {{"0", kSix}}));
  EXPECT_THAT(file->names(), ElementsAre("w"));
  EXPECT_EQ(file->metadata().at("global_step"), "875000");
}

TEST(PyTorchFile, PrefersTheAveragedWeightsOfAnUpscaler) {
  const auto file = read(pytorch_zip(dict({{"params", dict({{"w", tensor(kStorage, 0, {1}, {1})}})},
                                           {"params_ema", dict({{"w", tensor(kStorage, 5, {1}, {1})}})}}),
                                     {{"0", kSix}}));
  EXPECT_THAT(values(*file, "w"), ElementsAre(5));
}

TEST(PyTorchFile, ReadsParametersAndTheCallbacksOfTrainingCheckpoints) {
  const std::string parameter =
      call(global("torch._utils", "_rebuild_parameter"),
           {tensor(kStorage, 0, {6}, {1}), "\x88", call(global("collections", "OrderedDict"), {})});
  const std::string callbacks =
      "}" + global("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint") + dict({{"best", "N"}}) + "s";
  const auto file =
      read(pytorch_zip(dict({{"callbacks", callbacks}, {"state_dict", dict({{"w", parameter}})}}), {{"0", kSix}}));
  EXPECT_THAT(file->names(), ElementsAre("w"));
}

TEST(PyTorchFile, GivesTheGoldenUpscalerAsItsSafetensorsTwin) {
  const auto pickle = open_tensor_file(golden_dir() / "models" / "tiny-esrgan.pth");
  const auto twin = open_tensor_file(golden_dir() / "models" / "tiny-esrgan.safetensors");
  ASSERT_EQ(pickle->names(), twin->names());
  for (const auto& [name, tensor] : twin->tensors()) {
    const HostTensor* other = pickle->find(name);
    ASSERT_EQ(other->shape, tensor.shape) << name;
    ASSERT_EQ(other->dtype, tensor.dtype) << name;
    EXPECT_EQ(std::memcmp(other->data, tensor.data, tensor.bytes()), 0) << name;
  }
}

struct HostileCase {
  const char* name;
  std::string bytes;
  ErrorKind kind;
  const char* message;
};

std::string with_tensor(const std::string& value) {
  return pytorch_zip(dict({{"t", value}}), {{"0", kSix}});
}
std::string with_pickle(const std::string& pickle) {
  return zip_file({{"a/data.pkl", pickle}, {"a/data/0", kSix}});
}

std::string patched(std::string bytes, size_t at, const std::string& with) {
  return bytes.replace(at, with.size(), with);
}

// A stored archive whose directory claims another compression method, or a size.
std::string deflated_zip() {
  std::string bytes = zip_file({{"a/data.pkl", pickle(dict({}))}});
  return patched(bytes, bytes.find("PK\x01\x02") + 10, little_endian(8, 2));
}

std::string zip_bomb() {  // a member that claims four gigabytes
  std::string bytes = zip_file({{"a/data.pkl", pickle(dict({}))}});
  return patched(bytes, bytes.find("PK\x01\x02") + 20, little_endian(0xfffffff0, 4) + little_endian(0xfffffff0, 4));
}

std::string overlapping_zip() {  // two members that share one place
  std::string bytes = zip_file({{"a/data.pkl", pickle(dict({}))}, {"a/data/0", "xxxxxxxx"}});
  const size_t second = bytes.rfind("PK\x01\x02");
  return patched(patched(bytes, second + 42, little_endian(0, 4)), second + 20,
                 little_endian(2, 4) + little_endian(2, 4));
}

std::string twin_zip() {
  return zip_file({{"a/data.pkl", pickle(dict({}))}, {"a/data.pkl", pickle(dict({}))}});
}

std::string repeated(const std::string& text, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += text;
  return out;
}

// A list of 1,000 pairs that OrderedDict is asked to copy again and again.
std::string dictionary_bomb() {
  const std::string list = "](" + repeated("(" + text("k") + "Nt", 1000) + "eq\x01";
  return pickle(list + repeated("0" + global("collections", "OrderedDict") + "h\x01\x85R", 5000));
}

class HostilePyTorch : public testing::TestWithParam<HostileCase> {};

TEST_P(HostilePyTorch, EndsInAOneLineError) {
  expect_error(GetParam().kind, GetParam().message, [&] { read(GetParam().bytes); });
}

const std::vector<HostileCase> kHostileCases{
    HostileCase{"CodeToRun", with_pickle(pickle(call(global("os", "system"), {text("rm -rf /")}))), kUnsupported,
                "asks for os.system"},
    HostileCase{"CodeByEval", with_pickle(pickle(call(global("builtins", "eval"), {text("1")}))), kUnsupported,
                "asks for builtins.eval"},
    HostileCase{"CodeByInst", with_pickle("\x80\x02(ios\nsystem\n."), kUnsupported, "opcode 0x69"},
    HostileCase{"CodeInALegacyFile", pytorch_legacy(call(global("posix", "system"), {text("x")}), {}), kUnsupported,
                "asks for posix.system"},
    HostileCase{"NewerProtocol", with_pickle("\x80\x04N."), kUnsupported, "protocol 4"},
    HostileCase{"CutPickle", with_pickle("\x80\x02}"), kInvalid, "ends early"},
    HostileCase{"CutText",
                with_pickle("\x80\x02X\xff\xff\xff\x7f"
                            "abc"),
                kInvalid, "a text reaches past its end"},
    HostileCase{"EndlessName",
                with_pickle("\x80\x02"
                            "c" +
                            std::string(5000, 'a')),
                kInvalid, "a name does not end"},
    HostileCase{"EmptyStack", with_pickle("\x80\x02R."), kInvalid, "an operand is missing"},
    HostileCase{"NoMark", with_pickle("\x80\x02t."), kInvalid, "a mark is missing"},
    HostileCase{"UnknownMemo", with_pickle("\x80\x02h\x07."), kInvalid, "recalls what it never stored"},
    HostileCase{"NothingInside", with_pickle(pickle(dict({}))), kInvalid, "no dictionary of tensors"},
    HostileCase{"NoDictionary", with_pickle(pickle(integer(3))), kInvalid, "no dictionary of tensors"},
    HostileCase{"DictionaryInItself", with_pickle(pickle("}q\x01" + text("state_dict") + "h\x01s")), kInvalid,
                "no dictionary of tensors"},
    HostileCase{"DeepTuples", with_pickle("\x80\x02N" + std::string(900000, '\x85') + "."), kInvalid,
                "no dictionary of tensors"},
    HostileCase{"TooManyTuples", with_pickle("\x80\x02N" + std::string(2000000, '\x85') + "."), kInvalid,
                "makes more objects"},
    HostileCase{"TooDeepStack", with_pickle("\x80\x02" + std::string(2000000, 'N') + "."), kInvalid, "a deeper stack"},
    HostileCase{"DictionaryBomb", with_pickle(dictionary_bomb()), kInvalid, "makes more objects"},
    HostileCase{"TensorPastItsStorage", with_tensor(tensor(kStorage, 1, {6}, {1})), kInvalid,
                "does not fit its storage of 6"},
    HostileCase{"StridePastItsStorage", with_tensor(tensor(kStorage, 0, {2, 2}, {5, 1})), kInvalid,
                "does not fit its storage"},
    HostileCase{"StrideOverflows", with_tensor(tensor(kStorage, 0, {3}, {INT64_MAX})), kInvalid,
                "does not fit its storage"},
    HostileCase{"SizeOverflows", with_tensor(tensor(kStorage, 0, {INT64_MAX, INT64_MAX}, {0, 0})), kInvalid,
                "does not fit its storage"},
    HostileCase{"OneValueBlownUp", with_tensor(tensor(kStorage, 0, {1000000, 1000000}, {0, 0})), kInvalid,
                "does not fit its storage"},
    HostileCase{"NegativeOffset", with_tensor(tensor(kStorage, -1, {1}, {1})), kInvalid, "without storage or offset"},
    HostileCase{"NegativeSize", with_tensor(tensor(kStorage, 0, {-1}, {1})), kInvalid, "no natural number"},
    HostileCase{"SevenDimensions", with_tensor(tensor(kStorage, 0, {1, 1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1, 1})),
                kInvalid, "at most 6"},
    HostileCase{"FewerStrides", with_tensor(tensor(kStorage, 0, {2, 3}, {1})), kInvalid, "more sizes than strides"},
    HostileCase{"StorageLongerThanItsBytes", with_tensor(tensor(storage("FloatStorage", "0", 7), 0, {1}, {1})),
                kInvalid, "should have 7 elements of f32 and has 24 bytes"},
    HostileCase{"StorageNotThere", with_tensor(tensor(storage("FloatStorage", "9", 1), 0, {1}, {1})), kInvalid,
                "storage 9 is not in the file"},
    HostileCase{"StorageOfAnUnknownClass", with_tensor(tensor(storage("ComplexFloatStorage", "0", 1), 0, {1}, {1})),
                kUnsupported, "asks for torch.ComplexFloatStorage"},
    HostileCase{"LegacyStorageCut", pytorch_legacy(dict({{"w", tensor(kStorage, 0, {6}, {1})}}), {{"0", 6, "abc"}}),
                kInvalid, "storage 0 reaches past the end of the file"},
    HostileCase{"LegacyStorageHuge",
                pytorch_legacy(dict({{"w", tensor(kStorage, 0, {6}, {1})}}), {{"0", uint64_t{1} << 62, kSix}}),
                kInvalid, "storage 0 reaches past the end of the file"},
    HostileCase{"LegacyStorageOfNobody", pytorch_legacy(dict({{"w", tensor(kStorage, 0, {6}, {1})}}), {{"y", 6, kSix}}),
                kInvalid, "a storage that no tensor uses"},
    HostileCase{"PlainPickle", pickle(dict({})), kInvalid, "a pickle, but not PyTorch's"},
    HostileCase{"ZipWithoutPickle", zip_file({{"word/document.xml", "<x/>"}}), kInvalid, "has no data.pkl"},
    HostileCase{"TorchScript", zip_file({{"a/data.pkl", pickle(dict({}))}, {"a/constants.pkl", "x"}}), kUnsupported,
                "a TorchScript program"},
    HostileCase{"BigEndian", zip_file({{"a/data.pkl", pickle(dict({}))}, {"a/byteorder", "big"}}), kUnsupported,
                "not little-endian"},
    HostileCase{"CompressedMember", deflated_zip(), kUnsupported, "is compressed (method 8)"},
    HostileCase{"MemberOfFourGigabytes", zip_bomb(), kInvalid, "reaches past the end"},
    HostileCase{"MembersOverlap", overlapping_zip(), kInvalid, "its members overlap"},
    HostileCase{"MemberTwice", twin_zip(), kInvalid, "it has a/data.pkl twice"},
    HostileCase{"CutZip", zip_file({{"a/data.pkl", pickle(dict({}))}}).substr(0, 60), kInvalid,
                "it has no end record"}};

INSTANTIATE_TEST_SUITE_P(Files, HostilePyTorch, testing::ValuesIn(kHostileCases),
                         [](const testing::TestParamInfo<HostileCase>& info) { return info.param.name; });

TEST(PyTorchFile, RefusesEveryTruncationOfAFile) {
  const std::string whole = pytorch_legacy(dict({{"w", tensor(kStorage, 0, {6}, {1})}}), {{"0", 6, kSix}});
  ASSERT_NO_THROW(read(whole));
  for (size_t length = 0; length < whole.size(); ++length)
    EXPECT_THROW(read(whole.substr(0, length)), Error) << length << " bytes";
}

TEST(PyTorchFile, RefusesCopiesThatOutgrowTheFile) {
  std::vector<std::pair<std::string, std::string>> tensors;
  const std::string strided = tensor(storage("FloatStorage", "0", 10000), 0, {100, 100}, {1, 100}) + "q\x01";
  tensors.emplace_back("first", strided);
  for (int i = 0; i < 50; ++i) tensors.emplace_back(fmt::format("t{}", i), "h\x01");
  const std::string bytes = pytorch_zip(dict(tensors), {{"0", std::string(40000, '\0')}});
  expect_error(ErrorKind::invalid_file, "take more bytes than the file", [&] { read(bytes); });
}

}  // namespace
}  // namespace dreamlab
