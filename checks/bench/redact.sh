#!/usr/bin/env bash
# Measures the redaction of response bodies in two versions of the source: bash checks/bench/redact.sh COMMIT
# Both versions are compiled into one program and measured alternately, so that other work of the machine hits both sides.
# A table shows the throughput for each kind of text. The exit code says only whether everything could be measured.
set -eu
cd "$(dirname "$0")/../.."
[ $# = 1 ] || { echo "usage: bash checks/bench/redact.sh COMMIT" >&2; exit 2; }
old=$(git rev-parse --verify --quiet "$1^{commit}") || { echo "no such commit: $1" >&2; exit 2; }

directory=$(mktemp -d)
# shellcheck disable=SC2064 # The directory's name is needed now, not later.
trap "rm -rf '$directory'" EXIT
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$directory/target}
mkdir -p "$directory/src/old" "$directory/src/new"
# The crate's root is a module there.
if git cat-file -e "$old:rust/redact" 2>/dev/null; then
  git archive "$old" rust/redact/src | tar -x -C "$directory"
  cp -R "$directory"/rust/redact/src/. "$directory/src/old"
  mv "$directory/src/old/lib.rs" "$directory/src/old/mod.rs"
else
  git archive "$old" rust/proxy/src/redact.rs rust/proxy/src/redact | tar -x -C "$directory"
  cp -R "$directory"/rust/proxy/src/redact/. "$directory/src/old"
  cp "$directory/rust/proxy/src/redact.rs" "$directory/src/old/mod.rs"
fi
cp -R rust/redact/src/. "$directory/src/new"
mv "$directory/src/new/lib.rs" "$directory/src/new/mod.rs"
cp checks/bench/redact/main.rs "$directory/src/main.rs"

# The versions and the settings of the product.
{
  printf '[package]\nname = "redact-bench"\nversion = "0.0.0"\nedition = "2024"\n\n[workspace]\n\n'
  sed -n '/^\[profile.release\]/,/^$/p' rust/Cargo.toml
  printf '[dependencies]\n'
  for crate in aho-corasick base64 brotli-decompressor bytes flate2 http http-body hyper memchr percent-encoding serde serde_json thiserror tracing zeroize zstd-safe; do
    sed -n "/^\[workspace.dependencies\]/,/^\[/p" rust/Cargo.toml | grep "^$crate = "
  done
} >"$directory/Cargo.toml"
cp rust/Cargo.lock "$directory/Cargo.lock"
cargo build --quiet --release --manifest-path "$directory/Cargo.toml"
"$CARGO_TARGET_DIR/release/redact-bench"
