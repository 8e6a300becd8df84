#!/usr/bin/env bash
# Kills the built binary, fails its disk and cuts its power at every point of short runs, and continues: all workloads, all
# faults, every operation (tests/faults). CI runs a share of it (ctest -R '^faults\.'); all of it is about 8,000
# trials of two runs each.
#
#   scripts/faults.sh                              everything
#   scripts/faults.sh --stride 10                  every tenth point
#   scripts/faults.sh --workload train --mode kill one of each; may be repeated
#   scripts/faults.sh --workload train --mode eio --point 57 --keep /tmp/kept   one point, its folder kept where it failed
#
# The last line is the count. Exit code 0 where all passed. NIBBLE_BUILD: another build folder than build/release.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case "${1:-}" in -h|--help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 0 ;; esac
sweep=${NIBBLE_BUILD:-build/release}/bin/fault_sweep
[ -x "$sweep" ] || { echo "faults.sh: $sweep is not there: cmake --workflow --preset release builds it" >&2; exit 2; }
exec "$sweep" "$@"
