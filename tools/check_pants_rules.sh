#!/usr/bin/env bash
# The dependency rules refuse what they should: in a copy of the repository a forbidden import is put into a member,
# and `./pants dependencies` has to fail over it, naming the rule.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
copy="$(mktemp -d)"
# One daemon for the four runs; Pants' pantsd takes ten seconds to start, each of the runs one.
export PANTS_PANTSD=true
finish() {
  for pid in "$copy"/.pids/*/pantsd/pid "$copy"/.pants.d/pids/*/pantsd/pid; do
    if [[ -f "$pid" ]]; then kill "$(cat "$pid")" 2>/dev/null || true; fi
  done
  sleep 1
  rm -rf "$copy"
}
trap finish EXIT
cd "$root"
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
  if [[ -e "$file" ]]; then printf '%s\0' "$file"; fi
done | tar --null -T - -cf - | tar -xf - -C "$copy"
cd "$copy"

refused() { # MEMBER FILE IMPORT WHAT: the import is an error
  local member="$1" file="$2" import="$3" what="$4" output
  cp "$file" "$copy/.original"
  printf 'import %s\n' "$import" >>"$file"
  if output="$(./pants dependencies "$member::" 2>&1)"; then
    echo "NOT refused: $what"
    echo "$output"
    exit 1
  fi
  if ! grep -q DependencyRuleActionDeniedError <<<"$output"; then
    echo "failed for another reason: $what"
    echo "$output"
    exit 1
  fi
  cp "$copy/.original" "$file"
  echo "refused, as it should be: $what"
}

refused packages/reid-denoise packages/reid-denoise/src/reid_denoise/__init__.py reid_eval "a package imports a package"
refused packages/reid-denoise packages/reid-denoise/src/reid_denoise/__init__.py cion "a package imports an app"
refused apps/cion apps/cion/src/cion/__init__.py vsla_clip "an app imports an app"
./pants dependencies packages:: apps:: >/dev/null
echo "every import of the repository as it stands is allowed"
