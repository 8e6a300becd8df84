#include "core/amx.h"

#if defined(__x86_64__) && defined(__linux__)

#include <cpuid.h>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace nibble {
namespace {

constexpr long kRequestPermission = 0x1023;  // arch_prctl's ARCH_REQ_XCOMP_PERM
constexpr long kTileData = 18;               // the XSAVE component that holds the tiles

bool asked_of_the_system() { return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0; }

// The user's limit on oneDNN's instruction sets: those with AMX are named so.
bool allowed_by_user() {
  const char* limit = std::getenv("ONEDNN_MAX_CPU_ISA");
  if (limit == nullptr) return true;
  const std::string_view name = limit;
  if (name == kOneDnnWithoutAmx && !amx_claim().palettes) return true;
  return name.empty() || name == "DEFAULT" || name == "ALL" || name == "default" || name == "all" ||
         name.find("AMX") != std::string_view::npos || name.find("amx") != std::string_view::npos;
}

sigjmp_buf no_such_instruction;

// One product of tiles of ones and halves. -> whether it is right
__attribute__((target("amx-tile,amx-bf16"))) bool multiply_tiles() {
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64};
    uint8_t rows[16] = {16, 16, 16};
  } config;
  alignas(64) uint16_t ones[512], halves[512];
  alignas(64) float sums[256] = {};
  for (uint16_t& x : ones) x = 0x3F80;
  for (uint16_t& x : halves) x = 0x3F00;
  asm volatile("" : : "r"(&config), "r"(ones), "r"(halves) : "memory");  // GCC's intrinsics do not say all that they read
  _tile_loadconfig(&config);
  _tile_zero(0);
  _tile_loadd(1, ones, 64);
  _tile_loadd(2, halves, 64);
  _tile_dpbf16ps(0, 1, 2);
  _tile_stored(0, sums, 64);
  _tile_release();
  for (const float sum : sums) {
    if (sum != 16.0f) return false;
  }
  return true;
}

bool tried() {
  struct sigaction mine = {}, before = {};
  mine.sa_handler = [](int) { siglongjmp(no_such_instruction, 1); };
  sigemptyset(&mine.sa_mask);
  if (::sigaction(SIGILL, &mine, &before) != 0) return false;
  const bool works = sigsetjmp(no_such_instruction, 1) == 0 && multiply_tiles();
  ::sigaction(SIGILL, &before, nullptr);
  return works;
}

}  // namespace

AmxClaim amx_claim() {
  constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kBf16) == 0 || (d & kTile) == 0) return {};
  return {true, __get_cpuid_count(0x1D, 0, &a, &b, &c, &d) != 0 && a > 0};
}

bool amx_bf16_usable() {
  static const bool usable = amx_claim().instructions && allowed_by_user() && asked_of_the_system() && tried();
  return usable;
}

}  // namespace nibble

#else

namespace nibble {
AmxClaim amx_claim() { return {}; }
bool amx_bf16_usable() { return false; }
}  // namespace nibble

#endif
