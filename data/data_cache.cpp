#include "data/data_cache.h"

#include <fmt/core.h>

#include <chrono>
#include <optional>
#include <system_error>

#include "core/cache_folder.h"
#include "core/error.h"
#include "core/file_lock.h"
#include "core/partial_file.h"
#include "core/verified_stamp.h"
#include "data/build_cache.h"
#include "data/data_key.h"

namespace nibble::data {
namespace fs = std::filesystem;
namespace {

constexpr const char* kSuffix = ".tokens";
constexpr auto kKeptUnused = std::chrono::hours(30 * 24);

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

bool lies_in(const std::string& file, const fs::path& folder) { return !folder.empty() && file.starts_with(folder.string() + "/"); }

// What the user's folder holds of data that nobody used for long.
void remove_unused(const fs::path& folder) {
  std::vector<fs::path> old;
  std::error_code ignored;
  const auto now = fs::file_time_type::clock::now();
  for (fs::directory_iterator entry(folder, ignored), end; !ignored && entry != end; entry.increment(ignored)) {
    const fs::path& path = entry->path();
    const auto used = [&](const fs::path& file) {
      std::error_code missing;
      const auto time = fs::last_write_time(file, missing);
      return missing ? fs::file_time_type::min() : time;
    };
    const bool is_cache = path.extension() == kSuffix;
    if (!is_cache && path.extension() != ".hash" && path.extension() != kPartialSuffix) continue;
    // Every use notes itself beside the cache; the file itself must stay as it is.
    if (now - std::max(used(path), used(stamp_path(path))) > kKeptUnused) old.push_back(path);
  }
  for (const fs::path& path : old) {
    fs::remove(path, ignored);
    fs::remove(stamp_path(path), ignored);
    fs::remove(folder / fmt::format(".{}.lock", path.filename().string()), ignored);
  }
}

class DataCache {
 public:
  DataCache(const DataOptions& options, const Tokenizer& tokenizer, const CacheOptions& cache)
      : options_(options), tokenizer_(tokenizer), cache_(cache), folder_(data_cache_folder(cache)) {
    make_folder();
    for (const fs::path& file : options.files) {
      names_.push_back(file.string());
      identities_.push_back(file_identity(file));
    }
    hashes_ = data_file_hashes(options.files, folder_, cache.each);
    key_ = data_key(options, hashes_, tokenizer);
  }

  PreparedData get() {
    if (!folder_.empty()) {
      try {
        return kept();
      } catch (const IoError& error) {
        // Trouble with a data file is the caller's; trouble with a folder that nobody named is ours.
        if (!cache_.folder.empty() || !lies_in(error.place().file, folder_)) throw;
        do_without(error.what());
      }
    }
    return temporary();
  }

 private:
  void say(const std::string& line) const {
    if (cache_.say) cache_.say(line);
  }
  void do_without(const std::string& why) {
    say(fmt::format("data: not kept for later runs: {}", why));
    folder_.clear();
  }
  void make_folder() {
    if (folder_.empty()) return;
    std::error_code error;
    fs::create_directories(folder_, error);
    if (!error) return;
    const IoError failed("cannot create the folder of prepared data; name another one with dataset_prepared_path", folder_.string(), error.value());
    if (!cache_.folder.empty()) throw failed;
    do_without(failed.what());
  }

  PreparedData kept() {
    const fs::path path = folder_ / (key_ + kSuffix);
    std::string why;
    if (auto data = try_open(path, why)) return std::move(*data);
    if (!why.empty()) say(fmt::format("data: the prepared data in {} cannot be used, so they are made again: it {}", path.string(), why));
    const FileLock lock(folder_ / fmt::format(".{}{}.lock", key_, kSuffix), cache_.each);
    // Another process may have made them meanwhile.
    if (auto data = try_open(path, why)) return std::move(*data);
    if (lock.held()) PartialFile::remove_leftovers(path);
    PartialFile partial(path);
    const auto start = std::chrono::steady_clock::now();
    build(partial.path());
    partial.commit();
    if (lock.held()) PartialFile::remove_leftovers(path);  // what could not be removed on the way
    if (cache_.folder.empty()) remove_unused(folder_);
    say(fmt::format("data: prepared in {:.1f} s and kept in {}", seconds_since(start), path.string()));
    return opened(path);
  }

  PreparedData temporary() {
    std::vector<fs::path> folders = cache_.temporary;
    std::error_code none;
    folders.push_back(fs::temp_directory_path(none));
    std::optional<IoError> failed;
    for (const fs::path& folder : folders) {
      if (folder.empty() || !fs::is_directory(folder, none)) continue;
      try {
        PartialFile partial(folder / "nibble-data");  // goes when it is mapped: the mapping keeps the bytes
        build(partial.path());
        return opened(partial.path());
      } catch (const IoError& error) {
        if (!lies_in(error.place().file, folder)) throw;
        failed = error;
      }
    }
    if (failed) throw *failed;
    throw IoError("there is no folder for prepared data: set dataset_prepared_path, or TMPDIR", "");
  }

  void build(const fs::path& path) const {
    build_cache(path, key_, hashes_, options_, tokenizer_, cache_.each);
    for (size_t f = 0; f < options_.files.size(); ++f) {
      if (!identities_[f].empty() && file_identity(options_.files[f]) != identities_[f]) {
        throw DataError("the file changed while it was read: wait until it is complete, and start again", Place{names_[f]});
      }
    }
  }

  // What was written just now.
  PreparedData opened(const fs::path& path) const {
    PreparedData data;
    data.cache.file = MappedFile(path);
    data.cache.store = parse_cache(data.cache.file.bytes(), path.string(), key_);
    data.stats = read_stats(data.cache.store.stats, names_);
    return data;
  }

  // nullopt and in `why` what is wrong with the file, "" where it is not there.
  std::optional<PreparedData> try_open(const fs::path& path, std::string& why) const {
    why.clear();
    std::error_code missing;
    if (!fs::exists(path, missing)) return std::nullopt;
    try {
      PreparedData data;
      data.cache = open_cache_file(path, key_, static_cast<int64_t>(names_.size()), tokenizer_.vocab_size());
      data.stats = read_stats(data.cache.store.stats, names_);
      fs::last_write_time(stamp_path(path), fs::file_time_type::clock::now(), missing);
      say(fmt::format("data: prepared before, taken from {}", path.string()));
      return data;
    } catch (const FormatError& error) {
      why = error.message();
    } catch (const IoError& error) {  // another user's, or a folder
      why = error.message();
    }
    return std::nullopt;
  }

  const DataOptions& options_;
  const Tokenizer& tokenizer_;
  const CacheOptions& cache_;
  fs::path folder_;
  std::vector<std::string> names_, identities_, hashes_;
  std::string key_;
};

}  // namespace

fs::path data_cache_folder(const CacheOptions& cache) {
  if (!cache.keep) return {};
  if (!cache.folder.empty()) return cache.folder;
  const fs::path user = user_cache_folder();
  return user.empty() ? user : user / "data";
}

PreparedData prepare_data(const DataOptions& options, const Tokenizer& tokenizer, const CacheOptions& cache) {
  return DataCache(options, tokenizer, cache).get();
}

}  // namespace nibble::data
