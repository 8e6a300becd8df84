// Tokenizer and data loader at work, one JSON line a round on stdout. For bench/data_bench.py, which lets the other side take turns.
//
//   bench_data encode MODEL_FOLDER TEXT THREADS    every line of TEXT is one text; a round for each line on stdin
//   bench_data pack DOCUMENTS                      rows of 2048 from random lengths, by both strategies
#include <fmt/format.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/ordered_workers.h"
#include "core/rng.h"
#include "data/packing.h"
#include "data/tokenizer.h"

namespace nibble::data {
namespace {

using nlohmann::ordered_json;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Texts of about so many bytes go to a thread at a time, as the data loader's blocks of rows do.
constexpr size_t kBlockBytes = size_t{128} << 10;

int64_t encode_all(const Tokenizer& tokenizer, const std::vector<std::string>& texts, int64_t threads, uint64_t& checksum) {
  size_t at = 0;
  int64_t tokens = 0;
  using Range = std::pair<size_t, size_t>;
  OrderedWork<Range, std::vector<std::vector<int32_t>>> parts;
  parts.next = [&](Range& range) {
    range.first = at;
    for (size_t bytes = 0; at < texts.size() && bytes < kBlockBytes; ++at) bytes += texts[at].size();
    range.second = at;
    return range.second > range.first;
  };
  parts.work = [&](Range&& range) {
    std::vector<std::vector<int32_t>> ids;
    for (size_t i = range.first; i < range.second; ++i) ids.push_back(tokenizer.encode(texts[i], false));
    return ids;
  };
  parts.take = [&](std::vector<std::vector<int32_t>>&& ids) {
    for (const auto& text : ids) {
      tokens += static_cast<int64_t>(text.size());
      for (const int32_t id : text) checksum = checksum * 31 + static_cast<uint64_t>(id);
    }
  };
  run_ordered(parts, threads, 4 * threads);
  return tokens;
}

void encode_rounds(const std::string& folder, const std::string& file, int64_t threads) {
  const Tokenizer tokenizer = Tokenizer::from_folder(folder);
  std::ifstream in(file, std::ios::binary);
  std::vector<std::string> texts;
  for (std::string line; std::getline(in, line);) texts.push_back(line + "\n");
  for (std::string line; std::getline(std::cin, line);) {
    uint64_t checksum = 0;
    const auto start = std::chrono::steady_clock::now();
    const int64_t tokens = encode_all(tokenizer, texts, threads, checksum);
    std::cout << ordered_json{{"tokens", tokens}, {"seconds", seconds_since(start)}, {"checksum", checksum}} << std::endl;
  }
}

void pack_rounds(int64_t documents) {
  std::vector<int32_t> lengths;
  for (int64_t d = 0; d < documents; ++d) lengths.push_back(1 + static_cast<int32_t>(random_below({1, RngPurpose::kTest, 0}, static_cast<uint64_t>(d), 900)));
  for (const PackingStrategy strategy : {PackingStrategy::kFfd, PackingStrategy::kBfd}) {
    const auto start = std::chrono::steady_clock::now();
    const PackedRows rows = pack_rows(lengths, 2048, strategy);
    std::cout << ordered_json{{"strategy", strategy == PackingStrategy::kFfd ? "ffd" : "bfd"}, {"rows", rows.rows()}, {"seconds", seconds_since(start)}} << std::endl;
  }
}

int run(const std::vector<std::string>& words) {
  if (words.size() == 4 && words[0] == "encode") {
    encode_rounds(words[1], words[2], std::stoll(words[3]));
  } else if (words.size() == 2 && words[0] == "pack") {
    pack_rounds(std::stoll(words[1]));
  } else {
    std::cerr << "bench_data encode MODEL_FOLDER TEXT THREADS | pack DOCUMENTS\n";
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace nibble::data

int main(int argc, char** argv) {
  try {
    return nibble::data::run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
