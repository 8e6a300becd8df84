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

// Whether tiles of bf16 can be multiplied here: asked of the system and tried, once, for the whole process. ONEDNN_MAX_CPU_ISA
// (oneDNN's own limit, as the user set it) counts here too. Call it before threads start that shall use tiles.
bool amx_bf16_usable();

}  // namespace nibble
