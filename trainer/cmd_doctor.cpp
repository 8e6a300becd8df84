// nibble doctor: what this machine has, one line each, with what to do.
#include <CLI/CLI.hpp>

#include <fmt/format.h>

#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include <torch/headeronly/version.h>

#include "core/amx.h"
#include "core/disk_space.h"
#include "gpu/module.h"
#include "tensor/torch.h"
#include "trainer/command.h"
#include "trainer/memory_plan.h"

namespace nibble::trainer {
namespace {

struct Finding {
  std::string name, value, advice;  // advice: "" where nothing is to be done
};

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

Finding cpu_features() {
  std::string have;
  bool bf16 = false, avx512 = false;
#if defined(__x86_64__)
  const auto add = [&](bool supported, const char* name) {
    if (supported) have += fmt::format("{}{}", have.empty() ? "" : " ", name);
  };
  avx512 = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  bf16 = __builtin_cpu_supports("avx512bf16");
  add(__builtin_cpu_supports("avx2"), "avx2");
  add(__builtin_cpu_supports("avx512f"), "avx512f");
  add(avx512, "avx512bw+vl");
  add(bf16, "avx512_bf16");
  add(amx_bf16_usable(), "amx_bf16");
  // oneDNN cannot tell whether such tiles work, and is told to do without (tensor/onednn.h).
  if (amx_claim().instructions && !amx_claim().palettes) {
    have += amx_bf16_usable() ? " (not for LibTorch: announced without palettes)" : " (AMX announced, but it does not work)";
  }
#endif
  const char* advice = bf16 ? "" : avx512 ? "no bf16 instructions: training in bfloat16 works at a fraction of the speed"
                                          : "no AVX-512: training works at a fraction of the speed";
  return {"SIMD", have.empty() ? "none known" : have, advice};
}

// The module that the machine could use, or why it cannot; training itself runs on the CPU in this version.
Finding gpu_module() {
  const gpu::ModuleStatus status = gpu::module_status();
  return {"GPU", status.text, status.usable() ? "this version trains on the CPU" : ""};
}

std::vector<Finding> examine() {
  constexpr int64_t kGib = int64_t{1} << 30;
  std::vector<Finding> all{{"CPU", fmt::format("{}, {} threads", cpu_model(), std::thread::hardware_concurrency()), ""}, cpu_features()};
  const double memory = static_cast<double>(memory_limit_bytes()) / static_cast<double>(kGib);
  all.push_back({"memory", fmt::format("{:.1f} GiB usable", memory), memory < 4 ? "little: train small models, with recompute: layer" : ""});
  const auto disk = free_disk_bytes(".");
  all.push_back({"disk", disk ? disk_bytes_text(*disk) + " free here" : "the file system does not say what is free here",
                 disk && *disk < 2 * kGib ? "little: a merged model and checkpoints need more" : ""});
  all.push_back({"LibTorch", fmt::format("{}, {} threads", TORCH_VERSION, at::get_num_threads()), ""});
  all.push_back(gpu_module());
  return all;
}

}  // namespace

Command make_doctor_command() {
  return {"doctor", "What this machine has, and what to do about it", [](CLI::App&, const CommonOptions& common) -> std::function<int()> {
            return [&common] {
              nlohmann::ordered_json out;
              for (const Finding& f : examine()) {
                if (common.json) {
                  out[f.name] = {{"value", f.value}, {"advice", f.advice.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(f.advice)}};
                } else {
                  std::cout << fmt::format("{:<11} {}{}{}\n", f.name, f.value, f.advice.empty() ? "" : "\n            -> ", f.advice);
                }
              }
              if (common.json) std::cout << out.dump() << "\n";
              return 0;
            };
          }};
}

}  // namespace nibble::trainer
