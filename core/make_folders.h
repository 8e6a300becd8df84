// Folders that stay: made with their parents, and each new name brought to disk.
#pragma once

#include <filesystem>
#include <system_error>

namespace nibble {

// As std::filesystem::create_directories, and then fsync of the folder that holds each new one: without it a power cut may
// take the whole new folder with all that was synced in it. A parent that may not be opened is left to the file system.
void make_folders(const std::filesystem::path& folder, std::error_code& error);

}  // namespace nibble
