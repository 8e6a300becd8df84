// What happens to a mapped file from outside while it is read: one that another program cuts short ends the process with SIGBUS at
// the next touch, one that is overwritten in place gives other bytes without a word.
//
// Every MappedFile is entered here with its place and what it was when it was opened. The handler finds the file by the address
// that faulted, says so in one message and ends the process with the exit code of a damaged file. It takes no lock and allocates
// nothing; the entries are the one thing in the process that is global, because a signal has no other way to them.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>

#include "core/error.h"

struct stat;

namespace nibble {

// Of a MappedFile, and nobody else: enters what is mapped, and takes it out again before it is unmapped.
void enter_mapping(std::span<const std::byte> bytes, const std::string& path, const struct stat& opened);
void leave_mapping(std::span<const std::byte> bytes) noexcept;

// THROWS FormatError where the file that these bytes are mapped from was written to since it was opened, or has become shorter. A
// file that was replaced by another of its name is still mapped as it was. REQUIRES the bytes of a MappedFile.
void expect_unchanged(std::span<const std::byte> bytes);

// From now on, for what is mapped from now on: a file that has become shorter, or that its disk does not return, ends the process
// with `text` of the error on stderr and ExitCode::kDamagedFile. A SIGBUS of anything else ends it as before.
void exit_on_lost_mapping(std::function<std::string(const FormatError&)> text);

}  // namespace nibble
