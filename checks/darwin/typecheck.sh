#!/usr/bin/env bash
# Type-checks and lints the code for macOS, on any machine that can have a compiler with the standard library's source:
#   - rustup's toolchain, where the targets are installed (`rustup target add aarch64-apple-darwin x86_64-apple-darwin`)
#   - Debian's rustc-web with its source, and zig as the C compiler, unpacked in the cache and not installed
#   - on a Mac, the compiler that is there
# Nothing is linked and nothing runs.
set -euo pipefail
cd "$(dirname "$0")/../.."

cache=${NIX_JAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nix-jail-checks}/darwin
targets=(aarch64-apple-darwin x86_64-apple-darwin)

main() {
  export CARGO_TARGET_DIR=$cache/target
  mkdir -p "$cache"
  if [ "$(uname -s)" = Darwin ]; then
    lint cargo
  elif rustup_has_targets && command -v zig cargo-zigbuild >/dev/null; then
    lint_each cargo-zigbuild
  else
    from_debian
    from_pypi
    export RUSTC_BOOTSTRAP=1
    lint_each cargo-zigbuild -Zbuild-std=std,panic_abort,test
  fi
}

lint_each() {
  local target
  for target in "${targets[@]}"; do
    echo "== $target"
    lint "$@" --target "$target"
  done
}

# lint CARGO FLAGS…
lint() {
  local cargo=$1
  shift
  "$cargo" clippy --manifest-path rust/Cargo.toml --workspace --all-targets --locked "$@" -- -D warnings
}

rustup_has_targets() {
  local target libraries
  libraries=$(rustc --print sysroot 2>/dev/null)/lib/rustlib || return 1
  for target in "${targets[@]}"; do
    [ -d "$libraries/$target" ] || return 1
  done
}

# The compiler, its lints and the source of its standard library, of one version.
from_debian() {
  local root=$cache/debian packages=(rustc-web cargo-web rust-web-clippy rust-web-src)
  if [ ! -e "$root/done" ]; then
    command -v apt-get dpkg >/dev/null || skip "no toolchain for macOS: neither rustup's targets nor Debian's rustc-web"
    rm -rf "$root" "$cache/debs"
    mkdir -p "$root" "$cache/debs/partial"
    if [ "$(id -u)" = 0 ]; then apt-get update -qq >/dev/null || true; fi
    apt-get -qq -y --no-install-recommends -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" \
      -o Dir::Cache::archives="$cache/debs/" --download-only install "${packages[@]}" >"$cache/apt.log" 2>&1 ||
      skip "Debian's rustc-web could not be downloaded: $(tail -n 1 "$cache/apt.log")"
    local package
    for package in "$cache"/debs/*.deb; do dpkg -x "$package" "$root"; done
    rm -rf "$cache/debs"
    LD_LIBRARY_PATH=$(libraries) "$root/usr/bin/rustc" --version || skip "Debian's rustc-web does not start here"
    touch "$root/done"
  fi
  export PATH=$root/usr/bin:$PATH RUSTC=$root/usr/bin/rustc CARGO=$root/usr/bin/cargo
  LD_LIBRARY_PATH=$(libraries)
  export LD_LIBRARY_PATH
}

libraries() {
  echo "$cache/debian/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo "$(uname -m)-linux-gnu")"
}

# zig compiles the C of the crypto and compression libraries; it brings macOS's headers.
from_pypi() {
  local venv=$cache/zig
  if [ ! -e "$venv/done" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv" >"$cache/pip.log" 2>&1 || skip "python3 -m venv does not work here (Debian: python3-venv)"
    "$venv/bin/pip" install --quiet 'ziglang~=0.17.0' 'cargo-zigbuild~=0.24.0' >"$cache/pip.log" 2>&1 ||
      skip "zig and cargo-zigbuild could not be had from the package index: $(tail -n 1 "$cache/pip.log")"
    touch "$venv/done"
  fi
  export PATH=$venv/bin:$PATH
}

skip() {
  echo "skipped: $*"
  exit 77
}

main
