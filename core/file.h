// Files: mapped reading, checked writing, folders that appear whole or not at all.
//
// Every failure is an IoError with the path and the operating system's reason. Nothing here follows a policy: what is
// read and written is the caller's business.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace nibble {

// A read-only mapping of a whole file. The bytes stay valid while the object lives. An empty file maps to an empty span.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::filesystem::path& path);  // THROWS IoError
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, static_cast<size_t>(size_)}; }
  int64_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }

  // Tells the kernel that these bytes are not needed soon, so that they leave the process's resident memory. They stay
  // readable: touching them again maps the page cache again.
  void drop(int64_t offset, int64_t size) const;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  int64_t size_ = 0;
};

// A file being written: buffered, every write checked, XXH3-128 of all bytes on the way.
class FileWriter {
 public:
  explicit FileWriter(const std::filesystem::path& path);  // creates or truncates. THROWS IoError
  FileWriter(const FileWriter&) = delete;
  ~FileWriter();                                           // closes without fsync if close() was not called

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }
  void close();                                            // flush, fsync, close
  int64_t size() const { return size_; }
  std::string xxh3_128() const;                            // 32 hex digits, of what was written so far
  void restart_xxh3();                                     // so far: from here on

 private:
  void flush();
  std::filesystem::path path_;
  int fd_ = -1;
  int64_t size_ = 0;
  std::string buffer_;
  void* hash_ = nullptr;  // XXH3_state_t
};

// A folder written under a temporary name beside its final one, made durable and renamed by commit(). If the object dies
// without commit(), the temporary folder is removed. An existing folder of the final name is replaced by commit().
class StagedFolder {
 public:
  explicit StagedFolder(std::filesystem::path final_path);  // THROWS IoError
  StagedFolder(const StagedFolder&) = delete;
  ~StagedFolder();

  const std::filesystem::path& path() const { return staging_; }  // write here
  void commit();  // fsync of the files and folders in it, rename, fsync of the parent

  // "<parent>/.<name>.partial": what a killed run may leave behind. remove_partial deletes such leftovers in a folder.
  static std::filesystem::path staging_name(const std::filesystem::path& final_path);
  static void remove_partial(const std::filesystem::path& folder);

 private:
  std::filesystem::path final_;
  std::filesystem::path staging_;
  bool committed_ = false;
};

std::string read_text(const std::filesystem::path& path);
// Writes path through a temporary file, fsync and rename, so that a reader never sees half of it.
void write_text_atomic(const std::filesystem::path& path, std::string_view text);
std::string file_xxh3_128(const std::filesystem::path& path);
std::string xxh3_128(std::string_view bytes);

}  // namespace nibble
