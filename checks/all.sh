#!/usr/bin/env bash
# Every check that this machine can run: bash checks/all.sh [NAME…]
# Installs missing programs where it can (as root on Debian or Ubuntu, with apt). Skips checks that cannot run here, and
# prints why.
# Keeps downloads and builds outside of the tree, in $NIX_JAIL_CACHE.
# Needs no terminal, and works under `nohup`, in the background of a script, and with any umask.
set -u
cd "$(dirname "$0")/.." || exit 1

# A shell cannot reset signals that were ignored when it started, and its children inherit them. `env` resets them.
if [ -z "${NIX_JAIL_CHECKS_STARTED:-}" ] && env --default-signal true 2>/dev/null; then
  NIX_JAIL_CHECKS_STARTED=1 exec env --default-signal bash checks/all.sh "$@"
fi
export NIX_JAIL_CHECKS_STARTED=1
umask 022

# As root, the suites run a second time as an ordinary user, who must be able to read the builds.
if [ "$(id -u)" = 0 ]; then default_cache=/var/cache/nix-jail-checks; else default_cache=${XDG_CACHE_HOME:-$HOME/.cache}/nix-jail-checks; fi
export NIX_JAIL_CACHE=${NIX_JAIL_CACHE:-$default_cache}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$NIX_JAIL_CACHE/target}
# The files of incremental builds need several times the space of the rest.
export CARGO_INCREMENTAL=0
mkdir -p "$NIX_JAIL_CACHE" || exit 1
manifest=rust/Cargo.toml
passed=0 failed=0 skipped=0 tests_skipped=0
results=()

main() {
  [ -n "$only" ] || install_packages
  check format        cargo fmt --manifest-path "$manifest" --all --check
  check shell         shell_scripts
  check clippy        cargo clippy --manifest-path "$manifest" --workspace --all-targets --locked -- -D warnings
  check licences      licences
  check modules       python3 checks/modules.py
  check unit          cargo_test --workspace --exclude nix-jail
  check build-sandbox bash checks/build-sandbox.sh
  check ring          with_ring
  check build         cargo build --manifest-path "$manifest" --release --locked
  check jail-self     cargo_test -p nix-jail
  check jail-user     as_ordinary_user
  check darwin        bash checks/darwin/typecheck.sh
  check units         bash checks/units.sh
  check docs          bash checks/docs.sh
  check rustdoc       rustdoc
  check demo          cargo run --manifest-path "$manifest" --release --locked --quiet -- demo
  check docker        bash checks/docker.sh
  check agents        bash checks/agents.sh
  check secret-service bash checks/secret-service.sh
  check binary-size   binary_size
  check static        bash checks/static.sh
  check deb           bash checks/deb.sh
  check oci           bash checks/oci.sh
  check nix           bash checks/nix.sh
  check nix-language  bash checks/nix-language.sh
  check nixpkgs       bash checks/nixpkgs.sh
  check vm            virtual_machine
  summary
}

# check NAME COMMAND…: runs the command in a process group of its own, which is killed at the time limit. Exit code 77 means
# "skipped"; the last line of output is the reason.
check() {
  local name=$1 log status limit
  shift
  if [ -n "$only" ]; then
    [ "$name" = "$only" ] || return 0
    "$@"
    exit
  fi
  if [ "${#wanted[@]}" -gt 0 ] && [[ " ${wanted[*]} " != *" $name "* ]]; then return; fi
  printf '\n=== %s\n' "$name"
  # In seconds; many times the duration on an idle machine.
  case $name in format | shell | modules | units | docs | binary-size) limit=600 ;; vm | nixpkgs) limit=10800 ;; *) limit=5400 ;; esac
  log=$(mktemp)
  NIX_JAIL_SKIPPED=$(mktemp)
  export NIX_JAIL_SKIPPED
  # Tests also run as other users.
  chmod 666 "$NIX_JAIL_SKIPPED"
  timeout --kill-after=60 "$limit" bash checks/all.sh --only "$name" </dev/null 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  case $status in
    0) passed=$((passed + 1)); results+=("ok       $name") ;;
    77) skipped=$((skipped + 1)); results+=("SKIPPED  $name: $(tail -n 1 "$log" | sed 's/^skipped: //')") ;;
    124 | 137) failed=$((failed + 1)); results+=("FAILED   $name (not done within $limit seconds)"); why "$log" ;;
    *) failed=$((failed + 1)); results+=("FAILED   $name (exit code $status)"); why "$log" ;;
  esac
  skipped_tests
  rm -f "$log" "$NIX_JAIL_SKIPPED"
}

# Counts the skipped tests of a check, by reason.
skipped_tests() {
  local count reason
  while read -r count reason; do
    results+=("         $count skipped: $reason")
    tests_skipped=$((tests_skipped + count))
  done < <(sed 's/^.[^ ]*: //' "$NIX_JAIL_SKIPPED" | sort | uniq --count)
}

# Prints the first lines that report a failure, or else the last lines: often only the summary is read.
why() {
  local lines
  lines=$(grep -E '(^| )FAIL(ED)?( |$)|panicked at|^error' "$1" | head -n 12)
  results+=("$(printf '%s\n' "${lines:-$(tail -n 5 "$1")}" | cut -c 1-300 | sed 's/^/         /')")
}

summary() {
  printf '\n=== summary\n'
  printf '%s\n' "${results[@]}"
  printf '%d passed, %d failed, %d skipped' "$passed" "$failed" "$skipped"
  [ "$tests_skipped" = 0 ] || printf '; %d tests skipped in checks that ran' "$tests_skipped"
  echo
  [ "$failed" = 0 ]
}

skip() {
  echo "skipped: $*"
  return 77
}

# Installs the programs that the end-to-end tests run in jails.
install_packages() {
  local packages=() pair
  for pair in curl:curl git:git python3:python3 node:nodejs openssl:openssl setpriv:util-linux perl:perl shellcheck:shellcheck java:default-jre-headless gnome-keyring-daemon:gnome-keyring dbus-run-session:dbus secret-tool:libsecret-tools bwrap:bubblewrap dash:dash readelf:binutils systemd-analyze:systemd qemu-aarch64-static:qemu-user-static microsocks:microsocks; do
    [ -x "/usr/bin/${pair%%:*}" ] || packages+=("${pair##*:}")
  done
  # Where systemd runs, the package would start a proxy for everybody.
  [ -x /usr/sbin/squid ] || [ -d /run/systemd/system ] || packages+=(squid)
  [ -e /etc/ssl/certs/ca-certificates.crt ] || packages+=(ca-certificates)
  [ "${#packages[@]}" = 0 ] && return
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing: ${packages[*]}"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"; } >"$NIX_JAIL_CACHE/apt.log" 2>&1 ||
      echo "not everything could be installed (see $NIX_JAIL_CACHE/apt.log); what needs it will say so"
  else
    echo "not installed, and this is not root on Debian: ${packages[*]}"
  fi
}

shell_scripts() {
  command -v shellcheck >/dev/null || { skip "shellcheck is not installed"; return; }
  shellcheck --severity=style .ci/run checks/*.sh checks/*/*.sh checks/*/*/*.sh checks/*/*/*/*.sh
}

cargo_test() {
  if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --manifest-path "$manifest" --locked --no-fail-fast --status-level fail --final-status-level slow "$@"
  else
    # `cargo test` has no time limit for a test; this is one for all tests together.
    timeout --kill-after=30 3600 cargo test --manifest-path "$manifest" --locked --no-fail-fast "$@"
  fi
}

# Tests the proxy alone with the other cryptography library.
with_ring() {
  local ring=(-p nix-jail-proxy --no-default-features --features ring)
  cargo clippy --manifest-path "$manifest" -p nix-jail "${ring[@]}" --all-targets --locked -- -D warnings && cargo_test "${ring[@]}"
}

licences() {
  local deny=$NIX_JAIL_CACHE/cargo-deny
  if [ ! -x "$deny/bin/cargo-deny" ]; then
    CARGO_TARGET_DIR=$deny/target cargo install --quiet --locked --root "$deny" --version '^0.19' cargo-deny ||
      { skip "cargo-deny could not be installed from the crate registry"; return; }
    rm -rf "$deny/target"
  fi
  # Advisories need a database from the network at the time of the check: `cargo deny check advisories` where there is one.
  (cd rust && "$deny/bin/cargo-deny" --locked check --hide-inclusion-graph bans licenses sources)
}

# Builds the documentation of the code with private items, because it is for contributors.
rustdoc() {
  RUSTDOCFLAGS="-D warnings" cargo doc --manifest-path "$manifest" --workspace --no-deps --document-private-items --locked --quiet
}

# Runs the end-to-end tests again, as a user without privileges. They have just run as root.
as_ordinary_user() {
  [ "$(id -u)" = 0 ] || { skip "this is an ordinary user: jail-self was that run"; return; }
  local user=jailcheck home=$NIX_JAIL_CACHE/home status=0 binary
  id "$user" >/dev/null 2>&1 || useradd --system --shell /bin/bash --home-dir "$home" "$user" || return 1
  rm -rf "$home" && install -d -o "$user" -m 700 "$home" || return 1
  chmod a+rx "$NIX_JAIL_CACHE" "$CARGO_TARGET_DIR" "$CARGO_TARGET_DIR/debug" "$CARGO_TARGET_DIR/debug/deps" || return 1
  while read -r binary; do
    timeout --kill-after=30 1800 \
      setpriv --reuid "$user" --regid "$user" --init-groups --inh-caps=-all --bounding-set=-all \
      env -i HOME="$home" USER="$user" PATH=/usr/local/bin:/usr/bin:/bin TMPDIR=/tmp RUST_BACKTRACE=1 \
      NIX_JAIL_CACHE="$NIX_JAIL_CACHE" NIX_JAIL_SKIPPED="${NIX_JAIL_SKIPPED:-/dev/null}" "$binary" || status=1
  done < <(test_programs -p nix-jail -p nix-jail-sandbox)
  return "$status"
}

test_programs() {
  cargo test --manifest-path "$manifest" --locked --no-run --message-format=json "$@" 2>/dev/null |
    sed -n 's/.*"kind":\["test"\].*"executable":"\([^"]*\)".*/\1/p'
}

# A part of the end-to-end suite runs there too, by the systemd backend, and the Debian package is installed there.
virtual_machine() {
  local package
  # Why there is none, its own check says.
  package=$(bash checks/deb.sh build 2>/dev/null) || package=
  JAIL_DEB=$package JAIL_TESTS=$(test_programs -p nix-jail --test end_to_end) bash checks/vm/debian.sh
}

binary_size() {
  local bytes
  bytes=$(wc -c <"$CARGO_TARGET_DIR/release/jail") || return 1
  echo "the stripped binary has $bytes bytes (limit: 16 MB)"
  [ "$bytes" -le 16000000 ]
}

only=
if [ "${1:-}" = --only ]; then only=$2; shift 2; fi
wanted=("$@")
main
