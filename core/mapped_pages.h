// Pages of a mapped file: bringing them into the process's memory before they are needed, and letting them go after.
//
// Bytes that are not there are read when they are touched, so both are about time and memory, never about what is read.
// What goes stays in the system's page cache for as long as nothing else needs the room.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace nibble {

// Reads the pages of `bytes` and maps them; returns when they are there, or could not be brought.
void bring_pages(std::span<const std::byte> bytes);

// Takes the pages of `bytes` out of the process's resident memory. REQUIRES bytes of a mapped file: private memory would
// come back as zeros.
void drop_pages(std::span<const std::byte> bytes);

// XXH3-128 of mapped bytes as 32 hex digits, whose pages go as it proceeds. REQUIRES as drop_pages.
std::string xxh3_128_passing(std::span<const std::byte> bytes);

}  // namespace nibble
