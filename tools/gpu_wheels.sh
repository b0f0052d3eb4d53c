#!/usr/bin/env bash
# Collect, where there is a network, what benchmarks/gpu.sh needs beside a usual PyTorch installation: a few small wheels
# in the lock's versions, to be carried to a machine with a GPU.
#
#   tools/gpu_wheels.sh [--python-version 3.12] FOLDER        then, there: benchmarks/gpu.sh core --wheels FOLDER
#
# They are for Linux on x86-64. PIP chooses the pip, whose own settings say where it looks.
set -euo pipefail

# What the packages import and PyTorch machines mostly lack, and what those need themselves.
names=(
  open-clip-torch ftfy regex wcwidth tqdm filelock
  segment-anything
  pytorch-metric-learning
  jsonargparse docstring-parser typeshed-client
  lazy-loader packaging
  rich markdown-it-py mdurl pygments
)
most_mib=60

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
version=3.12
folder=""
while (($#)); do
  case "$1" in
    --python-version)
      version="${2:?--python-version needs a version, such as 3.12}"
      shift 2
      ;;
    *)
      folder="$1"
      shift
      ;;
  esac
done
if [[ -z "$folder" ]]; then
  echo "usage: tools/gpu_wheels.sh [--python-version 3.12] FOLDER" >&2
  exit 2
fi

pins=()
for name in "${names[@]}"; do
  # A distribution may be pinned once for each range of Python versions: the last one is the newest Python's.
  pin="$(grep -oE "^$name==[^ ;\\]+" "$root/requirements.lock" | tail -1 || true)"
  if [[ -z "$pin" ]]; then
    echo "requirements.lock has no $name" >&2
    exit 1
  fi
  pins+=("$pin")
done

platforms=()
for tag in manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014 manylinux1; do
  platforms+=(--platform "${tag}_x86_64")
done
mkdir -p "$folder"
# shellcheck disable=SC2086 # PIP may be several words
${PIP:-python3 -m pip} download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
  --python-version "$version" --implementation cp "${platforms[@]}" --dest "$folder" "${pins[@]}"

mib=$(($(cat "$folder"/*.whl | wc -c) / 1024 / 1024))
echo "$folder: $(ls "$folder"/*.whl | wc -l) wheels, $mib MiB"
if ((mib > most_mib)); then
  echo "more than $most_mib MiB: too much to carry" >&2
  exit 1
fi
