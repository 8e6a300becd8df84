// Whether this machine multiplies bf16 tiles (Intel AMX), found out by doing it.
//
// What a CPU says of itself is not enough: Linux gives tiles only to a process that asks for them, and hypervisors exist that
// announce AMX without its palettes (CPUID leaf 1DH), some of which run it and some of which do not.
#pragma once

namespace nibble {

// What CPUID says: AMX-TILE and AMX-BF16, and whether any palette is listed.
struct AmxClaim {
  bool instructions = false;
  bool palettes = false;
};
AmxClaim amx_claim();

// The limit that oneDNN is given where no palette is listed (tensor/onednn.h). A child process inherits it, so it says nothing of what
// the user wants.
inline constexpr char kOneDnnWithoutAmx[] = "AVX512_CORE_FP16";

// Whether tiles of bf16 can be multiplied here: asked of the system and tried, once, for the whole process. ONEDNN_MAX_CPU_ISA
// (oneDNN's own limit, as the user set it) counts here too. Call it before threads start that shall use tiles.
bool amx_bf16_usable();

}  // namespace nibble
