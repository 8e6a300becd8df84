#!/bin/sh
# compile_cuda.sh LOG NVCC ARGUMENTS...  runs nvcc with its output in LOG, shown only where it fails.
log=$1
shift
if ! "$@" > "$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
