// libFuzzer target: any bytes as a safetensors file, and as the header and data of one whose length is made right, so that the
// fuzzer gets to the header's JSON. What is accepted covers its file exactly, tensor by tensor.
//
// Units: io/safetensors schema/json_text
#include "io/safetensors.h"

#include "core/error.h"
#include "tests/fuzz/fuzz_folder.h"

namespace {

using namespace nibble;

void read(std::string_view bytes) {
  try {
    const io::SafetensorsFile file(fuzz::folder().put("model.safetensors", bytes));
    int64_t next = 8 + static_cast<int64_t>(file.header().size());
    unsigned sum = 0;
    for (const io::SafetensorsEntry& entry : file.entries()) {
      fuzz::require(entry.begin == next && entry.bytes == io::checked_bytes(entry.shape, entry.dtype));
      next += entry.bytes;
      for (const std::byte b : file.bytes(entry)) sum += std::to_integer<unsigned>(b);
      fuzz::require(file.find(entry.name) == &entry);
    }
    fuzz::require(next == file.size() && sum < 256 * bytes.size());
  } catch (const FormatError& error) {
    fuzz::require(!error.place().file.empty());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  std::string_view rest = nibble::fuzz::text_of(bytes, size);
  read(rest);
  const std::string_view header = nibble::fuzz::take_part(rest);
  read(nibble::fuzz::safetensors_of(header, rest));
  return 0;
}
