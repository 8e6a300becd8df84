// One function compiled for several instruction sets: plain C++ loops over independent lanes, from which the compiler
// makes a version for each set; the loader picks one. -ffp-contract=off is global, so that no version contracts a*b+c
// and all of them give the same bits.
#pragma once

// A sanitizer's calls stand in what picks a version too, which the loader runs before it has found the sanitizer.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define NIBBLE_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define NIBBLE_CLONES
#endif
#define NIBBLE_INLINE inline __attribute__((always_inline))
