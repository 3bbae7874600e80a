#!/usr/bin/env bash
# Tests `keyring:` sources with a real Secret Service: unlocked, locked, absent, and not answering. Uses a bus, a home and a
# keychain of its own; those of the user are not touched.
set -euo pipefail
cd "$(dirname "$0")/.."

for program in cargo dbus-run-session gnome-keyring-daemon secret-tool; do
  if ! command -v "$program" >/dev/null; then
    echo "skipped: there is no $program (Debian: apt-get install dbus gnome-keyring libsecret-tools)"
    exit 77
  fi
done

# The programs themselves, not through cargo: rustup would look for its settings in the home made here.
# program KIND ARGUMENTS: beside the end-to-end tests cargo builds the program that they run.
program() {
  local kind=$1
  shift
  cargo test --quiet --manifest-path rust/Cargo.toml --package nix-jail "$@" --no-run --message-format json |
    sed -n 's/.*"kind":\["'"$kind"'"\].*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}
tests=${SECRET_SERVICE_TESTS:-$(program bin --bin jail)}
jobs=${SECRET_SERVICE_JOBS:-$(program test --test end_to_end)}
test -x "$tests"
test -x "$jobs"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -m 700 "$folder/home" "$folder/run"

# state, variables and commands around the test
check() {
  run "$tests" secrets::tests::a_real_secret_service "$@"
}

run() {
  local tests=$1 name=$2 state=$3 log="$folder/$3.log"
  shift 3
  if env -i PATH="$PATH" HOME="$folder/home" XDG_RUNTIME_DIR="$folder/run" JAIL_TEST_KEYCHAIN="$state" \
    timeout 60 "$@" "$tests" --exact "$name" --include-ignored >"$log" 2>&1 && grep -q '1 passed' "$log"; then
    echo "secret service, $state, ${name##*::}: passed"
  else
    cat "$log"
    echo "secret service, $state, ${name##*::}: FAILED"
    exit 1
  fi
}

# The daemon takes the password from its standard input; the first time it makes a keychain with it.
unlocked='printf check | gnome-keyring-daemon --unlock --components=secrets; exec "$@"'
locked='gnome-keyring-daemon --start --components=secrets </dev/null; exec "$@"'
check unlocked dbus-run-session -- sh -euc "$unlocked" sh
check locked dbus-run-session -- sh -euc "$locked" sh
check absent env "DBUS_SESSION_BUS_ADDRESS=unix:path=$folder/none"
check silent env "DBUS_SESSION_BUS_ADDRESS=unix:path=$folder/silent"

# `jail secret` and jobs that use what it stores.
for name in secrets_are_stored_listed_tested_used_and_removed a_login_in_the_keychain_is_renewed_there; do
  run "$jobs" "secret_service::$name" unlocked dbus-run-session -- sh -euc "$unlocked" sh
done
