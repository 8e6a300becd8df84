#include "tests/emulator/symbols.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <fmt/format.h>
#include <link.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <vector>

namespace nibble::emulator {
namespace {

std::vector<char> read_bytes(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// offset in the library -> mangled name, functions only. The library is our own build's, so its tables are sound.
std::map<uintptr_t, std::string> function_symbols(const char* path) {
  const std::vector<char> file = read_bytes(path);
  std::map<uintptr_t, std::string> names;
  if (file.size() < sizeof(Elf64_Ehdr)) return names;
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(file.data());
  const auto* sections = reinterpret_cast<const Elf64_Shdr*>(file.data() + header->e_shoff);
  for (int i = 0; i < header->e_shnum; ++i) {
    if (sections[i].sh_type != SHT_SYMTAB) continue;
    const auto* symbols = reinterpret_cast<const Elf64_Sym*>(file.data() + sections[i].sh_offset);
    const char* strings = file.data() + sections[sections[i].sh_link].sh_offset;
    for (size_t k = 0; k < sections[i].sh_size / sizeof(Elf64_Sym); ++k) {
      if (ELF64_ST_TYPE(symbols[k].st_info) == STT_FUNC) names[symbols[k].st_value] = strings + symbols[k].st_name;
    }
  }
  return names;
}

std::string demangled(const std::string& mangled) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status),
                                                         &std::free);
  return status == 0 ? text.get() : mangled;
}

// "void nibble::quant::(anonymous namespace)::f_kernel<true, float>(int*)" -> "f_kernel<true, float>"
std::string short_name(std::string name) {
  int depth = 0;
  size_t end = name.size();
  for (size_t i = name.size(); i-- > 0;) {  // the parameter list is the last pair of parentheses at the outermost level
    if (name[i] == ')') ++depth;
    if (name[i] == '(' && --depth == 0) {
      end = i;
      break;
    }
  }
  name.resize(end);
  depth = 0;
  size_t begin = 0;
  for (size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '<' || name[i] == '(') ++depth;
    if (name[i] == '>' || name[i] == ')') --depth;
    if (depth == 0 && (name[i] == ':' || name[i] == ' ')) begin = i + 1;
  }
  return name.substr(begin);
}

struct Search {
  uintptr_t base;
  SharedMemory found;
};

int look_for_storage(dl_phdr_info* info, size_t, void* data) {
  auto* search = static_cast<Search*>(data);
  if (info->dlpi_addr != search->base) return 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    if (info->dlpi_phdr[i].p_type != PT_TLS || info->dlpi_tls_data == nullptr) continue;
    search->found = {static_cast<std::byte*>(info->dlpi_tls_data), info->dlpi_phdr[i].p_memsz};
  }
  return 1;
}

}  // namespace

std::string kernel_name(const void* kernel) {
  static std::map<std::string, std::map<uintptr_t, std::string>> tables;  // by the library's path
  static std::map<const void*, std::string> names;
  if (const auto known = names.find(kernel); known != names.end()) return known->second;
  Dl_info library{};
  if (dladdr(kernel, &library) == 0) return fmt::format("kernel at {}", kernel);
  auto& table = tables[library.dli_fname];
  if (table.empty()) table = function_symbols(library.dli_fname);
  const uintptr_t offset = reinterpret_cast<uintptr_t>(kernel) - reinterpret_cast<uintptr_t>(library.dli_fbase);
  const auto symbol = table.find(offset);
  return names[kernel] = symbol == table.end() ? fmt::format("kernel at +{:#x}", offset) : short_name(demangled(symbol->second));
}

SharedMemory shared_memory(const void* kernel) {
  Dl_info library{};
  if (dladdr(kernel, &library) == 0) return {};
  Search search{reinterpret_cast<uintptr_t>(library.dli_fbase), {}};
  dl_iterate_phdr(look_for_storage, &search);
  return search.found;
}

}  // namespace nibble::emulator
