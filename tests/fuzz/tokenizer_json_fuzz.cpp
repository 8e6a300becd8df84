// tokenizer.json is what a stranger wrote: whatever its bytes, the loader refuses it by name or gives a tokenizer that
// encodes and decodes.
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "core/error.h"
#include "data/tokenizer.h"

namespace {

// The loader reads files. One folder a process, in memory where the system has such a place.
const std::filesystem::path& folder() {
  static const std::filesystem::path path = [] {
    const bool shared_memory = std::filesystem::is_directory("/dev/shm");
    std::filesystem::path made = (shared_memory ? std::filesystem::path("/dev/shm") : std::filesystem::temp_directory_path()) /
                                 ("nibble_fuzz_tokenizer_" + std::to_string(getpid()));
    std::filesystem::create_directories(made);
    return made;
  }();
  return path;
}

struct RemoveFolder {
  ~RemoveFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(folder(), ignored);
  }
} remove_at_exit;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  {
    std::ofstream out(folder() / "tokenizer.json", std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(bytes), static_cast<std::streamsize>(size));
  }
  try {
    const auto tokenizer = nibble::data::Tokenizer::from_folder(folder());
    const std::string_view tail(reinterpret_cast<const char*>(bytes) + size - std::min<size_t>(size, 200), std::min<size_t>(size, 200));
    for (const std::string_view text : {std::string_view("The 12 boats,\n\tat  noon: caf\xC3\xA9 \xF0\x9F\x9A\xA2 don't."), tail}) {
      const auto ids = tokenizer.encode(text, /*add_special_tokens=*/true);
      tokenizer.decode(ids, /*skip_special_tokens=*/false);
    }
  } catch (const nibble::Error&) {
  }
  return 0;
}
