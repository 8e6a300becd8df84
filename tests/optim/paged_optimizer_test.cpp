// Units: optim/paged_arena, optim/paged_file. Whole optimizers whose state is paged on a CPU give the bits of plain memory,
// and stay paged when they go on from a checkpoint.
#include <gtest/gtest.h>

#include "optim/paged_arena.h"
#include "tests/optim/optim_problem.h"
#include "tests/support/temporary_folder.h"

namespace nibble::optim {
namespace {

using test::config_of;
using test::Problem;
using test::same_bits;
using test::state_of;

constexpr Optim kPaged[] = {Optim::kPagedAdamw32bit, Optim::kPagedAdamw8bit, Optim::kPagedLion32bit, Optim::kPagedLion8bit};

// An optimizer with its arena in a file: the largest layer fits into the budget, and little else.
struct FilePaged {
  nibble::test::TemporaryFolder folder;
  Problem problem{at::kBFloat16};
  PagedArena* arena = nullptr;
  std::unique_ptr<Optimizer> optimizer;

  explicit FilePaged(Optim optim) {
    PagedOptions options;
    options.page_bytes = kSmallestPageBytes;
    options.budget_bytes = (optimizer_kind(optim).eight_bit ? 3 : 5) * kSmallestPageBytes;
    options.folder = folder.path();
    auto memory = std::make_unique<PagedArena>(options);
    arena = memory.get();
    optimizer = std::make_unique<Optimizer>(config_of(optim), problem.params, std::move(memory));
  }
};

void expect_equal(const Problem& a, const Optimizer& on_a, const Problem& b, const Optimizer& on_b, const char* when) {
  const auto expected = state_of(on_a), actual = state_of(on_b);
  ASSERT_EQ(expected.size(), actual.size());
  for (const auto& [name, tensor] : expected) EXPECT_TRUE(same_bits(tensor, actual.at(name))) << name << " " << when;
  for (size_t i = 0; i < a.params.size(); ++i) {
    EXPECT_TRUE(same_bits(a.params[i].param, b.params[i].param)) << a.params[i].name << " " << when;
  }
}

TEST(PagedOptimizer, GivesTheBitsOfPlainMemory) {
  for (const Optim optim : kPaged) {
    Problem plain(at::kBFloat16);
    Optimizer expected(config_of(optim), plain.params);
    FilePaged paged(optim);
    ASSERT_EQ(paged.arena->memory(), PagedMemory::kFile);
    ASSERT_GT(paged.arena->windows(), 1u);
    plain.train(expected, 0, 4);
    for (int64_t step = 0; step < 4; ++step) {
      for (int64_t layer = 3; layer >= 0; --layer) paged.arena->prefetch_ahead(layer);
      paged.problem.train(*paged.optimizer, step, step + 1);
      EXPECT_LE(paged.arena->counters().resident_bytes, paged.arena->budget_bytes());
    }
    EXPECT_GT(paged.arena->counters().evicted_bytes, 0);
    expect_equal(plain, expected, paged.problem, *paged.optimizer, "at the end");
  }
}

TEST(PagedOptimizer, GoesOnFromACheckpointAndIsStillPaged) {
  for (const Optim optim : kPaged) {
    FilePaged through(optim), resumed(optim);
    through.problem.train(*through.optimizer, 0, 2);
    const auto saved = state_of(*through.optimizer);
    resumed.optimizer->restore(2, [&](const std::string& name, const Tensor& t) { t.copy_(saved.at(name)); });
    expect_equal(through.problem, *through.optimizer, resumed.problem, *resumed.optimizer, "restored");
    through.problem.train(*through.optimizer, 2, 4);
    resumed.problem.train(*resumed.optimizer, 2, 4);
    expect_equal(through.problem, *through.optimizer, resumed.problem, *resumed.optimizer, "two steps later");
    EXPECT_GT(resumed.arena->counters().evicted_bytes, 0) << "everything stayed resident";
    EXPECT_LE(resumed.arena->counters().resident_bytes, resumed.arena->budget_bytes());
  }
}

// Whatever came before it, and whatever the memory: the rehearsed run has the bits of the one that did not rehearse.
TEST(PagedOptimizer, ARehearsalChangesNothing) {
  for (const Optim optim : test::kAllOptims) {
    Problem plain(at::kBFloat16), rehearsed(at::kBFloat16);
    Optimizer expected(config_of(optim), plain.params), actual(config_of(optim), rehearsed.params);
    actual.rehearse();
    plain.train(expected, 0, 2);
    rehearsed.train(actual, 0, 2);
    actual.rehearse();
    EXPECT_EQ(actual.steps(), 2);
    expect_equal(plain, expected, rehearsed, actual, "rehearsed after two steps");
    plain.train(expected, 2, 3);
    rehearsed.train(actual, 2, 3);
    expect_equal(plain, expected, rehearsed, actual, "a step later");
  }
  for (const Optim optim : kPaged) {
    Problem plain(at::kBFloat16);
    Optimizer expected(config_of(optim), plain.params);
    FilePaged paged(optim);
    paged.optimizer->rehearse();
    EXPECT_GT(paged.arena->counters().evicted_bytes, 0) << "not every window came";
    EXPECT_LE(paged.arena->counters().resident_bytes, paged.arena->budget_bytes());
    plain.train(expected, 0, 2);
    paged.problem.train(*paged.optimizer, 0, 2);
    expect_equal(plain, expected, paged.problem, *paged.optimizer, "paged");
  }
}

}  // namespace
}  // namespace nibble::optim
