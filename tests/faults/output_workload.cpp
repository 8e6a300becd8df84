#include "tests/faults/output_workload.h"

#include <stdexcept>

namespace nibble::faults {
namespace fs = std::filesystem;
namespace {

constexpr const char* kOut = "out";       // watched
constexpr const char* kModel = "model";   // in it: what export writes
constexpr const char* kData = "data";

void run_or_throw(const fs::path& home, const std::vector<std::string>& arguments) {
  fs::create_directories(home);
  const auto result = test::Program(home, arguments).wait();
  if (result.exit_code != 0) throw std::runtime_error("the run without faults failed: " + result.err);
}

// Notes and locks beside prepared data.
bool is_beside(const std::string& name) { return name.ends_with(".verified") || name.ends_with(".hash") || name.ends_with(".lock"); }

}  // namespace

ExportWorkload::ExportWorkload(const test::RunWorkshop& shop, std::string name, fs::path source, std::vector<std::string> options, bool replaces)
    : Workload(std::move(name), {kOut}), source_(std::move(source)), options_(std::move(options)), replaces_(replaces) {
  const fs::path reference = shop / ("reference-" + this->name);
  run_or_throw(reference, words("checkpoint-1", reference / "old"));
  run_or_throw(reference, words("checkpoint-2", reference / "new"));
  old_ = file_tree(reference / "old");
  new_ = file_tree(reference / "new");
  if (old_ == new_) throw std::runtime_error("two checkpoints give the same export");
}

std::vector<std::string> ExportWorkload::words(const char* checkpoint, const fs::path& out) const {
  std::vector<std::string> all{"export", (source_ / checkpoint).string(), out.string(), "--json"};
  all.insert(all.end(), options_.begin(), options_.end());
  return all;
}

void ExportWorkload::prepare(const fs::path& trial) const {
  fs::create_directories(trial / kOut);
  if (!replaces_) return;
  for (const auto& [name, bytes] : old_) test::put_file(trial / kOut / kModel / name, bytes);
}

std::vector<std::string> ExportWorkload::arguments(const fs::path& trial) const { return words("checkpoint-2", trial / kOut / kModel); }

std::string ExportWorkload::after_fault(const fs::path& trial, const std::vector<TracedOperation>&) const {
  const FileTree found = file_tree(trial / kOut / kModel);
  if (found == new_ || found == (replaces_ ? old_ : FileTree{})) return "";
  return "what lies there is neither the old export nor the new one: " + first_difference(found, new_);
}

std::string ExportWorkload::at_end(const fs::path& trial) const {
  FileTree expected{{std::string(kModel) + "/", ""}};
  for (const auto& [name, bytes] : new_) expected[fmt::format("{}/{}", kModel, name)] = bytes;
  return first_difference(file_tree(trial / kOut), expected);
}

PreprocessWorkload::PreprocessWorkload(const test::RunWorkshop& shop, std::string name) : Workload(std::move(name), {kData}), shop_(shop) {
  const fs::path reference = shop / ("reference-" + this->name);
  run_or_throw(reference, arguments(reference));
  expected_ = file_tree(reference / kData);
}

std::vector<std::string> PreprocessWorkload::arguments(const fs::path& trial) const {
  return {"preprocess", shop_("run.yaml"), "--json", "--set", "dataset_prepared_path=" + (trial / kData).string()};
}

std::string PreprocessWorkload::after_again(const test::ProgramResult& result, const std::vector<TracedOperation>&) const {
  return result.err.find("cannot be used") == std::string::npos ? "" : "it met damaged data under their final name: " + result.err;
}

std::string PreprocessWorkload::at_end(const fs::path& trial) const {
  FileTree found = file_tree(trial / kData), expected = expected_;
  for (FileTree* tree : {&found, &expected}) std::erase_if(*tree, [](const auto& entry) { return is_beside(entry.first); });
  return first_difference(found, expected);
}

}  // namespace nibble::faults
