// Counter-based random numbers: every value is f(seed, purpose, step, index), so that resume, recompute and another
// number of threads give the same numbers. Philox4x32-10 (Salmon et al., SC'11, "Parallel random numbers: as easy as
// 1, 2, 3"), constants from the paper.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/host_device.h"

namespace nibble {

// What a stream of random numbers is for; part of the counter, so that two uses never share numbers.
// The values are stored nowhere but in the numbers they make: never renumber.
enum class RngPurpose : uint32_t { kAdapterInit = 1, kDropout = 2, kShuffle = 3, kSample = 4, kTest = 5, kSplit = 6, kFileWeight = 7 };

struct RngKey {
  uint64_t seed = 0;
  RngPurpose purpose = RngPurpose::kTest;
  uint64_t step = 0;    // training step, epoch, or a tensor's number
};

struct RandomBits {
  uint32_t word[4];
};

// Ten rounds of Philox4x32. For kernels as well, which know no std::array.
NIBBLE_HOST_DEVICE inline RandomBits philox_rounds(RandomBits counter, uint32_t key0, uint32_t key1) {
  constexpr uint32_t kM0 = 0xD2511F53u, kM1 = 0xCD9E8D57u, kW0 = 0x9E3779B9u, kW1 = 0xBB67AE85u;
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{kM0} * counter.word[0];
    const uint64_t p1 = uint64_t{kM1} * counter.word[2];
    counter = {{static_cast<uint32_t>(p1 >> 32) ^ counter.word[1] ^ key0, static_cast<uint32_t>(p1),
                static_cast<uint32_t>(p0 >> 32) ^ counter.word[3] ^ key1, static_cast<uint32_t>(p0)}};
    key0 += kW0;
    key1 += kW1;
  }
  return counter;
}

inline std::array<uint32_t, 4> philox4x32(const std::array<uint32_t, 4>& counter, const std::array<uint32_t, 2>& key) {
  const RandomBits bits = philox_rounds({{counter[0], counter[1], counter[2], counter[3]}}, key[0], key[1]);
  return {bits.word[0], bits.word[1], bits.word[2], bits.word[3]};
}

// Four 32-bit numbers for block index `index` of stream `key`. The purpose takes the top byte of the step word, so steps
// up to 2^24 * 2^32 blocks are distinct.
NIBBLE_HOST_DEVICE inline RandomBits random_bits(const RngKey& key, uint64_t index) {
  return philox_rounds({{static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), static_cast<uint32_t>(key.step),
                         (static_cast<uint32_t>(key.purpose) << 24) | static_cast<uint32_t>(key.step >> 32 & 0xFFFFFFu)}},
                       static_cast<uint32_t>(key.seed), static_cast<uint32_t>(key.seed >> 32));
}
inline std::array<uint32_t, 4> random_block(const RngKey& key, uint64_t index) {
  const RandomBits bits = random_bits(key, index);
  return {bits.word[0], bits.word[1], bits.word[2], bits.word[3]};
}

inline uint32_t random_u32(const RngKey& key, uint64_t index) { return random_block(key, index >> 2)[index & 3]; }
// In [0, 1), 24 bits.
inline float random_uniform(const RngKey& key, uint64_t index) {
  return static_cast<float>(random_u32(key, index) >> 8) * 0x1p-24f;
}
// In [0, n), n > 0, without bias worth speaking of: 64-bit fixed-point multiply.
inline uint64_t random_below(const RngKey& key, uint64_t index, uint64_t n) {
  const auto block = random_block(key, index);
  const uint64_t bits = uint64_t{block[0]} << 32 | block[1];
  return static_cast<uint64_t>(static_cast<unsigned __int128>(bits) * n >> 64);
}

// A permutation of 0..n-1 (Fisher-Yates).
std::vector<int64_t> random_permutation(const RngKey& key, int64_t n);

}  // namespace nibble
