#!/usr/bin/env bash
# Type-checks and lints the code for macOS: on a Mac with its own compiler, on any other machine with that of
# checks/cross.sh. Nothing is linked and nothing runs.
set -euo pipefail
cd "$(dirname "$0")/../.."

lints=(--manifest-path rust/Cargo.toml --workspace --all-targets --locked)
if [ "$(uname -s)" = Darwin ]; then
  cargo clippy "${lints[@]}" -- -D warnings
  exit
fi
export CARGO_TARGET_DIR=${NIX_JAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nix-jail-checks}/cross/target
for target in aarch64-apple-darwin x86_64-apple-darwin; do
  echo "== $target"
  bash checks/cross.sh clippy --target "$target" "${lints[@]}" -- -D warnings
done
