#!/usr/bin/env bash
# Fuzzes what reads foreign bytes, with libFuzzer under the address and undefined-behaviour sanitizers.
#
#   scripts/fuzz.sh                     every target, 150 seconds each, as many at a time as there are cores
#   scripts/fuzz.sh --seconds 600 rows  one target, longer
#   scripts/fuzz.sh --jobs 4            four at a time
#
# Every build of the tests tries the same targets on their seeds and on damaged copies of them for 3 seconds each, without clang
# (ctest -R fuzz; tests/fuzz/replay.cpp): that is CI's part. This script is the long run.
#
# Needs clang with its run-time libraries (Debian: clang libclang-rt-14-dev) beside what scripts/setup.sh installs. Seeds are
# tests/fuzz/corpus/<target>; what a run finds on its way is kept in build/fuzz/corpus/<target>, so that the next one
# goes on from there. A finding is left as build/fuzz/<target>-{crash,leak,timeout,oom}-*: it becomes a seed with its mend.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=150
jobs=$(nproc)
targets=()
while [ $# -gt 0 ]; do
  case "$1" in
    --seconds) [ $# -ge 2 ] || { echo "fuzz.sh: --seconds needs a number" >&2; exit 2; }
               seconds=$2; shift ;;
    --jobs) [ $# -ge 2 ] || { echo "fuzz.sh: --jobs needs a number" >&2; exit 2; }
            jobs=$2; shift ;;
    -h|--help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    -*) echo "fuzz.sh: unknown option '$1' (known: --seconds, --jobs)" >&2; exit 2 ;;
    *) targets+=("$1") ;;
  esac
  shift
done
command -v clang++ > /dev/null || { echo "fuzz.sh: clang++ is not here; on Debian: apt-get install clang libclang-rt-14-dev" >&2; exit 2; }

if [ ${#targets[@]} -eq 0 ]; then
  for source in tests/fuzz/*_fuzz.cpp; do name=${source##*/}; targets+=("${name%_fuzz.cpp}"); done
fi
CC=clang CXX=clang++ cmake --preset fuzz > /dev/null
cmake --build --preset fuzz --target $(printf '%s_fuzz ' "${targets[@]}")

fuzz_one() {
  local target=$1 kept=build/fuzz/corpus/$1 log=build/fuzz/$1.log
  mkdir -p "$kept"
  # 30 s for one input counts as a hang, 2 GiB as memory without end.
  if "build/fuzz/bin/${target}_fuzz" -max_total_time="$seconds" -timeout=30 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 \
       -artifact_prefix="build/fuzz/$target-" "$kept" "tests/fuzz/corpus/$target" > "$log" 2>&1; then
    echo "$target: nothing found in $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") runs"
  else
    echo "$target: FOUND something; the end of $log:"; tail -25 "$log"; return 1
  fi
}
export -f fuzz_one
export seconds
printf '%s\n' "${targets[@]}" | xargs -P "$jobs" -I{} bash -c 'fuzz_one {}'
