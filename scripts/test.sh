#!/usr/bin/env bash
# Sets up, builds the release preset and runs the tests. The last lines are the summary.
#
#   scripts/test.sh                    everything that this machine can run
#   scripts/test.sh --peer             also the checks against transformers and PEFT (label e2e), installing them
#   scripts/test.sh -L meta            arguments that are not ours go to ctest (-L, -LE, -R, ...)
#   scripts/test.sh --preset asan      another preset of CMakePresets.json
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset=release
setup=()
ctest_arguments=()
while [ $# -gt 0 ]; do
  case "$1" in
    --peer) setup=(--peer) ;;
    --preset) [ $# -ge 2 ] || { echo "test.sh: --preset needs a name" >&2; exit 2; }
              preset=$2; shift ;;
    -h|--help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    *) ctest_arguments+=("$1") ;;
  esac
  shift
done

scripts/setup.sh ${setup[@]+"${setup[@]}"}
cmake --workflow --preset "$preset"
# As many side by side as there are cores; what measures rates has the machine to itself (tests/serial.cmake).
jobs=$(nproc)
# What needs a GPU runs where one must be there (NIBBLE_REQUIRE_GPU=1, as scripts/gpu_check.sh sets it), and nowhere else.
without=(-LE '^gpu$')
# ctest leaves out only what all its -LE match.
if [ -n "${NIBBLE_REQUIRE_GPU:-}" ] || [[ " ${ctest_arguments[*]-} " == *" -LE "* ]]; then without=(); fi
ctest --preset "$preset" --parallel "$jobs" --no-tests=error ${without[@]+"${without[@]}"} \
      ${ctest_arguments[@]+"${ctest_arguments[@]}"}
