#include "optim/moment8_tables.h"

#include "quant/blockwise_simd.h"

namespace nibble::optim {
namespace {

constexpr MomentCodes codes_of(const std::array<float, 256>& map) {
  MomentCodes codes{};
  const std::array<float, 256> tree = quant::threshold_tree(quant::dynamic_thresholds(map));
  for (size_t i = 0; i < 256; ++i) {
    codes.map[i] = map[i];
    codes.tree[i] = tree[i];
  }
  return codes;
}

alignas(64) constexpr MomentTables kTables{codes_of(quant::kDynamicMapSigned), codes_of(quant::kDynamicMapUnsigned)};
static_assert(kTables.m.map[kSignedZeroCode] == 0.0f && kTables.m.map[kSignedZeroCode - 1] < 0.0f);

}  // namespace

const MomentTables& moment_tables() { return kTables; }

}  // namespace nibble::optim
