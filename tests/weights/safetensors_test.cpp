#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "file_writers.h"
#include "weights/tensor_file.h"

namespace dreamlab {
namespace {

std::shared_ptr<const TensorFile> read(const std::string& bytes) {
  const auto owner = std::make_shared<std::string>(bytes);
  return read_safetensors(std::as_bytes(std::span(owner->data(), owner->size())), owner, "test.safetensors");
}

TEST(Safetensors, GivesTensorsAsViewsWithTheirMetadata) {
  const auto file = read(
      safetensors_file(R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,2],"data_offsets":[2,18]},)"
                       R"("a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}   )",
                       "\x01\x02" + floats({1, 2, 3, 4})));
  EXPECT_THAT(file->names(), testing::ElementsAre("a", "b"));
  EXPECT_EQ(file->format(), "safetensors");
  EXPECT_EQ(file->metadata().at("format"), "pt");
  ASSERT_TRUE(file->contains("b"));
  EXPECT_EQ(file->find("b")->shape, (Shape{2, 2}));
  EXPECT_THAT(aligned(*file->find("b")).to_f32(), testing::ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(file->find("a")->dtype, DType::u8);
  EXPECT_EQ(file->find("c"), nullptr);
}

TEST(Safetensors, KeepsTheMappingAliveThroughATensor) {
  HostTensor tensor;
  {
    const TemporaryDirectory directory;
    const auto path = directory.write(
        "x.safetensors", safetensors_file(R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", floats({7})));
    tensor = *open_tensor_file(path)->find("t");
  }
  EXPECT_EQ(aligned(tensor).to_f32()[0], 7);
}

TEST(Safetensors, AcceptsScalarsAndEmptyTensors) {
  const auto file = read(safetensors_file(R"({"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                                          R"("e":{"dtype":"F16","shape":[0,4],"data_offsets":[4,4]}})",
                                          floats({5})));
  EXPECT_EQ(file->find("s")->shape.rank(), 0);
  EXPECT_EQ(file->find("e")->bytes(), 0u);
}

TEST(Safetensors, OpensAnEmptyHeader) {
  EXPECT_TRUE(read(safetensors_file("{}", ""))->tensors().empty());
}

struct HostileCase {
  const char* name;
  std::string bytes;
  ErrorKind kind;
  const char* message;
};

std::string one(const std::string& fields, size_t data_bytes = 8) {
  return safetensors_file("{\"t\":{" + fields + "}}", std::string(data_bytes, '\0'));
}

class HostileSafetensors : public testing::TestWithParam<HostileCase> {};

TEST_P(HostileSafetensors, EndsInAOneLineError) {
  expect_error(GetParam().kind, GetParam().message, [&] { read(GetParam().bytes); });
}

const std::vector<HostileCase> kHostileCases{
    HostileCase{"EmptyFile", "", ErrorKind::invalid_file, "0 bytes are too few"},
    HostileCase{"CutInTheLength", std::string("\x10\x00\x00", 3), ErrorKind::invalid_file, "3 bytes are too few"},
    HostileCase{"HeaderLongerThanFile", little_endian(1000, 8) + "{}", ErrorKind::invalid_file,
                "header is 1000 bytes long"},
    HostileCase{"HeaderOverTheLimit", little_endian(uint64_t{1} << 60, 8) + "{}", ErrorKind::invalid_file,
                "at most 100000000"},
    HostileCase{"HeaderNoObject", safetensors_file("[1]", ""), ErrorKind::invalid_file, "does not begin with '{'"},
    HostileCase{"HeaderCut", safetensors_file("{\"t\":{\"dtype\":", ""), ErrorKind::invalid_file, "not valid JSON"},
    HostileCase{"HeaderNotUtf8", safetensors_file("{\"\xff\":{}}", ""), ErrorKind::invalid_file, "not valid JSON"},
    HostileCase{"GarbageAfterHeader", safetensors_file("{}x", ""), ErrorKind::invalid_file, "not valid JSON"},
    HostileCase{"NestedObject", one("\"dtype\":{\"x\":1}"), ErrorKind::invalid_file, "an object where none belongs"},
    HostileCase{"DeepNesting", safetensors_file("{\"t\":" + std::string(100000, '['), ""), ErrorKind::invalid_file,
                "a list where none belongs"},
    HostileCase{
        "SameNameTwice",
        safetensors_file(
            R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"t":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
            "ab"),
        ErrorKind::invalid_file, "names t twice"},
    HostileCase{"SameFieldTwice", one(R"("dtype":"U8","dtype":"U8","shape":[8],"data_offsets":[0,8])"),
                ErrorKind::invalid_file, "dtype twice"},
    HostileCase{"UnknownField", one(R"("dtype":"U8","shape":[8],"data_offsets":[0,8],"x":"y")"),
                ErrorKind::invalid_file, "unknown field x"},
    HostileCase{"NoOffsets", one(R"("dtype":"U8","shape":[8])"), ErrorKind::invalid_file,
                "lacks dtype, shape or two data_offsets"},
    HostileCase{"OneOffset", one(R"("dtype":"U8","shape":[8],"data_offsets":[0])"), ErrorKind::invalid_file, "lacks"},
    HostileCase{"ThreeOffsets", one(R"("dtype":"U8","shape":[8],"data_offsets":[0,8,9])"), ErrorKind::invalid_file,
                "more than two data_offsets"},
    HostileCase{"UnknownDtype", one(R"("dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8])"), ErrorKind::unsupported,
                "has dtype F8_E4M3; F32, F16"},
    HostileCase{"ByteCountOfAnotherShape", one(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])"),
                ErrorKind::invalid_file, "does not fit its data_offsets 0 to 8"},
    HostileCase{"OffsetsBackwards", one(R"("dtype":"U8","shape":[8],"data_offsets":[8,0])"), ErrorKind::invalid_file,
                "does not fit its data_offsets"},
    HostileCase{"ShapeOverflows", one(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8])"),
                ErrorKind::invalid_file, "does not fit"},
    HostileCase{"ShapeOverflowsBesideZero",
                one(R"("dtype":"F32","shape":[4611686018427387904,4,0],"data_offsets":[0,0])", 0),
                ErrorKind::invalid_file, "does not fit"},
    HostileCase{"NegativeExtent", one(R"("dtype":"U8","shape":[-8],"data_offsets":[0,8])"), ErrorKind::invalid_file,
                "a negative number"},
    HostileCase{"FractionalExtent", one(R"("dtype":"U8","shape":[8.0],"data_offsets":[0,8])"), ErrorKind::invalid_file,
                "a fraction"},
    HostileCase{"HugeExtent", one(R"("dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,8])"),
                ErrorKind::invalid_file, "an extent out of range"},
    HostileCase{"TooManyDimensions", one(R"("dtype":"U8","shape":[1,1,1,1,1,1,8],"data_offsets":[0,8])"),
                ErrorKind::invalid_file, "more than 6 dimensions"},
    HostileCase{
        "Overlap",
        safetensors_file(
            R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
            "abcdef"),
        ErrorKind::invalid_file, "tensor b begins at byte 2 of the data, inside"},
    HostileCase{
        "Hole",
        safetensors_file(
            R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}})",
            "abcdef"),
        ErrorKind::invalid_file, "leaving a hole after 2"},
    HostileCase{"DataCut", one(R"("dtype":"U8","shape":[8],"data_offsets":[0,8])", 7), ErrorKind::invalid_file,
                "(truncated?)"},
    HostileCase{"DataTooLong", one(R"("dtype":"U8","shape":[8],"data_offsets":[0,8])", 9), ErrorKind::invalid_file,
                "describes 8 bytes of data, the file has 9"},
    HostileCase{"MetadataNoText", safetensors_file(R"({"__metadata__":{"a":1}})", ""), ErrorKind::invalid_file,
                "a number where none belongs"},
    HostileCase{"MetadataTwice", safetensors_file(R"({"__metadata__":{"a":"1","a":"2"}})", ""), ErrorKind::invalid_file,
                "metadata names a twice"},
    HostileCase{"NameWithControlBytes",
                safetensors_file("{\"a\\nb\":{\"dtype\":\"X\",\"shape\":[],\"data_offsets\":[0,0]}}", ""),
                ErrorKind::unsupported, "tensor a\\x0ab has dtype X"}};

INSTANTIATE_TEST_SUITE_P(Files, HostileSafetensors, testing::ValuesIn(kHostileCases),
                         [](const testing::TestParamInfo<HostileCase>& info) { return info.param.name; });

TEST(TensorFile, SaysThatAFileIsMissing) {
  expect_error(ErrorKind::unavailable, "/nowhere/x.safetensors: cannot open",
               [] { open_tensor_file("/nowhere/x.safetensors"); });
}

TEST(TensorFile, RefusesADirectory) {
  const TemporaryDirectory directory;
  expect_error(ErrorKind::invalid_file, "is a directory", [&] { open_tensor_file(directory.path()); });
}

TEST(TensorFile, RefusesAFileOfNoKnownFormat) {
  const TemporaryDirectory directory;
  const auto path = directory.write("x.bin", "<html>not found</html>");
  expect_error(ErrorKind::invalid_file, "neither a safetensors nor a PyTorch file", [&] { open_tensor_file(path); });
}

class ShardedIndex : public testing::Test {
 protected:
  ShardedIndex() {
    directory_.write("1.safetensors",
                     safetensors_file(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", floats({1})));
    directory_.write("2.safetensors",
                     safetensors_file(R"({"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", floats({2})));
  }
  std::filesystem::path index(const std::string& json) { return directory_.write("m.safetensors.index.json", json); }

  TemporaryDirectory directory_;
};

TEST_F(ShardedIndex, GathersTheTensorsOfAllShards) {
  const auto file =
      open_tensor_file(index(R"({"metadata":{},"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})"));
  EXPECT_THAT(file->names(), testing::ElementsAre("a", "b"));
  EXPECT_EQ(file->format(), "safetensors (2 shards)");
  EXPECT_EQ(aligned(*file->find("b")).to_f32()[0], 2);
}

TEST_F(ShardedIndex, RefusesAShardOutsideItsFolder) {
  const auto path = index(R"({"weight_map":{"a":"../1.safetensors"}})");
  expect_error(ErrorKind::invalid_file, "../1.safetensors is no name of a shard", [&] { open_tensor_file(path); });
}

TEST_F(ShardedIndex, RefusesAnIndexAsItsOwnShard) {
  const auto path = index(R"({"weight_map":{"a":"m.safetensors.index.json"}})");
  expect_error(ErrorKind::invalid_file, "is no name of a shard", [&] { open_tensor_file(path); });
}

TEST_F(ShardedIndex, NamesATensorThatItsShardLacks) {
  const auto path = index(R"({"weight_map":{"b":"1.safetensors"}})");
  expect_error(ErrorKind::invalid_file, "1.safetensors has no tensor b", [&] { open_tensor_file(path); });
}

TEST_F(ShardedIndex, NamesAMissingShard) {
  const auto path = index(R"({"weight_map":{"b":"3.safetensors"}})");
  expect_error(ErrorKind::unavailable, "3.safetensors: cannot open", [&] { open_tensor_file(path); });
}

}  // namespace
}  // namespace dreamlab
