// Units: io/gguf, io/gguf_types.
#include "io/gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "core/rng.h"
#include "tests/io/expect_error.h"
#include "tests/support/gguf_writer.h"

namespace nibble::io {
namespace {

using test::GgufWriter;
using test::put_file;
using test::TemporaryFolder;

std::vector<float> decoded(const GgufFile& file, const char* name) {
  const GgufTensor* tensor = file.find_tensor(name);
  if (tensor == nullptr) return {};
  std::vector<float> values(static_cast<size_t>(tensor->rows() * tensor->row_elements()));
  dequantize_rows(file, *tensor, 0, tensor->rows(), values.data());
  return values;
}

TEST(Gguf, ReadsMetadataOfEveryType) {
  const TemporaryFolder folder;
  for (const uint32_t version : {2u, 3u}) {
    GgufWriter w(version);
    w.u8("u8", 200);
    w.pair("i8", 1, GgufWriter::plain(int8_t{-5}));
    w.pair("u16", 2, GgufWriter::plain(uint16_t{65535}));
    w.pair("i16", 3, GgufWriter::plain(int16_t{-300}));
    w.u32("u32", 4000000000u);
    w.pair("i32", 5, GgufWriter::plain(int32_t{-7}));
    w.i64("i64", -1);
    w.u64("u64", 1ull << 40);
    w.u64("huge", ~0ull);
    w.f32("f32", 0.5f);
    w.f64("f64", 0.1);
    w.boolean("yes", 1);
    w.string("text", "a\nb");
    w.strings("texts", {"", "x", "yz"});
    w.array<float>("floats", 6, {1, 2.5});
    w.array<int32_t>("ints", 5, {-1, 2});
    w.array<uint32_t>("unsigned", 4, {1, 1u << 31});
    w.array<uint8_t>("bytes", 0, {1, 2, 3});
    w.write(folder / "a.gguf");
    const GgufFile file(folder / "a.gguf");
    EXPECT_EQ(file.version(), version);
    EXPECT_EQ(file.get_int("u8"), 200);
    EXPECT_EQ(file.get_int("i8"), -5);
    EXPECT_EQ(file.get_int("u16"), 65535);
    EXPECT_EQ(file.get_int("i16"), -300);
    EXPECT_EQ(file.get_int("u32"), 4000000000);
    EXPECT_EQ(file.get_int("i32"), -7);
    EXPECT_EQ(file.get_int("i64"), -1);
    EXPECT_EQ(file.get_int("u64"), int64_t{1} << 40);
    EXPECT_EQ(file.get_float("f32"), 0.5);
    EXPECT_EQ(file.get_float("f64"), 0.1);
    EXPECT_EQ(file.get_float("u8"), 200.0);
    EXPECT_EQ(file.find_bool("yes"), true);
    EXPECT_EQ(file.get_string("text"), "a\nb");
    EXPECT_EQ(file.get_strings("texts"), (std::vector<std::string>{"", "x", "yz"}));
    EXPECT_EQ(file.get_f32s("floats"), (std::vector<float>{1, 2.5}));
    EXPECT_EQ(file.get_i32s("ints"), (std::vector<int32_t>{-1, 2}));
    EXPECT_TRUE(file.is_array("bytes"));
    EXPECT_FALSE(file.is_array("text"));
    EXPECT_TRUE(file.has("bytes"));
    EXPECT_EQ(file.find_int("none"), std::nullopt);
    EXPECT_TRUE(file.get_strings("none").empty());
    EXPECT_ERROR(file.get_int("none"), "FormatError", "no metadata 'none'");
    EXPECT_ERROR(file.get_int("text"), "FormatError", "'text' is not a whole number");
    EXPECT_ERROR(file.get_int("huge"), "FormatError", "'huge' is not a whole number");
    EXPECT_ERROR(file.get_string("u8"), "FormatError", "'u8' is not a string");
    EXPECT_ERROR(file.find_bool("u8"), "FormatError", "'u8' is not a bool");
    EXPECT_ERROR(file.get_strings("ints"), "FormatError", "not an array of strings");
    EXPECT_ERROR(file.get_strings("text"), "FormatError", "'text' is not an array");
    EXPECT_ERROR(file.get_f32s("ints"), "FormatError", "not an array of fp32");
    EXPECT_ERROR(file.get_i32s("unsigned"), "FormatError", "below 2^31");
    EXPECT_ERROR(file.get_i32s("bytes"), "FormatError", "32-bit integers");
  }
}

// Expected values by ggml's formulas, by hand: scale 0.5 (fp16 0x3800), minimum -2 (0xC000).
TEST(GgufTypes, DecodesEachTypeAsGgmlDoes) {
  const TemporaryFolder folder;
  GgufWriter w;
  const std::string half_scale = GgufWriter::plain(uint16_t{0x3800}), minimum = GgufWriter::plain(uint16_t{0xC000});
  std::string nibbles, bytes;
  for (int j = 0; j < 16; ++j) nibbles += static_cast<char>(j | (15 - j) << 4);
  for (int j = 0; j < 32; ++j) bytes += static_cast<char>(j - 16);
  w.tensor("q4_0", {1, 32}, 2, half_scale + nibbles);
  w.tensor("q4_1", {1, 32}, 3, half_scale + minimum + nibbles);
  w.tensor("q8_0", {2, 32}, 8, half_scale + bytes + minimum + bytes);
  w.tensor("f16", {7}, 1, [] {
    std::string all;
    for (uint16_t h : {0x0000, 0x8000, 0x3C00, 0x0001, 0x03FF, 0x7C00, 0xFBFF}) all += GgufWriter::plain(h);
    return all;
  }());
  w.tensor("bf16", {2}, 30, GgufWriter::plain(uint16_t{0x3F80}) + GgufWriter::plain(uint16_t{0xC0A0}));
  w.tensor_f32("f32", {2, 1}, {0.1f, -3});
  w.write(folder / "a.gguf");
  const GgufFile file(folder / "a.gguf");
  const auto q4_0 = decoded(file, "q4_0"), q4_1 = decoded(file, "q4_1"), q8_0 = decoded(file, "q8_0");
  for (int j = 0; j < 16; ++j) {
    EXPECT_EQ(q4_0[static_cast<size_t>(j)], 0.5f * static_cast<float>(j - 8));
    EXPECT_EQ(q4_0[static_cast<size_t>(j + 16)], 0.5f * static_cast<float>(7 - j));
    EXPECT_EQ(q4_1[static_cast<size_t>(j)], 0.5f * static_cast<float>(j) - 2);
    EXPECT_EQ(q4_1[static_cast<size_t>(j + 16)], 0.5f * static_cast<float>(15 - j) - 2);
  }
  for (int j = 0; j < 32; ++j) {
    EXPECT_EQ(q8_0[static_cast<size_t>(j)], 0.5f * static_cast<float>(j - 16));
    EXPECT_EQ(q8_0[static_cast<size_t>(j + 32)], -2.0f * static_cast<float>(j - 16));
  }
  const auto f16 = decoded(file, "f16");
  EXPECT_TRUE(f16[0] == 0 && !std::signbit(f16[0]));
  EXPECT_TRUE(f16[1] == 0 && std::signbit(f16[1]));
  EXPECT_EQ(f16[2], 1.0f);
  EXPECT_EQ(f16[3], 0x1p-24f);
  EXPECT_EQ(f16[4], 0x3FFp-24f);
  EXPECT_TRUE(std::isinf(f16[5]));
  EXPECT_EQ(f16[6], -65504.0f);
  EXPECT_EQ(decoded(file, "bf16"), (std::vector<float>{1, -5}));
  EXPECT_EQ(decoded(file, "f32"), (std::vector<float>{0.1f, -3}));
  const GgufTensor& tensor = *file.find_tensor("q8_0");
  std::vector<float> second(32);
  dequantize_rows(file, tensor, 1, 1, second.data());
  EXPECT_TRUE(std::equal(second.begin(), second.end(), q8_0.begin() + 32));
  EXPECT_THROW(dequantize_rows(file, tensor, 1, 2, second.data()), std::logic_error);
  EXPECT_EQ(file.find_tensor("none"), nullptr);
}

TEST(GgufTypes, HalvesDecodeLikeTheCompilersOwn) {
  // Every bit pattern of fp16, against the compiler's conversion.
  const TemporaryFolder folder;
  std::string all;
  for (uint32_t h = 0; h < 65536; ++h) all += GgufWriter::plain(static_cast<uint16_t>(h));
  GgufWriter w;
  w.tensor("f16", {256, 256}, 1, all);
  w.write(folder / "a.gguf");
  const auto found = decoded(GgufFile(folder / "a.gguf"), "f16");
  for (uint32_t h = 0; h < 65536; ++h) {
    const auto bits = static_cast<uint16_t>(h);
    _Float16 half;
    std::memcpy(&half, &bits, sizeof half);
    const auto expected = static_cast<float>(half);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(found[h])) << h;
    } else {
      ASSERT_EQ(std::memcmp(&expected, &found[h], sizeof expected), 0) << h;
    }
  }
}

TEST(GgufTypes, AreNamedAlsoWhereNotRead) {
  EXPECT_EQ(ggml_type_name(12), "Q4_K");
  EXPECT_EQ(ggml_type_name(14), "Q6_K");
  EXPECT_EQ(ggml_type_name(20), "IQ4_NL");
  EXPECT_EQ(ggml_type_name(23), "IQ4_XS");
  EXPECT_EQ(ggml_type_name(39), "MXFP4");
  EXPECT_EQ(ggml_type_name(4), "type 4");
  EXPECT_EQ(ggml_type_name(4000), "type 4000");
  EXPECT_EQ(find_ggml_traits(12), nullptr);
}

TEST(Gguf, SaysWhatIsWrong) {
  const TemporaryFolder folder;
  const auto expect = [&](const std::string& bytes, const char* message) {
    put_file(folder / "a.gguf", bytes);
    EXPECT_ERROR(GgufFile(folder / "a.gguf"), "FormatError", message);
  };
  const auto header = [](uint32_t version, uint64_t tensors, uint64_t pairs) {
    return "GGUF" + GgufWriter::plain(version) + GgufWriter::plain(tensors) + GgufWriter::plain(pairs);
  };
  expect("", "the file ends within the first 4 bytes");
  expect("PK\3\4 and more", "does not begin with 'GGUF'");
  expect(header(1, 0, 0), "GGUF version 1");
  expect(header(0x03000000, 0, 0), "big-endian");
  expect(header(3, ~0ull, 0), "more than 0 bytes can describe");
  expect(header(3, 0, ~0ull), "more than 0 bytes can hold");
  expect(header(3, 0, 1) + GgufWriter::plain(~0ull) + "xxxxx", "has a length of 18446744073709551615 bytes");
  const auto with = [](auto fill) {
    GgufWriter w;
    fill(w);
    return w.bytes();
  };
  expect(with([](auto& w) { w.u32("a", 1), w.u32("a", 1); }), "metadata 'a' is there twice");
  expect(with([](auto& w) { w.pair("a", 13, "x"); }), "has the unknown type 13");
  expect(with([](auto& w) { w.boolean("a", 2); }), "is a bool with the value 2");
  expect(with([](auto& w) { w.pair("a", 9, GgufWriter::plain(9u) + GgufWriter::plain(0ull)); }), "array of type 9");
  expect(with([](auto& w) { w.pair("a", 9, GgufWriter::plain(4u) + GgufWriter::plain(1ull << 62)); }), "an array of 4611686018427387904 values");
  expect(with([](auto& w) { w.pair("a", 9, GgufWriter::plain(8u) + GgufWriter::plain(1ull << 61)); }), "an array of 2305843009213693952 values");
  expect(with([](auto& w) { w.u32("split.count", 3); }), "llama-gguf-split --merge");
  expect(with([](auto& w) { w.u32("general.alignment", 24); }), "general.alignment is 24");
  expect(with([](auto& w) { w.tensor_f32("a", {1, 1, 1, 1, 1}, {1}); }), "has 5 dimensions");
  expect(with([](auto& w) { w.tensor("a", {0}, 0, ""); }), "impossible size 0");
  expect(with([](auto& w) { w.tensor("a", {int64_t{1} << 40, int64_t{1} << 40}, 0, ""); }), "impossible size");
  expect(with([](auto& w) { w.tensor("a", {int64_t{1} << 62}, 0, ""); }), "larger than any file");
  expect(with([](auto& w) { w.tensor("a", {256}, 12, std::string(144, 'x')); }), "is stored as Q4_K; nibble reads F32");
  expect(with([](auto& w) { w.tensor("a", {33}, 8, std::string(68, 'x')); }), "rows of 33 values, but Q8_0 stores 32");
  expect(with([](auto& w) { w.tensor("a", {9}, 0, std::string(32, 'x')); }), "beyond the file's");
  expect(with([](auto& w) { w.tensor_f32("a", {1}, {1}), w.tensor_f32("a", {1}, {1}); }), "tensor 'a' is there twice");
  expect(with([](auto& w) { w.tensor("a", {16}, 0, std::string(32, 'x')), w.tensor("b", {8}, 0, std::string(32, 'x')); }), "overlap");
  std::string moved = with([](auto& w) { w.tensor_f32("a", {1}, {1}), w.tensor_f32("b", {1}, {1}); });
  moved[moved.find("b") + 1 + 4 + 8 + 4] = 33;
  expect(moved, "no multiple of 32");
}

TEST(GgufDamage, EveryTruncationIsRefused) {
  const TemporaryFolder folder;
  const std::string bytes = test::tiny_gguf().bytes();
  for (size_t length = 0; length < bytes.size(); length += length < 600 ? 1 : 37) {
    put_file(folder / "cut.gguf", bytes.substr(0, length));
    EXPECT_ERROR(GgufFile(folder / "cut.gguf"), "FormatError", "cut.gguf");
  }
}

TEST(GgufDamage, FlippedBytesAreRefusedOrStayInBounds) {
  const TemporaryFolder folder;
  const std::string bytes = test::tiny_gguf().bytes();
  const size_t header = 2000;  // where damage does harm
  int refused = 0;
  for (uint64_t i = 0; i < 800; ++i) {
    std::string damaged = bytes;
    for (uint64_t k = 0; k <= i % 3; ++k) {
      damaged[random_below({21, RngPurpose::kTest, k}, i, header)] = static_cast<char>(random_below({22, RngPurpose::kTest, k}, i, 256));
    }
    put_file(folder / "flipped.gguf", damaged);
    try {
      const GgufFile file(folder / "flipped.gguf");
      for (const GgufTensor& tensor : file.tensors()) {
        std::vector<float> row(static_cast<size_t>(tensor.row_elements()));
        for (int64_t r = 0; r < tensor.rows(); ++r) dequantize_rows(file, tensor, r, 1, row.data());
      }
      for (const char* key : {"tokenizer.ggml.tokens", "tokenizer.ggml.merges"}) {
        if (!file.is_array(key)) continue;
        EXPECT_LE(file.get_strings(key).size(), bytes.size());
      }
    } catch (const FormatError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace nibble::io
