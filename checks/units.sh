#!/usr/bin/env bash
# Verifies the units that `jail units` renders: systemd accepts them, and rates their exposure below a limit.
# Exit code 77: systemd-analyze 252 or newer is not installed.
set -euo pipefail
jail=$(realpath -m "${JAIL:-${CARGO_TARGET_DIR:-$(dirname "$0")/../rust/target}/release/jail}")
cd "$(dirname "$0")/.."

main() {
  [ -x "$jail" ] || fail "there is no $jail; build it first: cargo build --release --manifest-path rust/Cargo.toml"
  [ "$(version)" -ge 252 ] || skip "there is no systemd-analyze of systemd 252 or newer"
  place=$(mktemp -d)
  trap 'rm -rf "$place"' EXIT
  units=$place/etc/systemd/system

  # Every setting that adds lines to a drop-in, and none that relaxes the hardening.
  jail_named most '"limits": { "memory": "64M", "pids": 20, "cpus": 1.5, "timeout": "2h", "io": "5M" },
    "rules": ["example.com", "tcp://db.example.com:5432"], "service": { "workspace": "/srv/a b" }, "binds": [{ "source": "/srv/data" }],
    "credentials": [{ "variable": "TOKEN", "sources": ["systemd:token", "file:/run/secrets/token"], "hosts": ["example.com"] }]'
  jail_named weak '"hardening": { "allow": ["writable-executable-memory", "nested-user-namespaces", "scheduling"] }'
  "$jail" units "$place/most.json" "$place/weak.json" --output "$units"

  for unit in nix-jail.target nix-jail-proxy@{most,weak}.socket nix-jail{,-proxy}@{most,weak}.service; do
    verify "$unit"
  done
  exposed nix-jail-proxy@most.service 1.5
  exposed nix-jail@most.service 2.0
  # Relaxed units must be rated worse; otherwise the limits above prove nothing.
  if exposed nix-jail@weak.service 2.0; then fail "weakened protections change nothing"; fi
}

jail_named() {
  printf '{ "version": 1, "name": "%s", "command": ["sleep", "inf"], "programs": ["sleep"], %s }\n' "$1" "$2" >"$place/$1.json"
}

version() {
  systemd-analyze --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p' | grep . || echo 0
}

# Verifies a unit together with the units of this host.
verify() {
  local said
  said=$(SYSTEMD_UNIT_PATH=$units: systemd-analyze verify --man=no --generators=no "$1" 2>&1) || fail "$1: $said"
  # It does not fail for settings that it does not know; one of ours is newer than what we ask for.
  if grep -F "$place" <<<"$said" | grep -v "'ImportCredential'"; then fail "$1"; fi
}

# exposed UNIT LIMIT: fails if systemd rates the exposure above the limit (0 is the best, 10 the worst).
exposed() {
  local said
  said=$(systemd-analyze security --no-pager --offline=true --root="$place" --threshold="$(tr -d . <<<"$2")" "$1") &&
    echo "$1: $(level "$said"), at most $2" && return
  echo "$1: $(level "$said"), more than $2"
  return 1
}

level() {
  sed -n 's/.*exposure level for .*: \([0-9.]*\) .*/\1/p' <<<"$1"
}

skip() {
  echo "skipped: $*"
  exit 77
}

fail() {
  echo "FAILED: $*"
  exit 1
}

main
