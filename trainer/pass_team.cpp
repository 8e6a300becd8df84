#include "trainer/pass_team.h"

#include <ATen/ThreadLocalState.h>

#include <algorithm>
#include <stdexcept>

#include "nn/lora.h"
#include "tensor/parallel_tasks.h"

namespace nibble::trainer {
namespace {

nn::Model with_own_gradients(nn::Model model) {
  model.each_lora([](const std::string&, nn::Lora& lora) {
    lora.da = at::zeros_like(lora.da);
    lora.db = at::zeros_like(lora.db);
  });
  return model;
}

std::vector<nn::Lora*> loras_of(nn::Model& model) {
  std::vector<nn::Lora*> loras;
  model.each_lora([&](const std::string&, nn::Lora& lora) { loras.push_back(&lora); });
  return loras;
}

}  // namespace

struct PassTeam::Member {
  Member(const nn::Model& shared, const nn::Pass& first)
      : model(with_own_gradients(shared)), pass(model, first.max_positions(), first.place()), loras(loras_of(model)) {}

  nn::Model model;  // its tensors are the shared one's, but for the gradients
  nn::Pass pass;
  std::vector<nn::Lora*> loras;
};

PassTeam::PassTeam(nn::Model& model, nn::Pass& first, int64_t members) : model_(model), first_(first) {
  if (members > 1 && (first.place().queue || model.feed)) throw std::invalid_argument("a team of passes is for a CPU and weights that stay");
  for (int64_t m = 1; m < members; ++m) others_.push_back(std::make_unique<Member>(model, first));
}

PassTeam::~PassTeam() = default;

void PassTeam::each(const std::function<void(nn::Pass&)>& visit) {
  visit(first_);
  for (const auto& member : others_) visit(member->pass);
}

nn::LossSum PassTeam::forward_backward(std::span<const TeamPass> passes, const nn::PassOptions& options) {
  nn::LossSum sum;
  while (!passes.empty()) {
    const size_t count = std::min(passes.size(), static_cast<size_t>(members()));
    sum += round(passes.first(count), options);
    passes = passes.subspan(count);
  }
  return sum;
}

nn::LossSum PassTeam::collect() {
  const nn::LossSum of_first = first_.collect();
  for (const auto& member : others_) member->pass.collect();
  const nn::LossSum collected = std::exchange(collected_, {});
  return others_.empty() ? of_first : collected;
}

nn::LossSum PassTeam::round(std::span<const TeamPass> passes, const nn::PassOptions& options) {
  std::vector<nn::LossSum> sums(passes.size());
  const auto run = [&](size_t m) {
    nn::PassOptions own = options;
    own.dropout = passes[m].dropout;
    if (m == 0) {
      sums[m] = first_.forward_backward(passes[m].batch.view(), own);
      return;
    }
    own.backward_reaches = nullptr;  // the first member says where backward is
    nn::zero_gradients(others_[m - 1]->model);
    sums[m] = others_[m - 1]->pass.forward_backward(passes[m].batch.view(), own);
  };
  if (passes.size() == 1) {
    run(0);
  } else {
    const at::ThreadLocalState state;  // what LibTorch keeps by thread: gradient mode, the ear of the memory account
    parallel_tasks(std::ssize(passes), [&](int64_t begin, int64_t end) {
      const at::ThreadLocalStateGuard guard(state);
      for (int64_t m = begin; m < end; ++m) run(static_cast<size_t>(m));
    });
    add_gradients(passes.size());
  }
  nn::LossSum sum;
  for (const nn::LossSum& part : sums) {
    collected_ += part;
    sum += part;
  }
  return sum;
}

void PassTeam::add_gradients(size_t members) {
  const std::vector<nn::Lora*> totals = loras_of(model_);
  parallel_tasks(std::ssize(totals), [&](int64_t begin, int64_t end) {
    for (auto l = static_cast<size_t>(begin); l < static_cast<size_t>(end); ++l) {
      for (size_t m = 1; m < members; ++m) {
        totals[l]->da.add_(others_[m - 1]->loras[l]->da);
        totals[l]->db.add_(others_[m - 1]->loras[l]->db);
      }
    }
  });
}

}  // namespace nibble::trainer
