#include "trainer/black_box.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <tuple>

#include "core/error.h"
#include "core/file.h"
#include "schema/json_text.h"
#include "trainer/json_fields.h"

namespace nibble::trainer {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "blackbox-";

bool is_black_box_name(const std::string& name) {
  if (!name.starts_with(kPrefix)) return false;
  int64_t step = 0;
  std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), step);
  return step > 0 && black_box_name(step) == name;
}

// Paths and texts are bytes, JSON is UTF-8: what does not fit is replaced, not refused.
std::string json_text(const OrderedJson& json) { return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace); }

// A key a line and an entry of a list of objects a line: for people, and for line-wise tools.
std::string box_text(const BlackBox& box) {
  const OrderedJson json = to_json_object(box);
  std::string text = "{";
  for (const auto& [key, value] : json.items()) {
    text += fmt::format("{}\n  {}: ", text.size() > 1 ? "," : "", json_text(key));
    if (!value.is_array() || value.empty()) {
      text += json_text(value);
      continue;
    }
    text += "[";
    for (const OrderedJson& entry : value) text += fmt::format("{}\n    {}", text.back() == '[' ? "" : ",", json_text(entry));
    text += "\n  ]";
  }
  return text + "\n}\n";
}

void remove_old(const fs::path& run_folder) {
  const std::vector<fs::path> boxes = list_black_boxes(run_folder);
  for (size_t i = 0; i + kKeptBlackBoxes < boxes.size(); ++i) {
    std::error_code error;
    fs::remove_all(boxes[i], error);
    if (error) throw IoError("cannot delete the old record", boxes[i].string(), error.value());
  }
}

}  // namespace

std::string bits_text(double value) { return std::isnan(value) ? "nan" : fmt::format("{:016x}", std::bit_cast<uint64_t>(value)); }

std::string black_box_name(int64_t step) { return fmt::format("{}{}", kPrefix, step); }

std::vector<fs::path> list_black_boxes(const fs::path& run_folder) {
  struct Found {
    fs::path path;
    fs::file_time_type written;
  };
  std::vector<Found> found;
  std::error_code error;
  for (fs::directory_iterator entry(run_folder, error), end; !error && entry != end; entry.increment(error)) {
    if (!is_black_box_name(entry->path().filename().string())) continue;
    std::error_code missing;
    const auto written = fs::last_write_time(entry->path() / kBlackBoxFile, missing);
    if (!missing) found.push_back({entry->path(), written});
  }
  std::sort(found.begin(), found.end(), [](const Found& a, const Found& b) { return std::tie(a.written, a.path) < std::tie(b.written, b.path); });
  std::vector<fs::path> paths;
  for (Found& box : found) paths.push_back(std::move(box.path));
  return paths;
}

fs::path write_black_box(const fs::path& run_folder, const BlackBox& box, const std::function<void(const fs::path& folder)>& write_state) {
  const fs::path final_path = run_folder / black_box_name(box.step);
  StagedFolder folder(final_path);
  write_state(folder.path());
  FileWriter writer(folder.path() / kBlackBoxFile);
  writer.write(box_text(box));
  writer.close();
  folder.commit();
  remove_old(run_folder);
  return final_path;
}

BlackBox read_black_box(const fs::path& folder) {
  const fs::path path = folder / kBlackBoxFile;
  std::error_code error;
  if (!fs::is_regular_file(path, error)) {
    throw ConfigError(fmt::format("is no record of a step: it has no {}; give a folder blackbox-<step> of a run's output_dir", kBlackBoxFile), {folder.string()});
  }
  BlackBox box = from_json_object<BlackBox>(schema::parse_ordered_json(schema::read_json_text(path), path), path.string());
  if (box.format != kBlackBoxFormat) throw FormatError(fmt::format("its format is {}, this nibble reads {}", box.format, kBlackBoxFormat), path.string());
  if (box.step < 1) throw FormatError("its step is 0; steps are counted from 1", path.string());
  return box;
}

}  // namespace nibble::trainer
