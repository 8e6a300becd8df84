// This machine's rates, and nibble's loading against them, in one process: one JSON object on stdout. For bench/cpu_table.py.
//
//   bench_cpu rates                       matrix products in bf16 and fp32, copying and reading, on all threads
//   bench_cpu load MODEL [ROUNDS]         load and quantize a checkpoint: bytes of the linears' files a second, and of all
//   bench_cpu start MODEL FOLDER [ROUNDS] open the packed cache in FOLDER (made first, where it is missing) and the model from it
//
// Files come from the page cache: every round but the first, which is left out.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "core/error.h"
#include "io/load_model.h"
#include "io/packed_cache.h"
#include "nn/torch_ops.h"
#include "tensor/torch.h"

namespace nibble {
namespace {

using nlohmann::ordered_json;

double seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Of at least `rounds` runs and half a second, after one that is not counted.
std::vector<double> all_seconds(int rounds, const std::function<void()>& work) {
  work();
  std::vector<double> all;
  double total = 0;
  while (static_cast<int>(all.size()) < rounds || total < 0.5) {
    all.push_back(seconds(work));
    total += all.back();
  }
  return all;
}

double median_seconds(int rounds, const std::function<void()>& work) {
  std::vector<double> all = all_seconds(rounds, work);
  std::nth_element(all.begin(), all.begin() + static_cast<int64_t>(all.size()) / 2, all.end());
  return all[all.size() / 2];
}

// For what a step is compared with: where a machine's rate changes within seconds, a step has its share of each.
double mean_seconds(int rounds, const std::function<void()>& work) {
  const std::vector<double> all = all_seconds(rounds, work);
  return std::accumulate(all.begin(), all.end(), 0.0) / static_cast<double>(all.size());
}

// GFLOP/s of x W^T at the shapes of a 1.1B model and of a 135M one: LibTorch's, or what nibble calls.
ordered_json product_rates(at::ScalarType dtype, bool ours = false) {
  ordered_json rates;
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{512, 2048, 2048}, {512, 5632, 2048}, {512, 2048, 5632}, {1024, 1536, 576}}) {
    const Tensor x = at::randn({m, k}).to(dtype), w = at::randn({n, k}).to(dtype);
    Tensor y = at::empty({m, n}, dtype);
    const double s = mean_seconds(5, [&, &x = x, &w = w] {
      if (ours) {
        nn::matmul(x, w.t(), y, {});
      } else {
        at::mm_out(y, x, w.t());
      }
    });
    rates[fmt::format("{}x{}x{}", m, n, k)] = 2e-9 * static_cast<double>(m * n * k) / s;
  }
  return rates;
}

ordered_json memory_rates() {
  constexpr int64_t kBytes = int64_t{256} << 20;
  const Tensor from = at::ones({kBytes}, at::kByte), to = at::zeros({kBytes}, at::kByte);
  const auto* a = static_cast<const char*>(from.const_data_ptr());
  auto* b = static_cast<char*>(to.mutable_data_ptr());
  const double copy = median_seconds(5, [&] {
    at::parallel_for(0, kBytes, 1 << 20, [&](int64_t begin, int64_t end) { std::memcpy(b + begin, a + begin, static_cast<size_t>(end - begin)); });
  });
  std::vector<uint64_t> sums(64 * static_cast<size_t>(at::get_num_threads()));
  const double read = median_seconds(5, [&] {
    at::parallel_for(0, kBytes / 64, 1 << 14, [&](int64_t begin, int64_t end) {
      uint64_t lanes[8] = {};
      const auto* words = reinterpret_cast<const uint64_t*>(a);
      for (int64_t i = 8 * begin; i < 8 * end; i += 8) {
        for (int64_t l = 0; l < 8; ++l) lanes[l] += words[i + l];
      }
      sums[64 * static_cast<size_t>(at::get_thread_num())] += lanes[0] + lanes[1] + lanes[2] + lanes[3] + lanes[4] + lanes[5] + lanes[6] + lanes[7];
    });
  });
  const double bytes = static_cast<double>(kBytes) * 1e-9;
  return {{"copy_gb_per_s", 2 * bytes / copy}, {"read_gb_per_s", bytes / read}};
}

ordered_json rates() {
  ordered_json out{{"threads", at::get_num_threads()}, {"bf16_gflops", product_rates(at::kBFloat16)},
                   {"nibble_bf16_gflops", product_rates(at::kBFloat16, /*ours=*/true)}, {"fp32_gflops", product_rates(at::kFloat)}};
  out.update(memory_rates());
  return out;
}

int64_t model_bytes(const io::WeightSource& source, bool linears_only) {
  int64_t bytes = 0;
  for (const std::string& name : source.names()) {
    if (linears_only && name.find("_proj.weight") == std::string::npos) continue;
    bytes += static_cast<int64_t>(source.read(name).nbytes());
  }
  return bytes;
}

ordered_json load(const std::string& model, int rounds) {
  std::vector<double> all;
  int64_t bytes = 0, linear_bytes = 0;
  for (int i = 0; i <= rounds; ++i) {
    const auto source = io::open_weight_source(model);
    io::LoadOptions options;
    options.quant = quant::QuantConfig{};
    options.views = true;
    nn::Model loaded;
    const double s = seconds([&] { loaded = io::load_model(*source, options); });
    if (i > 0) all.push_back(s);
    bytes = model_bytes(*source, false);
    linear_bytes = model_bytes(*source, true);
  }
  const double median = (std::sort(all.begin(), all.end()), all[all.size() / 2]);
  return {{"seconds", all}, {"bytes", bytes}, {"linear_bytes", linear_bytes}, {"gb_per_s", 1e-9 * static_cast<double>(bytes) / median},
          {"linear_gb_per_s", 1e-9 * static_cast<double>(linear_bytes) / median}};
}

ordered_json start(const std::string& model, const std::string& folder, int rounds) {
  std::vector<double> all;
  for (int i = 0; i < rounds + 2; ++i) {
    std::unique_ptr<io::WeightSource> source;
    std::unique_ptr<io::PackedSource> cache;
    nn::Model loaded;
    const double s = seconds([&] {
      source = io::open_weight_source(model);
      cache = io::open_packed_cache(*source, {}, {folder, true, {}, {}});
      io::LoadOptions options;
      options.quant = quant::QuantConfig{};
      options.views = true;
      loaded = io::load_model(*cache, options);
    });
    if (i >= 2) all.push_back(s);  // the first may make it, the second compares its checksums
  }
  std::sort(all.begin(), all.end());
  return {{"seconds", all}, {"median_s", all[all.size() / 2]}};
}

int usage() {
  std::cerr << "bench_cpu rates | load MODEL [ROUNDS] | start MODEL FOLDER [ROUNDS]\n";
  return 2;
}

int run(const std::vector<std::string>& a) {
  ordered_json out;
  if (a.size() == 1 && a[0] == "rates") {
    out = rates();
  } else if (a.size() >= 2 && a.size() <= 3 && a[0] == "load") {
    out = load(a[1], a.size() > 2 ? std::stoi(a[2]) : 5);
  } else if (a.size() >= 3 && a.size() <= 4 && a[0] == "start") {
    out = start(a[1], a[2], a.size() > 3 ? std::stoi(a[3]) : 5);
  } else {
    return usage();
  }
  std::cout << out.dump() << "\n";
  return 0;
}

}  // namespace
}  // namespace nibble

int main(int argc, char** argv) {
  try {
    return nibble::run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
