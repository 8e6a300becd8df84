// What decides how data files become a dataset.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "data/template.h"
#include "schema/enums.h"
#include "schema/field_names.h"

namespace nibble::data {

// Everything here but `threads` decides the result, and is part of its cache's key (data/data_key.cpp, which lists every field).
struct DataOptions {
  std::vector<std::filesystem::path> files;     // one schema in each; all read one after the other
  std::vector<double> weights;                  // how often each file's documents come in an epoch; empty: once
  DatasetFormat format = DatasetFormat::kAuto;
  FieldNames fields;                            // what the files call their fields
  TemplateRequest chat_template;                // which template writes conversations
  int64_t max_length = 1024;                    // tokens in a row
  Truncation truncation = Truncation::kRaise;   // what happens to longer documents
  bool packing = true;                          // false: one document a row
  PackingStrategy packing_strategy = PackingStrategy::kFfd;
  bool assistant_only_loss = true;
  AutoSwitch completion_only_loss = AutoSwitch::kAuto;
  bool train_on_last_turn_only = false;
  bool split_special_tokens = true;
  int64_t max_bad_rows = 0;                     // rows with something wrong that are left out; the next one is an error
  double validation_split_ratio = 0;            // share of the documents that is kept back for validation
  uint64_t seed = 42;                           // of the split and of weights that are no whole numbers
  int threads = 0;                              // 0: as many as the machine has
};

// Where prepared data are kept.
struct CacheOptions {
  bool keep = false;                            // false: in a temporary file without a name
  std::filesystem::path folder;                 // empty: nibble/data in the user's cache folder, where that can be used
  std::vector<std::filesystem::path> temporary; // folders for a file without a name, best first; then the system's own
  std::function<void(const std::string&)> say;  // one line for people; may be empty
  std::function<void()> each;                   // called ten times a second at least; may throw to stop
};

}  // namespace nibble::data
