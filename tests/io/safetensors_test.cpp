#include "io/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <stdexcept>

#include "core/rng.h"
#include "tests/io/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace nibble::io {
namespace {

using test::file_bytes;
using test::put_file;
using test::TemporaryFolder;

std::string with_header(const std::string& json, const std::string& data) {
  const uint64_t length = json.size();
  std::string bytes(reinterpret_cast<const char*>(&length), sizeof length);
  return bytes + json + data;
}

template <typename T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

std::string write_sample(const std::filesystem::path& path) {
  SafetensorsPlan plan;
  plan.tensors = {{"b\"quoted", DType::kU8, {3}}, {"a", DType::kF32, {2, 2}}, {"empty", DType::kF32, {0, 4}}, {"scalar", DType::kF32, {}}};
  plan.metadata = {{"format", "pt"}, {"note", "x"}};
  plan.sort();
  SafetensorsWriter writer(path, plan);
  const std::vector<float> a{1, 2, 3, 4};
  writer.write("a", bytes_of(a).first(8));
  writer.write("a", bytes_of(a).subspan(8));
  writer.write("scalar", bytes_of(std::vector<float>{5}));
  writer.write("b\"quoted", bytes_of(std::vector<uint8_t>{7, 8, 9}));
  writer.close();
  return file_bytes(path);
}

TEST(Safetensors, ReadsBackWhatItWrote) {
  const TemporaryFolder folder;
  const std::string bytes = write_sample(folder / "a");
  const SafetensorsFile file(folder / "a");
  EXPECT_EQ(file.size(), static_cast<int64_t>(bytes.size()));
  EXPECT_EQ(file.header().size() % 8, 0u);
  ASSERT_EQ(file.entries().size(), 4u);
  EXPECT_EQ(file.entries()[0].name, "a");
  EXPECT_EQ(file.metadata().at("note"), "x");
  EXPECT_EQ(file.find("none"), nullptr);
  const auto& a = file.at("a");
  EXPECT_EQ(a.shape, (std::vector<int64_t>{2, 2}));
  float values[4];
  std::memcpy(values, file.bytes(a).data(), sizeof values);
  file.drop(a);
  EXPECT_EQ(values[3], 4.0f);
  EXPECT_EQ(file.bytes(file.at("b\"quoted"))[2], std::byte{9});
  EXPECT_EQ(file.bytes(file.at("empty")).size(), 0u);
  EXPECT_EQ(file.at("scalar").bytes, 4);
  EXPECT_ERROR(file.at("none"), "FormatError", "it holds no tensor 'none'");
}

TEST(Safetensors, ReadsAGoldenOfTheReferenceImplementation) {
  const SafetensorsFile file(std::string(NIBBLE_GOLDEN_DIR) + "/models/llama/model.safetensors");
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.at("lm_head.weight").shape, (std::vector<int64_t>{96, 64}));
  EXPECT_EQ(file.entries().size(), 21u);
}

TEST(SafetensorsWriter, RefusesWhatThePlanDoesNotSay) {
  const TemporaryFolder folder;
  SafetensorsPlan plan;
  plan.tensors = {{"a", DType::kU8, {2}}, {"b", DType::kU8, {1}}};
  SafetensorsWriter writer(folder / "a", plan);
  const std::vector<uint8_t> three{1, 2, 3};
  EXPECT_THROW(writer.write("b", bytes_of(three).first(1)), std::logic_error);
  EXPECT_THROW(writer.close(), std::logic_error);
  EXPECT_THROW(writer.write("a", bytes_of(three)), std::logic_error);
  plan.tensors.push_back({"a", DType::kU8, {2}});
  EXPECT_THROW(SafetensorsWriter(folder / "b", plan), std::logic_error);
}

struct Damaged {
  const char* name;
  std::string bytes;
  const char* message;
};

TEST(Safetensors, SaysWhatIsWrongWithAHeader) {
  const std::string f32 = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  const std::string four(4, 'x');
  const std::vector<Damaged> cases{
      {"empty", "", "at least 8 bytes, this one has 0"},
      {"short", "1234567", "at least 8 bytes, this one has 7"},
      {"huge header", std::string(8, '\xff') + "{}", "more than the limit"},
      {"long header", with_header("{}", "").substr(0, 9), "reaches beyond the file's 9 bytes"},
      {"no object", with_header("[]", ""), "does not begin with '{'"},
      {"no JSON", with_header("{\"a\":", ""), "it is not JSON"},
      {"deep", with_header("{\"a\":" + std::string(200, '['), ""), "nested deeper"},
      {"twice", with_header(f32 + "," + f32.substr(1) + "}", four + four), "gives 'a' twice"},
      {"bad UTF-8", with_header("{\"\xff\":1}", ""), "it is not JSON"},
      {"tensor is a number", with_header("{\"a\":1}", ""), "'a' in the header is not an object"},
      {"no dtype", with_header(R"({"a":{"shape":[1],"data_offsets":[0,4]}})", four), "has no 'dtype'"},
      {"no shape", with_header(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", four), "has no 'shape'"},
      {"unknown dtype", with_header(R"({"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}})", four), "unknown dtype \"F31\""},
      {"dtype is a number", with_header(R"({"a":{"dtype":1,"shape":[1],"data_offsets":[0,4]}})", four), "unknown dtype 1"},
      {"negative size", with_header(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", four), "has the size -1"},
      {"fraction", with_header(R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", four), "has the size 1.0"},
      {"overflow", with_header(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}})", four), "has 4 bytes of data"},
      {"overflow in bytes", with_header(R"({"a":{"dtype":"F64","shape":[1152921504606846976,2],"data_offsets":[0,4]}})", four), "has 4 bytes"},
      {"huge size", with_header(R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}})", four), "has the size"},
      {"wrong byte count", with_header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", four), "of shape [2] and dtype F32 has 4 bytes"},
      {"offsets swapped", with_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", four), "has data_offsets [4,0]"},
      {"three offsets", with_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}})", four), "expected [begin, end]"},
      {"offsets are text", with_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":"04"}})", four), "expected [begin, end]"},
      {"beyond the end", with_header(f32 + "}", "xxx"), "beyond the file's"},
      {"far beyond", with_header(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[9223372036854775806,9223372036854775807]}})", four), "beyond the file's"},
      {"hole", with_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", four + four), "begins at data byte 4"},
      {"overlap", with_header(f32 + R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})", four + "xx"), "but the one before it ends at 4"},
      {"bytes left", with_header(f32 + "}", four + "x"), "1 bytes follow the last tensor"},
      {"metadata is no text", with_header(R"({"__metadata__":{"a":1}})", ""), "metadata 'a' in the header is not a string"},
  };
  const TemporaryFolder folder;
  for (const Damaged& damaged : cases) {
    SCOPED_TRACE(damaged.name);
    put_file(folder / "a", damaged.bytes);
    EXPECT_ERROR(SafetensorsFile(folder / "a"), "FormatError", damaged.message);
  }
}

TEST(Safetensors, NamesTheByte) {
  const TemporaryFolder folder;
  put_file(folder / "a", with_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]} x)", "1234"));
  try {
    SafetensorsFile file(folder / "a");
    FAIL();
  } catch (const FormatError& error) {
    EXPECT_EQ(error.place().byte_offset, 8 + 54);
  }
}

// A damaged file either is refused or, where the damage is in a value or a name, still reads within its bounds.
void read_everything(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  unsigned sum = 0;
  for (const auto& entry : file.entries()) {
    ASSERT_EQ(checked_bytes(entry.shape, entry.dtype), entry.bytes);
    for (const std::byte b : file.bytes(entry)) sum += static_cast<unsigned>(b);
  }
  EXPECT_LE(sum, 255u * static_cast<unsigned>(file.size()));
}

TEST(SafetensorsDamage, EveryTruncationIsRefused) {
  const TemporaryFolder folder;
  const std::string bytes = write_sample(folder / "a");
  for (size_t length = 0; length < bytes.size(); ++length) {
    put_file(folder / "cut", bytes.substr(0, length));
    EXPECT_ERROR(SafetensorsFile(folder / "cut"), "FormatError", "cut");
  }
}

TEST(SafetensorsDamage, FlippedBytesAreRefusedOrStayInBounds) {
  const TemporaryFolder folder;
  const std::string bytes = write_sample(folder / "a");
  const RngKey key{11, RngPurpose::kTest, 0};
  int refused = 0;
  for (uint64_t i = 0; i < 800; ++i) {
    std::string damaged = bytes;
    const auto count = 1 + random_below(key, 3 * i, 3);
    for (uint64_t k = 0; k < count; ++k) {
      damaged[random_below({12, RngPurpose::kTest, k}, i, damaged.size())] =
          static_cast<char>(random_below({13, RngPurpose::kTest, k}, i, 256));
    }
    put_file(folder / "flipped", damaged);
    try {
      read_everything(folder / "flipped");
    } catch (const FormatError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 400);
}

}  // namespace
}  // namespace nibble::io
