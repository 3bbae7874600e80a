#!/usr/bin/env bash
# The documents: generated pages are up to date, links lead somewhere, the README is short.
#   checks/docs.sh            checks
#   checks/docs.sh --write    writes the pages that the program generates
# nix/docs/reference-options.md is compared and written by checks/nix-language.sh.
set -euo pipefail
jail=$(realpath -m "${JAIL:-${CARGO_TARGET_DIR:-$(dirname "$0")/../rust/target}/release/jail}")
cd "$(dirname "$0")/.."
failed=0

main() {
  [ -x "$jail" ] || { echo "there is no $jail; build it first: cargo build --release --manifest-path rust/Cargo.toml"; exit 1; }
  local page
  for page in command-line denials; do reference "$page" "${1:-}"; done
  python3 checks/links.py || failed=1
  [ "$(wc -l <README.md)" -le 150 ] || { echo "FAILED: README.md has more than 150 lines: move details to nix/docs"; failed=1; }
  exit "$failed"
}

# The pages of Linux: on macOS the program has fewer commands.
reference() {
  local file=nix/docs/reference-$1.md text
  [ "$(uname -s)" = Linux ] || return 0
  if [ "$2" = --write ]; then
    text=$("$jail" __reference "$1")
    printf '%s\n' "$text" >"$file"
  elif ! "$jail" __reference "$1" | diff "$file" -; then
    echo "FAILED: $file is out of date: run bash checks/docs.sh --write"
    failed=1
  fi
}

main "$@"
