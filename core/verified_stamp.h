// A note beside a large file that all of its checksums were right, so that the next process need not read every byte again.
//
// It holds what the file system says of the file: size, inode, and the times of the last change of its bytes and of itself, to
// the nanosecond. No write leaves the last of these as it was, whatever a program does to the other times; what goes unnoticed
// is a disk that returns other bytes than were written. Times of a file system have a tick, so a file that changed shortly
// before the note was written is not vouched for (git calls such entries racily clean): it is read once more.
#pragma once

#include <filesystem>
#include <string>

namespace nibble {

// What the file system says of the file; "" where it says nothing. To be taken before the bytes are looked at.
std::string file_identity(const std::filesystem::path& file);

// Whether the note beside the file vouches for the file as it is now.
bool is_vouched_for(const std::filesystem::path& file);

// Writes the note for a file whose bytes were right while its identity was this. A folder that is not ours to write is no error.
void vouch_for(const std::filesystem::path& file, const std::string& identity);

std::filesystem::path stamp_path(const std::filesystem::path& file);  // NAME.verified

}  // namespace nibble
