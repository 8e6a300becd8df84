#!/usr/bin/env bash
# Runs what has threads of its own under the thread sanitizer: ordered workers, preparing and caching data, tokenizers shared by
# threads, weights loaded by several threads, the feed of a streamed base, saving in the background.
#
#   scripts/tsan.sh            builds preset tsan's tests of those layers (20 minutes on two cores) and runs their suites
#   scripts/tsan.sh core data  those layers only
#
# LibTorch and its OpenMP runtime are not instrumented: loops inside them run on one thread here (OMP_NUM_THREADS=1), and what is
# reported of their own code is left out (tests/support/tsan.supp).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case "${1:-}" in -h|--help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 0 ;; esac
layers=("$@")
[ ${#layers[@]} -gt 0 ] || layers=(core data nn io trainer)

declare -A suites=(
  [core]='OrderedWorkers*:FileLock*:MemoryAccount*:*Mapping*:ExpectUnchanged*'
  [data]='DataCache*:LoadDataset*:RowStream*:Tokenizer*'
  [nn]='MappedFeed*'
  [io]='MakeConcurrently*:LoadModel*:PackedCache*:StreamFromFiles*'
  [trainer]='PassTeam*:*CheckpointWriter*'
)
targets=()
for layer in "${layers[@]}"; do
  [ -n "${suites[$layer]:-}" ] || { echo "tsan.sh: layer '$layer' has no threads (known: ${!suites[*]})" >&2; exit 2; }
  targets+=("${layer}_tests")
done
cmake --preset tsan > /dev/null
cmake --build --preset tsan --target "${targets[@]}"
export OMP_NUM_THREADS=1 TSAN_OPTIONS="suppressions=$PWD/tests/support/tsan.supp halt_on_error=1 second_deadlock_stack=1"
for layer in "${layers[@]}"; do
  # Death tests fork, which the sanitizer does not follow; they run under the others.
  "build/tsan/bin/${layer}_tests" --gtest_filter="${suites[$layer]}:-ExitOnLostMapping*" --gtest_brief=1
done
