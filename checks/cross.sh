#!/usr/bin/env bash
# cargo for a target that this machine's own toolchain may not have, with zig as the C compiler and the linker:
#   checks/cross.sh SUBCOMMAND --target TARGET… ARGUMENTS…
#   - rustup's toolchain, where the targets are installed (`rustup target add TARGET`) and zig and cargo-zigbuild are there
#   - otherwise Debian's rustc-web with the source of its standard library, and zig from PyPI, both unpacked in the cache
#     and not installed
# Exit code 77: there is no such toolchain to be had.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${NIX_JAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nix-jail-checks}/cross

main() {
  local subcommand=$1
  shift
  mkdir -p "$cache"
  if rustup_has_targets "$@" && command -v zig cargo-zigbuild >/dev/null; then
    exec cargo-zigbuild "$subcommand" "$@"
  fi
  from_debian
  from_pypi
  # Without rustup's targets musl's own start files are zig's.
  case " $* " in *-musl\ *) export RUSTFLAGS="${RUSTFLAGS:-} -C link-self-contained=no" ;; esac
  RUSTC_BOOTSTRAP=1 exec cargo-zigbuild "$subcommand" -Zbuild-std=std,panic_abort,test "$@"
}

rustup_has_targets() {
  local libraries
  libraries=$(rustc --print sysroot 2>/dev/null)/lib/rustlib || return 1
  while [ "$#" -gt 0 ]; do
    if [ "$1" = --target ]; then [ -d "$libraries/$2" ] || return 1; fi
    shift
  done
}

# The compiler, its lints and the source of its standard library, of one version.
from_debian() {
  local root=$cache/debian packages=(rustc-web cargo-web rust-web-clippy rust-web-src)
  if [ ! -e "$root/done" ]; then
    command -v apt-get dpkg >/dev/null || skip "no toolchain for other targets: neither rustup's targets nor Debian's rustc-web"
    rm -rf "$root" "$cache/debs"
    mkdir -p "$root" "$cache/debs/partial"
    if [ "$(id -u)" = 0 ]; then apt-get update -qq >/dev/null || true; fi
    apt-get -qq -y --no-install-recommends -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" \
      -o Dir::Cache::archives="$cache/debs/" --download-only install "${packages[@]}" >"$cache/apt.log" 2>&1 ||
      skip "Debian's rustc-web could not be downloaded: $(tail -n 1 "$cache/apt.log")"
    local package
    for package in "$cache"/debs/*.deb; do dpkg -x "$package" "$root"; done
    rm -rf "$cache/debs"
    LD_LIBRARY_PATH=$(libraries) "$root/usr/bin/rustc" --version >&2 || skip "Debian's rustc-web does not start here"
    touch "$root/done"
  fi
  export PATH=$root/usr/bin:$PATH RUSTC=$root/usr/bin/rustc CARGO=$root/usr/bin/cargo
  LD_LIBRARY_PATH=$(libraries)
  export LD_LIBRARY_PATH
}

libraries() {
  echo "$cache/debian/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo "$(uname -m)-linux-gnu")"
}

# zig compiles the C of the crypto and compression libraries; it brings the headers of every system.
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

main "$@"
