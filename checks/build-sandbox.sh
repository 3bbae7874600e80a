#!/usr/bin/env bash
# The tests of the Nix package's check phase, in a root like that of a Nix build, without Nix. Exit code 77: it cannot
# run here.
#   checks/build-sandbox.sh [ARGUMENT…]     arguments are for the test programs, e.g. a part of a test's name
#
# What such a build has: /nix/store with its inputs, /build (TMPDIR and working directory), /bin/sh as a shell without
# applets, /etc with two users, a few devices, /proc, a loopback interface, uid 1000 and HOME=/homeless-shelter. What it
# lacks: /usr, any program in PATH (a real build has those of stdenv; a test that needs one is no unit test), the network,
# and other users' processes.
set -euo pipefail
cd "$(dirname "$0")/.."
source=$PWD/rust

main() {
  local program
  [ "$(uname -s)" = Linux ] || skip "Nix's Linux sandbox is imitated, and this is $(uname -s)"
  for program in bwrap readelf ldd ldconfig; do
    command -v "$program" >/dev/null || skip "there is no $program (Debian: apt-get install bubblewrap binutils libc-bin)"
  done
  root=$(mktemp -d)
  store=$root/nix/store
  trap 'rm -rf "$root"' EXIT
  chmod 755 "$root"
  mkdir -p "$root"/{bin,etc} "$store"/{libraries,tests}
  install_shell
  write_etc
  in_sandbox /bin/sh -c : 2>"$root/error" || skip "bubblewrap makes no sandbox here: $(tail -n 1 "$root/error")"
  build_tests
  sources_are_packaged
  run_tests "$@"
}

skip() {
  echo "skipped: $*"
  exit 77
}

# The flags of a list in the package's expression: what is tested here is what Nix tests.
flags_of() {
  tr '\n' ' ' <nix/package.nix | grep -o " $1 = \[[^]]*\]" | grep -o '"[^"]*"' | tr -d '"' || true
}

build_tests() {
  local flags
  mapfile -t flags < <(flags_of cargoTestFlags)
  [ "${#flags[@]}" -gt 0 ] || { echo "failed: nix/package.nix has no cargoTestFlags"; exit 1; }
  cargo test --quiet --manifest-path rust/Cargo.toml --locked --no-run "${flags[@]}"
  mapfile -t tests < <(cargo test --quiet --manifest-path rust/Cargo.toml --locked --no-run --message-format=json "${flags[@]}" |
    sed -n 's/.*"manifest_path":"\([^"]*\)".*"test":true.*"executable":"\([^"]*\)".*/\1 \2/p')
  [ "${#tests[@]}" -gt 0 ] || { echo "failed: cargo names no test program"; exit 1; }
}

# A file outside the package's sources is absent in a Nix build: include_str! of one fails there, and here by this.
sources_are_packaged() {
  local test program directory outside
  # The files that the expression lists, and the members of the workspace, which it takes from Cargo.toml.
  mapfile -t packaged < <(
    tr '\n' ' ' <nix/package.nix | grep -o 'fileset.unions [( ]*\[[^]]*\]' | grep -o '\.\./rust/[^ ]*' | sed "s#^\.\.#$PWD#"
    sed -n 's/^members = \[\(.*\)\]/\1/p' rust/Cargo.toml | tr ',' '\n' | tr -d ' "' | sed "s#^#$PWD/rust/#"
  )
  [ "${#packaged[@]}" -gt 0 ] || { echo "failed: nix/package.nix names no sources"; exit 1; }
  for directory in "${packaged[@]}"; do source_binds+=(--ro-bind "$directory" "$directory"); done
  for test in "${tests[@]}"; do
    program=${test#* }
    outside=$(sed -n 's/^\([^ ]*\):$/\1/p' "$program.d" | while read -r file; do
      case $file in /*) ;; *) file=$source/$file ;; esac
      file=$(realpath --no-symlinks --canonicalize-missing "$file")
      case $file in "$PWD"/*) ;; *) continue ;; esac
      for directory in "${packaged[@]}"; do
        case $file in "$directory" | "$directory"/*) continue 2 ;; esac
      done
      echo "$file"
    done)
    [ -z "$outside" ] || { printf 'failed: compiled in, and not among the sources of nix/package.nix:\n%s\n' "$outside"; exit 1; }
  done
}

run_tests() {
  local test program directory flags status=0
  mapfile -t flags < <(flags_of checkFlags)
  for test in "${tests[@]}"; do
    program=${test#* }
    install_program "$program" "$store/tests/${program##*/}"
    directory=$(dirname "${test%% *}")
    echo "--- ${program##*/}"
    in_sandbox --chdir "$directory" "/nix/store/tests/${program##*/}" "${flags[@]}" "$@" || status=1
  done
  return "$status"
}

# Copies a program and its libraries; the copy's loader is the one in the store, as Nix links them.
install_program() {
  local loader offset library
  install -m 755 "$1" "$2"
  loader=$(readelf --program-headers --wide "$1" | sed -n 's/.*Requesting program interpreter: \(.*\)\]$/\1/p')
  [ -n "$loader" ] || return 0
  install -m 755 "$loader" "$store/ld.so"
  [ "${#loader}" -ge "${#store_loader}" ] || { echo "failed: the loader's path is too short to be replaced: $loader"; exit 1; }
  offset=$(LC_ALL=C grep --text --byte-offset --only-matching --max-count=1 --fixed-strings "$loader" "$1" | head -n 1 | cut -d : -f 1)
  { printf %s "$store_loader"; head -c $((${#loader} - ${#store_loader})) /dev/zero; } |
    dd of="$2" bs=1 seek="$offset" conv=notrunc status=none
  ldd "$1" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | while read -r library; do
    cp --no-clobber --dereference "$library" "$store/libraries/"
  done
  # Programs of Nix name the directories of their libraries, these find them by the loader's list.
  ldconfig -r "$root" -f /dev/null /nix/store/libraries
}

# Nix's /bin/sh is busybox with its shell alone. Debian's busybox runs its applets without looking into PATH, so that
# there the same builtins are dash's.
install_shell() {
  local shell
  for shell in dash busybox; do
    shell=$(command -v "$shell") || continue
    ! (exec -a sh env -i "$shell" -c 'PATH=/path-not-set grep --version' sh) >/dev/null 2>&1 || continue
    install_program "$(realpath "$shell")" "$root/bin/sh"
    return
  done
  skip "there is no shell without applets (Debian: apt-get install dash)"
}

write_etc() {
  printf '%s\n' 'root:x:0:0:Nix build user:/build:/noshell' 'nixbld:x:1000:100:Nix build user:/build:/noshell' \
    'nobody:x:65534:65534:Nobody:/:/noshell' >"$root/etc/passwd"
  printf '%s\n' 'root:x:0:' 'nixbld:!:100:' 'nogroup:x:65534:' >"$root/etc/group"
  printf '%s\n' '127.0.0.1 localhost' '::1 localhost' >"$root/etc/hosts"
}

in_sandbox() {
  local arguments=()
  if [ "$1" = --chdir ]; then arguments+=(--chdir "$2"); shift 2; else arguments+=(--chdir /build); fi
  env -i bwrap --unshare-all --unshare-user --uid 1000 --gid 100 --hostname localhost --die-with-parent --new-session \
    --ro-bind "$store" /nix/store --ro-bind "$root/bin" /bin --bind "$root/etc" /etc \
    --dev /dev --proc /proc --dir /tmp --perms 700 --tmpfs /build \
    "${source_binds[@]}" "${arguments[@]}" \
    --setenv HOME /homeless-shelter --setenv PATH /path-not-set --setenv NIX_BUILD_TOP /build --setenv NIX_STORE /nix/store \
    --setenv TMPDIR /build --setenv TMP /build --setenv TEMP /build --setenv TEMPDIR /build --setenv TERM xterm-256color "$@"
}

store_loader=/nix/store/ld.so
source_binds=()
main "$@"
