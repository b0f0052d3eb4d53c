#!/usr/bin/env bash
# Check the project on a GPU (core), then measure it (speed): one command, one JSON file for each, nothing fetched.
#
#   benchmarks/gpu.sh core  [--out FOLDER] [--tiny] [--wheels FOLDER] [--parts PART...] [--seconds N]
#   benchmarks/gpu.sh speed [...]
#
# Needs Python 3.11 or 3.12 with torch >= 2.6, torchvision, lightning, timm, einops, transformers, peft, opencv, pandas,
# pyarrow, safetensors, scipy and pytest; the packages themselves need not be installed. --wheels names a folder that
# tools/gpu_wheels.sh has filled: of its wheels, those of distributions that this Python lacks are used. A part that
# lacks a module all the same is left out and says so. PYTHON chooses the interpreter; REVISION names the commit where the
# copy has no git folder.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${PYTHON:-python3}"
wheels=""
arguments=()
while (($#)); do
  case "$1" in
    --wheels)
      wheels="${2:?--wheels needs a folder}"
      shift 2
      ;;
    *)
      arguments+=("$1")
      shift
      ;;
  esac
done

path=""
for source in "$root"/packages/*/src "$root"/apps/*/src; do path+="$source:"; done
if [[ -n "$wheels" ]]; then
  site="$(mktemp -d)"
  trap 'rm -rf "$site"' EXIT
  "$python" "$root/benchmarks/gpu/wheels.py" "$wheels" "$site"
  path+="$site:"
fi
export PYTHONPATH="$path${PYTHONPATH:-}"
if ! "$python" -c 'import torch'; then
  echo "gpu.sh: $python has no torch: choose another interpreter by PYTHON=.venv/bin/python" >&2
  exit 1
fi
# Without a network: what is missing is told, not fetched.
export HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
threads="$(nproc)"
for argument in "${arguments[@]}"; do
  # Tiny work in several threads waits for them more than it gains, where others use the cores too.
  if [[ "$argument" == --tiny ]]; then threads=1; fi
done
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$threads}"
"$python" "$root/benchmarks/gpu" "${arguments[@]}"
