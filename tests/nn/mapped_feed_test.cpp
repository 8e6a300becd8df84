// Units: nn/mapped_feed, nn/base_feed, core/mapped_pages
#include "nn/mapped_feed.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "core/file.h"
#include "core/mapped_pages.h"
#include "nn/decoder.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

const int64_t kPage = ::sysconf(_SC_PAGESIZE);

// A file of `pages` pages, each filled with its number, mapped.
class PageFile {
 public:
  explicit PageFile(int64_t pages) {
    const std::filesystem::path path = folder_.path() / "pages";
    FileWriter writer(path);
    for (int64_t p = 0; p < pages; ++p) writer.write(std::string(static_cast<size_t>(kPage), static_cast<char>('a' + p % 26)));
    writer.close();
    file_ = MappedFile(path);
    file_.drop(0, file_.size());
  }
  std::span<const std::byte> pages(int64_t first, int64_t count) const {
    return file_.bytes().subspan(static_cast<size_t>(first * kPage), static_cast<size_t>(count * kPage));
  }
  // How many of these pages are in this process's page table: what counts as its resident memory. Linux, /proc/self/pagemap.
  int64_t resident(int64_t first, int64_t count) const {
    const int fd = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    int64_t present = 0;
    for (int64_t p = first; p < first + count; ++p) {
      uint64_t entry = 0;
      const auto address = reinterpret_cast<uintptr_t>(file_.bytes().data()) + static_cast<uintptr_t>(p * kPage);
      EXPECT_EQ(::pread(fd, &entry, sizeof entry, static_cast<off_t>(address / static_cast<uintptr_t>(kPage) * 8)), 8);
      present += static_cast<int64_t>(entry >> 63);
    }
    ::close(fd);
    return present;
  }

 private:
  test::TemporaryFolder folder_;
  MappedFile file_;
};

TEST(MappedPages, ComeAndGoAndKeepTheirBytes) {
  const PageFile file(64);
  EXPECT_EQ(file.resident(0, 64), 0);
  bring_pages(file.pages(8, 16));
  EXPECT_EQ(file.resident(8, 16), 16);
  drop_pages(file.pages(8, 16));
  EXPECT_EQ(file.resident(8, 16), 0);
  EXPECT_EQ(file.pages(9, 1).front(), std::byte{'j'});
  bring_pages({});
  drop_pages({});
  // Bytes within a page stand for the page.
  drop_pages(file.pages(0, 64));
  bring_pages(file.pages(3, 2).subspan(100, static_cast<size_t>(kPage)));
  EXPECT_EQ(file.resident(3, 2), 2);
}

TEST(MappedPages, AreHashedAsTheyPass) {
  // Longer than a piece.
  const PageFile file((int64_t{9} << 20) / kPage + 3);
  const auto bytes = file.pages(0, (int64_t{9} << 20) / kPage + 3).subspan(100);
  EXPECT_EQ(xxh3_128_passing(bytes), xxh3_128({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
  EXPECT_EQ(xxh3_128_passing({}), xxh3_128(""));
  drop_pages(bytes);
  xxh3_128_passing(bytes);
  EXPECT_LE(file.resident(0, (int64_t{9} << 20) / kPage), 64);
}

TEST(Joined, SortsAndJoinsWhatTouches) {
  const PageFile file(8);
  const auto all = file.pages(0, 8);
  const MappedPart got = joined({all.subspan(300, 50), all.subspan(0, 100), all.subspan(100, 20), {}, all.subspan(310, 10)});
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[0].data(), all.data());
  EXPECT_EQ(got[0].size(), 120u);
  EXPECT_EQ(got[1].data(), all.data() + 300);
  EXPECT_EQ(got[1].size(), 50u);
}

// Four layers, a head and an embedding behind it, in pages. Large beside what a page fault brings along: its neighbours in
// 64 KiB, which stay until their own part goes.
constexpr int64_t kLayer = 512, kHead = 256, kEmbedding = 64;
constexpr int64_t kNeighbours = 5 * 2 * 16;

struct Fed {
  PageFile file{4 * kLayer + kHead + kEmbedding};
  MappedFeed feed{{{file.pages(0, kLayer)}, {file.pages(kLayer, kLayer)}, {file.pages(2 * kLayer, kLayer)}, {file.pages(3 * kLayer, kLayer)}, {file.pages(4 * kLayer, kHead)}},
                  {file.pages(4 * kLayer + kHead, kEmbedding)}};

  static int64_t pages_of(int64_t part) { return part == 4 ? kHead : kLayer; }
  // As a layer that uses all of its weights.
  void use(int64_t part, int64_t next) {
    feed.enter(part, next);
    for (int64_t p = kLayer * part; p < kLayer * part + pages_of(part); ++p) EXPECT_EQ(file.pages(p, 1).front(), static_cast<std::byte>('a' + p % 26));
    feed.settle();
  }
  int64_t resident(int64_t part) const { return file.resident(kLayer * part, pages_of(part)); }
  int64_t resident() const { return file.resident(0, 4 * kLayer + kHead + kEmbedding); }
};

TEST(MappedFeed, HoldsThePartInUseAndTheNextOne) {
  Fed fed;
  static_cast<void>(fed.file.pages(4 * kLayer + kHead, 1).front());  // a look-up in the embedding
  const std::vector<std::pair<int64_t, int64_t>> pass{{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 3}, {3, 2}, {2, 1}, {1, 0}, {0, 0}};
  for (int round = 0; round < 2; ++round) {
    for (const auto& [part, next] : pass) {
      fed.use(part, next);
      EXPECT_EQ(fed.resident(next), Fed::pages_of(next)) << "part " << part << ", next " << next;
      EXPECT_LE(fed.resident(), 2 * kLayer + kEmbedding + kNeighbours) << "part " << part;
    }
  }
  EXPECT_EQ(fed.file.resident(4 * kLayer + kHead, kEmbedding), 0) << "the embedding goes with the head";
  EXPECT_FALSE(fed.feed.resident(0));
}

TEST(MappedFeed, LetsGoOfWhatWasAnnouncedInVain) {
  Fed fed;
  fed.use(0, 2);
  EXPECT_EQ(fed.resident(2), kLayer);
  fed.use(1, 0);
  EXPECT_LE(fed.resident(2), 16);
  EXPECT_EQ(fed.resident(0), kLayer);
  EXPECT_THROW(fed.feed.enter(5, 0), std::logic_error);
  EXPECT_THROW(fed.feed.enter(0, 5), std::logic_error);
  EXPECT_NO_THROW(fed.feed.enter(0, BaseFeed::kUnknown));
}

// Every order of parts that a caller may come up with, with the reader busy: nothing waits for ever.
TEST(MappedFeed, GoesAnywhere) {
  Fed fed;
  for (uint64_t i = 0; i < 2000; ++i) {
    const auto part = static_cast<int64_t>(random_below({1, RngPurpose::kTest, 0}, i, 5));
    const auto next = static_cast<int64_t>(random_below({2, RngPurpose::kTest, 0}, i, 6)) - 1;
    fed.feed.enter(part, next);
  }
  fed.feed.settle();
  EXPECT_LE(fed.resident(), 2 * kLayer + kNeighbours);
}

// What a pass announces, and that every layer is announced before it is entered.
class Recorder final : public BaseFeed {
 public:
  void enter(int64_t part, int64_t next) override { seen.emplace_back(part, next); }
  bool resident(int64_t) const override { return false; }
  std::vector<std::pair<int64_t, int64_t>> seen;
};

TEST(BaseFeed, IsToldEveryPartThatAPassUsesAndTheNextOne) {
  using Parts = std::vector<std::pair<int64_t, int64_t>>;
  test::TinyModelOptions o;
  o.layers = 3;
  Model model = test::tiny_model(o);
  const auto feed = std::make_shared<Recorder>();
  model.feed = feed;
  Pass pass(model, 64);
  const test::TinyBatch batch({9, 17}, 96);
  pass.forward_backward(batch.view(), {});
  EXPECT_EQ(feed->seen, (Parts{{0, 1}, {1, 2}, {2, 3}, {3, 2}, {2, 1}, {1, 0}, {0, 0}}));
  const Parts forward{{0, 1}, {1, 2}, {2, 3}, {3, 0}};
  feed->seen.clear();
  pass.forward_loss(batch.view(), {});
  EXPECT_EQ(feed->seen, forward);
  feed->seen.clear();
  pass.forward_logits(batch.view());
  EXPECT_EQ(feed->seen, forward);
  feed->seen.clear();
  pass.forward_hidden_states(batch.view());
  EXPECT_EQ(feed->seen, (Parts{{0, 1}, {1, 2}, {2, 0}}));
  feed->seen.clear();
  Decoder decoder(model, 16);
  decoder.feed(std::span(batch.ids).first(3));
  EXPECT_EQ(feed->seen, forward);
}

}  // namespace
}  // namespace nibble::nn
