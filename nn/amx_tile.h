// Tiles of Intel AMX: 16 rows of 64 bytes. A product of bf16 tiles is C [16, 16] fp32 += A [16, 32] B [32, 16], with A's rows as
// they lie and B's rows in pairs: dword (p, n) of B holds B[2p, n] and B[2p + 1, n]. Included only by kernels; who calls them
// has asked amx_bf16_usable() (core/amx.h).
//
// NUMERICS Products are exact, sums fp32, denormals count as zero.
#pragma once

#if defined(__x86_64__)

#include <immintrin.h>

#include <cstdint>

#define NIBBLE_AMX __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#define NIBBLE_AMX_INLINE NIBBLE_AMX __attribute__((always_inline)) static inline

namespace nibble::nn {

inline constexpr int64_t kAmxRows = 16;     // of a tile
inline constexpr int64_t kAmxSummed = 32;   // bf16 values along the summed axis of a tile of A
inline constexpr int64_t kAmxColumns = 16;  // of a tile of B and of C
inline constexpr int64_t kBlock = 2 * kAmxRows;  // rows and columns of a block of 2 x 2 tiles, also what attention sums at a step

// GCC's tile loads do not say that they read memory: what was stored for them must be stored by now.
NIBBLE_AMX_INLINE void before_tile_loads() { asm volatile("" ::: "memory"); }

// The calling thread's eight tiles while this lives: 16 rows of 64 bytes each, or what the arguments make of them. What was
// configured before comes back: oneDNN, whose kernels run on the same threads, remembers what it configured.
class AmxTiles {
 public:
  // Blocks of 2 x 2 tiles: sums in tiles 0 to 3, A in 4 (with 0 and 1) and 5 (with 2 and 3), B in 6 and 7.
  // REQUIRES 1 to 16 rows above and below; an even `summed` of at most 32.
  NIBBLE_AMX explicit AmxTiles(int64_t rows_above = kAmxRows, int64_t rows_below = kAmxRows, int64_t summed = kAmxSummed) {
    in_memory(before_);
    _tile_storeconfig(&before_);
    in_memory(before_);
    Config config;
    config.palette = 1;
    for (int i = 0; i < 8; ++i) {
      const bool is_a = i == 4 || i == 5, is_b = i >= 6, above = i == 0 || i == 1 || i == 4;
      config.row_bytes[i] = static_cast<uint16_t>(is_a ? 2 * summed : 64);
      config.rows[i] = static_cast<uint8_t>(is_b ? summed / 2 : above ? rows_above : rows_below);
    }
    in_memory(config);
    _tile_loadconfig(&config);
  }
  NIBBLE_AMX ~AmxTiles() {
    if (before_.palette != 0) {
      _tile_loadconfig(&before_);
    } else {
      _tile_release();
    }
  }
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;

 private:
  struct alignas(64) Config {
    uint8_t palette = 0, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
  };
  // GCC's intrinsics claim only the first 8 of a configuration's 64 bytes: the compiler would drop or move stores of the others.
  static void in_memory(Config& config) { asm volatile("" : : "r"(&config) : "memory"); }

  Config before_;
};

// What a block of 2 x 2 tiles is the sum of: products of two tiles of A, rows `above` and `below`, and two of B, columns `left` and
// `right`. Rows lie row_bytes apart, and the next tiles along the summed axis step_bytes further on.
struct AmxLeftTiles {
  const void *above, *below;
  int64_t row_bytes, step_bytes;
};
struct AmxRightTiles {
  const void *left, *right;
  int64_t row_bytes, step_bytes;
};

// to = from + A B, from nullptr: zeros. SHAPES from and to [32, 32], rows sums_row floats apart. kNarrow: the left half only, the right
// one is whatever. REQUIRES AmxTiles of the calling thread.
template <bool kNarrow>
NIBBLE_AMX_INLINE void sum_block(const float* from, float* to, int64_t sums_row, const AmxLeftTiles& a, const AmxRightTiles& b, int64_t steps) {
  const int64_t sums_bytes = 4 * sums_row, sums_below = kAmxRows * sums_row;
  before_tile_loads();
  if (from == nullptr) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, from, sums_bytes);
    _tile_loadd(1, from + kAmxColumns, sums_bytes);
    _tile_loadd(2, from + sums_below, sums_bytes);
    _tile_loadd(3, from + sums_below + kAmxColumns, sums_bytes);
  }
  const auto *above = static_cast<const char*>(a.above), *below = static_cast<const char*>(a.below);
  const auto *left = static_cast<const char*>(b.left), *right = static_cast<const char*>(b.right);
  for (int64_t step = 0; step < steps; ++step) {
    _tile_loadd(6, left, b.row_bytes);
    if constexpr (!kNarrow) _tile_loadd(7, right, b.row_bytes);
    _tile_loadd(4, above, a.row_bytes);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (!kNarrow) _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, below, a.row_bytes);
    _tile_dpbf16ps(2, 5, 6);
    if constexpr (!kNarrow) _tile_dpbf16ps(3, 5, 7);
    above += a.step_bytes;
    below += a.step_bytes;
    left += b.step_bytes;
    right += b.step_bytes;
  }
  _tile_stored(0, to, sums_bytes);
  _tile_stored(1, to + kAmxColumns, sums_bytes);
  _tile_stored(2, to + sums_below, sums_bytes);
  _tile_stored(3, to + sums_below + kAmxColumns, sums_bytes);
}

}  // namespace nibble::nn

#endif  // __x86_64__
