#include "trainer/diagnostics.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <new>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/mapping_guard.h"
#include "core/memory_account.h"
#include "schema/scalar.h"

namespace nibble::trainer {
namespace {

// Names in a stranger's file may hold what a terminal would obey.
std::string printable(const std::string& text) {
  std::string shown;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7F) {
      shown += fmt::format("\\x{:02X}", byte);
    } else {
      shown += c;
    }
  }
  return shown;
}

std::string error_text(const char* name, const std::string& message, const Place& place, bool json) {
  const std::string where = place.text();
  std::string text = printable((where.empty() ? "" : where + ": ") + "error: " + message) + "\n";
  if (json) {
    nlohmann::ordered_json object;
    object["error"] = name;
    object["message"] = message;
    object["file"] = place.file.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(place.file);
    object["line"] = place.line > 0 ? nlohmann::ordered_json(place.line) : nlohmann::ordered_json();
    object["column"] = place.column > 0 ? nlohmann::ordered_json(place.column) : nlohmann::ordered_json();
    if (place.byte_offset >= 0) object["byte_offset"] = place.byte_offset;
    // A path or a row may hold bytes that are not UTF-8.
    text += object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  }
  return text;
}

int report(const char* name, const std::string& message, const Place& place, ExitCode code, bool json) {
  std::cerr << error_text(name, message, place, json);
  return static_cast<int>(code);
}

const char* kOutOfMemoryAdvice =
    "out of memory; `nibble plan CONFIG` shows what the run needs: lower max_length or per_device_train_batch_size, or set "
    "recompute: layer";

}  // namespace

int run_reporting(const std::function<int()>& run, bool json) {
  exit_on_lost_mapping([json](const FormatError& e) { return error_text(e.name(), e.message(), e.place(), json); });
  try {
    const int code = run();
    // A result that went to a full disk was not given.
    if (!std::cout.flush()) throw IoError("cannot write the result; it may be incomplete", "standard output", errno);
    return code;
  } catch (const Error& e) {
    return report(e.name(), e.message(), e.place(), e.exit_code(), json);
  } catch (const std::filesystem::filesystem_error& e) {
    return report("IoError", e.code().message(), Place{e.path1().string(), 0, 0, -1}, ExitCode::kRunFailed, json);
  } catch (const std::bad_alloc&) {
    return report("OutOfMemoryError", kOutOfMemoryAdvice, {}, ExitCode::kOutOfMemory, json);
  } catch (const std::exception& e) {
    if (says_out_of_memory(e.what())) return report("OutOfMemoryError", kOutOfMemoryAdvice, {}, ExitCode::kOutOfMemory, json);
    return report("InternalError", fmt::format("{} (this is a mistake in nibble, not in your input)", e.what()), {},
                  ExitCode::kRunFailed, json);
  }
}

int report_usage(const std::string& message, bool json) {
  const int code = report("UsageError", message, {}, ExitCode::kUsage, json);
  if (!json) std::cerr << "`nibble --help` lists the verbs, `nibble VERB --help` a verb's options\n";
  return code;
}

bool has_json_flag(int argc, char** argv) {
  return std::any_of(argv, argv + argc, [](const char* a) { return std::strcmp(a, "--json") == 0; });
}

std::string nearest_verb(const std::string& name, const std::vector<std::string>& verbs) {
  if (std::find(verbs.begin(), verbs.end(), name) != verbs.end()) return "";
  const auto nearest = std::min_element(verbs.begin(), verbs.end(), [&](const std::string& a, const std::string& b) {
    return schema::edit_distance(name, a) < schema::edit_distance(name, b);
  });
  if (schema::edit_distance(name, *nearest) <= 3) return fmt::format("unknown verb '{}'; did you mean '{}'?", name, *nearest);
  return fmt::format("unknown verb '{}'; there are {}", name, fmt::join(verbs, ", "));
}

}  // namespace nibble::trainer
