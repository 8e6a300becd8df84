// What two runs of one configuration must have in common of their metrics.
#pragma once

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "trainer/metrics.h"

namespace nibble::test {

// The rows of a run folder's metrics.jsonl without the fields that the machine's speed enters.
inline std::vector<nlohmann::json> exact_metrics(const std::filesystem::path& run) {
  std::ifstream file(run / "metrics.jsonl");
  std::vector<nlohmann::json> rows;
  for (std::string line; std::getline(file, line);) {
    auto row = nlohmann::json::parse(line);
    for (const std::string& name : trainer::measured_metrics()) row.erase(name);
    rows.push_back(row);
  }
  return rows;
}

}  // namespace nibble::test
