#include "trainer/token_batch.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/tiny_model.h"

namespace nibble::trainer {
namespace {

// Documents of these lengths, ids 1, 2, 3, ... through the batch.
data::Batch batch_of(const std::vector<int32_t>& lengths) {
  data::Batch batch;
  batch.document_starts = {0};
  for (const int32_t length : lengths) {
    for (int32_t p = 0; p < length; ++p) {
      batch.ids.push_back(static_cast<int32_t>(batch.ids.size()) % 60 + 1);
      batch.labels.push_back(p % 3 == 0 ? -100 : batch.ids.back());
      batch.positions.push_back(p);
    }
    batch.document_starts.push_back(static_cast<int32_t>(batch.ids.size()));
  }
  return batch;
}

std::vector<size_t> sizes(const std::vector<PassBatch>& passes) {
  std::vector<size_t> out;
  for (const PassBatch& pass : passes) out.push_back(pass.ids.size());
  return out;
}

TEST(PassesOf, AreAsFullAsTheirDocumentsAllow) {
  const data::Batch batch = batch_of({4, 4, 4, 9, 1, 1});
  EXPECT_EQ(sizes(passes_of(batch, 8, 1)), (std::vector<size_t>{9, 8, 6}));  // the long one alone
  EXPECT_EQ(sizes(passes_of(batch, 1, 1)), (std::vector<size_t>{9, 4, 4, 4, 1, 1}));
  EXPECT_EQ(sizes(passes_of(batch, 1000, 1)), (std::vector<size_t>{23}));
  EXPECT_EQ(sizes(passes_of(batch_of({300, 200, 300, 200}), 512, 64)), (std::vector<size_t>{512, 512}));
  EXPECT_TRUE(passes_of(data::Batch{}, 512, 64).empty());
}

TEST(PassesOf, NameTheDocumentsThatTheyHave) {
  const std::vector<PassBatch> passes = passes_of(batch_of({4, 4, 4, 9, 1, 1}), 8, 4);
  ASSERT_EQ(passes.size(), 3u);
  EXPECT_EQ(passes[0].documents, std::vector<size_t>{3});
  EXPECT_EQ(passes[1].documents, (std::vector<size_t>{0, 1}));
  EXPECT_EQ(passes[2].documents, (std::vector<size_t>{2, 4, 5}));
}

TEST(PassesOf, AreFilledUpByADocumentWithoutLabels) {
  const data::Batch batch = batch_of({5, 3, 7});
  const std::vector<PassBatch> passes = passes_of(batch, 8, 4);
  EXPECT_EQ(sizes(passes), (std::vector<size_t>{8, 8}));
  EXPECT_EQ(passes[0].document_starts, (std::vector<int32_t>{0, 7, 8}));
  EXPECT_EQ(passes[0].labels.back(), -100);
  EXPECT_EQ(passes[0].positions.back(), 0);
  EXPECT_EQ(passes[1].document_starts, (std::vector<int32_t>{0, 5, 8}));  // full as it is
  // The model may know no more positions than the longest document has.
  for (const std::vector<int32_t>& lengths : {std::vector<int32_t>{3}, {3, 2, 3, 3}}) {
    const std::vector<PassBatch> filled = passes_of(batch_of(lengths), 64, 64);
    ASSERT_EQ(sizes(filled), std::vector<size_t>{64});
    for (const int32_t position : filled[0].positions) EXPECT_LT(position, 3);
  }
}

TEST(PassesOf, HoldEveryDocumentOnceAndWhole) {
  const std::vector<int32_t> lengths{5, 3, 7, 2, 9, 1, 1};
  const data::Batch batch = batch_of(lengths);
  std::vector<bool> seen(lengths.size());
  for (const PassBatch& pass : passes_of(batch, 6, 1)) {
    ASSERT_EQ(pass.document_starts.front(), 0);
    ASSERT_EQ(static_cast<size_t>(pass.document_starts.back()), pass.ids.size());
    size_t before = 0;
    for (size_t d = 0; d + 1 < pass.document_starts.size(); ++d) {
      // Ids tell which document of the batch it is: no two begin alike.
      const auto begin = static_cast<size_t>(pass.document_starts[d]), tokens = static_cast<size_t>(pass.document_starts[d + 1]) - begin;
      const auto from = static_cast<size_t>(pass.ids[begin] - 1);
      const auto document = static_cast<size_t>(std::find(batch.document_starts.begin(), batch.document_starts.end(), static_cast<int32_t>(from)) - batch.document_starts.begin());
      ASSERT_LT(document, lengths.size());
      ASSERT_EQ(tokens, static_cast<size_t>(lengths[document]));
      EXPECT_FALSE(seen[document]);
      EXPECT_TRUE(d == 0 || document > before) << "in the batch's order";
      seen[document] = true;
      before = document;
      for (size_t i = 0; i < tokens; ++i) {
        EXPECT_EQ(pass.ids[begin + i], batch.ids[from + i]);
        EXPECT_EQ(pass.labels[begin + i], batch.labels[from + i]);
        EXPECT_EQ(pass.positions[begin + i], batch.positions[from + i]);
      }
    }
  }
  EXPECT_EQ(std::count(seen.begin(), seen.end(), true), std::ssize(seen));
}

TEST(PassesOf, SumToTheLossAndGradientsOfTheWhole) {
  const data::Batch batch = batch_of({6, 5, 9, 4});
  nn::Model whole = test::tiny_model({}), parts = test::tiny_model({});
  const auto run = [&](nn::Model& model, int64_t pass_tokens, int64_t multiple) {
    nn::Pass pass(model, 16);
    nn::LossSum sum;
    for (const PassBatch& part : passes_of(batch, pass_tokens, multiple)) {
      const nn::LossSum loss = pass.forward_backward(part.view(), {});
      sum.nll += loss.nll;
      sum.tokens += loss.tokens;
    }
    return sum;
  };
  const nn::LossSum expected = run(whole, 1000, 1), got = run(parts, 6, 8);
  EXPECT_EQ(got.tokens, expected.tokens);
  // Policy (b): 24 tokens' sums in another order, fp32.
  EXPECT_NEAR(got.nll, expected.nll, 24 * 1.2e-7 * expected.nll);
  std::vector<Tensor> gradients;
  whole.each_lora([&](const std::string&, nn::Lora& lora) { gradients.insert(gradients.end(), {lora.da, lora.db}); });
  size_t i = 0;
  parts.each_lora([&](const std::string& path, nn::Lora& lora) {
    for (const Tensor& gradient : {lora.da, lora.db}) {
      const Tensor& other = gradients.at(i++);
      EXPECT_LE((gradient - other).norm().item<double>(), 1e-5 * other.norm().item<double>() + 1e-12) << path;
    }
  });
  EXPECT_EQ(i, gradients.size());
  EXPECT_GT(i, 0u);
}

TEST(PassesOf, AreEvenWhereSeveralAreComputedAtATime) {
  const data::Batch batch = batch_of({400, 400, 200, 400, 400, 200});
  EXPECT_EQ(sizes(passes_of(batch, 2048, 1, 2)), (std::vector<size_t>{1000, 1000}));
  EXPECT_EQ(sizes(passes_of(batch, 2048, 1, 4)), (std::vector<size_t>{600, 600, 400, 400}));
  EXPECT_EQ(sizes(passes_of(batch, 2048, 1, 7)).size(), 6u);  // no more than documents
  EXPECT_EQ(sizes(passes_of(batch, 2048, 1, 8)), (std::vector<size_t>{2000}));  // too few tokens for each
  EXPECT_EQ(sizes(passes_of(batch, 800, 1, 2)), (std::vector<size_t>{600, 600, 400, 400}));  // 3 would do
  EXPECT_EQ(sizes(passes_of(batch_of({500, 500, 400, 300, 300}), 1000, 1, 2)), (std::vector<size_t>{1000, 1000}));  // as even as the size allows
  EXPECT_EQ(sizes(passes_of(batch_of({600}), 512, 64, 2)), (std::vector<size_t>{640}));
}

TEST(LargestPass, HoldsWhereSeveralAreComputedAtATime) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    std::vector<int32_t> lengths;
    const auto draw = [&](int64_t n) { return static_cast<int32_t>(random_uniform({seed, RngPurpose::kTest, lengths.size()}, 0) * static_cast<double>(n)); };
    const int32_t documents = 1 + draw(12);
    for (int32_t d = 0; d < documents; ++d) lengths.push_back(1 + draw(600));
    const data::Batch batch = batch_of(lengths);
    const int64_t longest = *std::max_element(lengths.begin(), lengths.end());
    for (const int64_t at_a_time : {1, 2, 3, 5}) {
      for (const PassBatch& pass : passes_of(batch, 512, 64, at_a_time)) {
        EXPECT_LE(std::ssize(pass.ids), largest_pass(batch.tokens(), longest, 512, 64, at_a_time)) << seed << ", " << at_a_time;
      }
    }
  }
  EXPECT_EQ(largest_pass(1024, 512, 512, 64, 2), 512);
  EXPECT_EQ(largest_pass(600, 150, 512, 1, 2), 511);
  EXPECT_EQ(largest_pass(1200, 150, 2048, 1, 2), 675);
}

TEST(LargestPass, IsReachedAndNotExceeded) {
  for (const int32_t longest : {7, 8, 20}) {
    for (const int64_t multiple : {1, 4}) {
      const data::Batch batch = batch_of({longest, 7, 1, longest, 3, 7});
      int64_t most = 0;
      for (const PassBatch& pass : passes_of(batch, 8, multiple)) most = std::max<int64_t>(most, static_cast<int64_t>(pass.ids.size()));
      EXPECT_EQ(most, largest_pass(batch.tokens(), longest, 8, multiple)) << longest << ", " << multiple;
    }
  }
  EXPECT_EQ(largest_pass(1024, 512, 512, 64), 512);
  EXPECT_EQ(largest_pass(1024, 511, 512, 64), 512);
  EXPECT_EQ(largest_pass(2048, 600, 512, 64), 640);
  EXPECT_EQ(largest_pass(300, 300, 512, 1), 300);
}

TEST(PassSize, IsTheWholeBatchAsItIsOnADevice) {
  const data::Batch batch = batch_of({300, 300, 300});
  const PassSize here = pass_size({});
  EXPECT_EQ(sizes(passes_of(batch, here.tokens, here.multiple)), (std::vector<size_t>{320, 320, 320}));
  EXPECT_EQ(kCpuPassTokens % kCpuPassMultiple, 0);
  const gpu::ModuleTable module{};
  nn::Place device;
  device.queue = {&module, nullptr};
  const PassSize there = pass_size(device);
  EXPECT_EQ(sizes(passes_of(batch, there.tokens, there.multiple)), (std::vector<size_t>{900}));
}

}  // namespace
}  // namespace nibble::trainer
