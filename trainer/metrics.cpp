#include "trainer/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <type_traits>

#include "core/error.h"
#include "core/file.h"
#include "schema/json_text.h"
#include "trainer/json_fields.h"

namespace nibble::trainer {
namespace {

constexpr size_t kLongestLine = 65536;  // bytes; ours have about 300

// The step of a line of ours; nullopt for anything else.
std::optional<int64_t> step_of(std::string_view line) {
  if (line.empty() || line.size() > kLongestLine) return std::nullopt;
  try {
    return parse_metrics_line(std::string(line), "").step;
  } catch (const FormatError&) {
    return std::nullopt;
  }
}

}  // namespace

std::string metrics_line(const MetricsRow& row) { return to_json_object(row).dump(); }

MetricsRow parse_metrics_line(const std::string& line, const std::string& path) {
  return from_json_object<MetricsRow>(schema::parse_ordered_json(line, path), path);
}

std::vector<std::string> measured_metrics() {
  std::vector<std::string> names;
  const auto collect = [&](const char* name, const auto&, Repeats repeats) {
    if (repeats == Repeats::kMeasured) names.emplace_back(name);
  };
  const MetricsRow row;
  MetricsRow::describe(row, collect);
  return names;
}

MetricsLog::MetricsLog(const std::filesystem::path& path) : path_(path) { open(); }

MetricsLog::~MetricsLog() { ::close(fd_); }

void MetricsLog::open() {
  const int fd = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd < 0) throw IoError("cannot open the metrics file for writing", path_.string(), errno);
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

void MetricsLog::rewind(int64_t step, const std::vector<MetricsRow>& history) {
  rewind_metrics(path_, step, history);
  open();  // it is another file under the same name
}

void MetricsLog::write(const MetricsRow& row) {
  const std::string line = metrics_line(row) + "\n";
  size_t done = 0;
  while (done < line.size()) {
    const ssize_t n = ::write(fd_, line.data() + done, line.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw IoError("cannot write the metrics", path_.string(), errno);
    done += static_cast<size_t>(n);
  }
}

void MetricsLog::sync() {
  if (::fsync(fd_) != 0) throw IoError("cannot bring the metrics to disk", path_.string(), errno);
}

void rewind_metrics(const std::filesystem::path& path, int64_t step, const std::vector<MetricsRow>& history) {
  std::string kept;
  auto next = history.begin();
  int64_t last = 0;
  const auto add = [&](std::string_view line, int64_t line_step) {
    kept.append(line).push_back('\n');
    last = line_step;
  };
  // Rows of the history that belong before `before` and that the file does not have.
  const auto add_lost = [&](int64_t before) {
    for (; next != history.end() && next->step < before; ++next) {
      if (next->step > last && next->step <= step) add(metrics_line(*next), next->step);
    }
  };
  if (std::filesystem::exists(path)) {
    const std::string text = read_text(path);
    for (size_t begin = 0; begin < text.size();) {
      const size_t newline = text.find('\n', begin);
      if (newline == std::string::npos) break;  // cut off while it was written
      const std::string_view line = std::string_view(text).substr(begin, newline - begin);
      begin = newline + 1;
      const auto line_step = step_of(line);
      if (!line_step || *line_step <= last || *line_step > step) continue;
      add_lost(*line_step);
      add(line, *line_step);
    }
  }
  add_lost(step + 1);
  write_text_atomic(path, kept);
}

}  // namespace nibble::trainer
