#!/usr/bin/env bash
# Everything that only a GPU can show, in one command; results as JSON in OUT. Well within ten minutes; --quick two.
#
#   scripts/gpu_check.sh OUT                        sets up, builds the preset cuda, and checks it
#   scripts/gpu_check.sh OUT --build DIR            uses what was built or installed in DIR; needs no network and no compiler
#
#   --quick                     fewer steps and rounds, no race checks, one ballast size
#   --only PART,...             some parts only; see below
#   --model FOLDER_OR_GGUF      trained in the parts curve and ballast (default: the SmolLM2 file that setup installed)
#   --library-path DIR          where LibTorch's libraries are, for a DIR whose own are not with it
#   --ballast GIB,...           free device memory to try (default 6,8,12,16,24)
#   --peer-script FILE --data FILE [--peer-python PYTHON] [--peer-model FOLDER]
#                               runs bench/compare_peer.py, nibble and the Python peer taking turns
#
# Parts, each a file OUT/PART.json with status passed, failed or skipped, a reason, seconds and results:
#   environment   card, driver, versions, what `nibble doctor` says
#   tests         the kernels' tests with the GPU in the emulator's place (tests/device), and tests for a GPU alone, with
#                 NIBBLE_REQUIRE_GPU=1: a skipped test is a failed one
#   sanitizer     compute-sanitizer on the same tests
#   kernels       bench_gpu: GB/s of every launch line against a copy; milliseconds and launches of optimizer steps
#   curve         50 training steps on cuda against the same steps on the CPU
#   graphs        tokens/s with cuda_graphs against without, taking turns
#   ballast       training with as much memory as smaller cards have
#   peer          side by side with transformers, PEFT and bitsandbytes
# OUT/summary.json lists them. Exit code: 0, 1 where a part failed, 2 usage, 3 where there is no GPU.
#
# For a machine without compilers: configure with -DNIBBLE_BENCH=ON, then
#   cmake --install build/cuda --prefix DIR && cmake --install build/cuda --prefix DIR --component gpu_check
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
case "${1:-}" in
  -h|--help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
  ''|-*) echo "gpu_check.sh: first the folder for the results (--help says more)" >&2; exit 2 ;;
esac
given=no
for argument in "$@"; do
  case "$argument" in --build|--build=*) given=yes ;; esac
done
if [ $given = no ]; then
  (cd "$root" && scripts/setup.sh && cmake --workflow --preset cuda) >&2
  set -- "$@" --build "$root/build/cuda"
fi
exec python3 "$root/scripts/gpu_check.py" "$@"
