#!/usr/bin/env bash
# Verifies the static program: statically linked, small, and working (with name resolution) in an empty root.
# Exit code 77: it cannot run here, or a part of it cannot.
#   checks/static.sh                 builds it
#   checks/static.sh build           builds it, prints where it is, and no more
#   STATIC_JAIL=…/jail checks/static.sh
set -euo pipefail
cd "$(dirname "$0")/.."
most_bytes=12000000
cross=${NIX_JAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nix-jail-checks}/cross

main() {
  [ "$(uname -s)" = Linux ] || skip "static programs are for Linux"
  local program missing=()
  for program in ldd python3 readelf unshare; do
    command -v "$program" >/dev/null || skip "there is no $program (Debian: apt-get install binutils libc-bin python3 util-linux)"
  done
  jail=${STATIC_JAIL:-$(build)}
  test -x "$jail"
  place=$(mktemp -d)
  trap 'rm -rf "$place"' EXIT
  is_static
  is_small "$jail"
  works_alone
  finds_names
  asks_the_keychain
  other_architecture
  [ "${#missing[@]}" = 0 ] || skip "$(IFS=';'; echo "${missing[*]}"); all the rest has passed"
}

skip() {
  echo "skipped: $*"
  exit 77
}

# musl where its target is installed, glibc otherwise. Relative relocations are packed: they are a third of a megabyte.
build() {
  local target
  target=$(uname -m)-unknown-linux-musl
  [ -d "$(rustc --print target-libdir --target "$target")" ] || target=$(uname -m)-unknown-linux-gnu
  RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs" \
    cargo build --quiet --manifest-path rust/Cargo.toml --package nix-jail --no-default-features --features ring \
    --profile static --locked --target "$target" >&2
  realpath "${CARGO_TARGET_DIR:-rust/target}/$target/static/jail"
}

is_static() {
  if { readelf --program-headers "$jail"; readelf --dynamic "$jail"; } | grep -E 'INTERP|NEEDED'; then return 1; fi
  ldd "$jail" 2>&1 | grep -qE 'statically linked|not a dynamic executable'
  readelf --file-header "$jail" | grep -qE 'Type: +DYN'
  echo "static, and at another address each time"
}

is_small() {
  local bytes
  bytes=$(stat -c %s "$1")
  echo "$1: $bytes bytes (limit: $most_bytes)"
  [ "$bytes" -le "$most_bytes" ]
}

# Makes a root directory that contains only this program.
alone() {
  mkdir -p "$place/root"
  install -m 755 "$jail" "$place/root/jail"
  unshare --user --map-root-user --mount --pid --fork python3 checks/static/alone.py "$place/root" "$@"
}

works_alone() {
  alone /jail doctor >"$place/doctor" 2>&1 || { cat "$place/doctor"; false; }
  # The host needs a shell.
  "$jail" demo
  [ "$(alone /jail run --quiet --workspace none --host /jail -- /jail --version)" = "$(cd / && "$jail" --version)" ]
  echo "doctor and a job work in an empty root"
}

# Tests name resolution of the C library in a root without one: by /etc/hosts, and by the server of resolv.conf.
finds_names() {
  mkdir -p "$place/root/etc"
  echo "127.0.0.1 by-file.test" >"$place/root/etc/hosts"
  echo "nameserver 127.0.0.1" >"$place/root/etc/resolv.conf"
  # These two programs share a network namespace of their own.
  unshare --user --map-root-user --net bash checks/static/names.sh "$jail" "$place/root"
  echo "names are found"
}

asks_the_keychain() {
  local program
  for program in dbus-run-session gnome-keyring-daemon; do
    command -v "$program" >/dev/null || { missing+=("the keychain was not asked: there is no $program"); return; }
  done
  mkdir -m 700 "$place/run"
  # shellcheck disable=SC2016 # for the inner shell
  env -i PATH="$PATH" HOME="$place" XDG_RUNTIME_DIR="$place/run" timeout 60 dbus-run-session -- bash -c \
    'printf check | gnome-keyring-daemon --unlock --components=secrets >/dev/null && "$1" doctor' keychain "$jail" >"$place/keychain" 2>&1 || true
  grep 'the keychain answers' "$place/keychain" || { cat "$place/keychain"; return 1; }
}

# Built where this machine can have the compiler, and looked at; run where it has an emulator.
other_architecture() {
  local other program reason
  case $(uname -m) in x86_64) other=aarch64 ;; *) other=x86_64 ;; esac
  program=$cross/target/$other-unknown-linux-musl/static/jail
  if ! CARGO_TARGET_DIR=$cross/target RUSTFLAGS="-C target-feature=+crt-static" bash checks/cross.sh build \
    --target "$other-unknown-linux-musl" --quiet --manifest-path rust/Cargo.toml --package nix-jail \
    --no-default-features --features ring --profile static --locked >"$place/cross" 2>&1; then
    reason=$(sed -n 's/^skipped: //p' "$place/cross" | tail -n 1)
    [ -n "$reason" ] || { cat "$place/cross"; return 1; }
    missing+=("$other was not built: $reason")
    return
  fi
  if { readelf --program-headers "$program"; readelf --dynamic "$program"; } | grep -E 'INTERP|NEEDED'; then return 1; fi
  readelf --file-header "$program" | grep -qiE "Machine: +.*${other/_/-}"
  is_small "$program"
  if ! command -v "qemu-$other-static" >/dev/null; then
    missing+=("the program for $other did not run: there is no qemu-$other-static (Debian: apt-get install qemu-user-static)")
    return
  fi
  [ "$("qemu-$other-static" "$program" --version)" = "$("$jail" --version)" ]
  "qemu-$other-static" "$program" explain --jail claude POST https://api.anthropic.com/v1/messages | grep -q '^allowed'
  echo "the program for $other runs, as far as an emulator goes: it knows its rules, jails it cannot make there"
}

"${1:-main}"
