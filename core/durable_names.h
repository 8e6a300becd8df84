// Names that stay: what a folder holds is on disk when the folder itself was synced, and not before.
#pragma once

#include <filesystem>
#include <system_error>

namespace nibble {

// Brings the names in a folder to disk: files made, renamed and removed. Nothing may build on such a change before, for a power cut
// may keep the later one of two and lose the earlier. A folder that may not be opened is left to the file system.
void sync_folder(const std::filesystem::path& folder, std::error_code& error);

// As std::filesystem::create_directories, and then sync_folder of the folder that holds each new one: without it a power cut
// may take the whole new folder with all that was synced in it.
void make_folders(const std::filesystem::path& folder, std::error_code& error);

}  // namespace nibble
