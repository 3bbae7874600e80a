#!/usr/bin/env bash
# Packages and dev shells by real Nix, in real jails, without network: the toy nixpkgs takes the place of the real one.
# Runs with Debian's Nix and with a newer one from Debian's next release, in a store of its own: as root and as an
# ordinary user, with and without a daemon. Exit code 77: it cannot run here, or a part of it cannot.
#   checks/nix.sh                 everything
#   JAIL=…/jail checks/nix.sh     with that program; otherwise it is built
set -u
cd "$(dirname "$0")/.." || exit 1
cache=${NIX_JAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nix-jail-checks}

main() {
  [ "$(uname -s)" = Linux ] || skip "the jails of this check are Linux ones"
  have_programs
  JAIL=${JAIL:-$(build)} || exit 1
  export JAIL
  place=$(mktemp -d /tmp/nix-jail-check-XXXXXX)
  chmod 755 "$place"
  trap 'chmod -R u+w "$place"; rm -rf "$place"' EXIT
  local failed=0 missing=() newer
  everything "$(nix --version)" "$(dirname "$(command -v nix-store)")" || failed=1
  if newer=$(newer_nix); then
    everything "$("$newer/nix" --version)" "$newer" || failed=1
  else
    missing+=("no newer Nix: it comes from Debian trixie, for root on amd64 with Debian's mirror ($cache/nix-trixie/log says more)")
  fi
  [ "$(id -u)" = 0 ] || missing+=("a store in /nix, a daemon and another user need root: this was one user with a store elsewhere")
  [ "$failed" = 0 ] || exit 1
  [ "${#missing[@]}" = 0 ] || skip "$(IFS=';'; echo "${missing[*]}"); all the rest has passed"
}

skip() {
  echo "skipped: $*"
  exit 77
}

have_programs() {
  local packages=() pair
  for pair in nix-store:nix-bin busybox:busybox-static bash-static:bash-static setpriv:util-linux; do
    command -v "${pair%%:*}" >/dev/null || packages+=("${pair##*:}")
  done
  [ "${#packages[@]}" = 0 ] && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    skip "not installed, and this is not root on Debian: ${packages[*]}"
  fi
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"; } >/dev/null 2>&1 ||
    skip "could not be installed: ${packages[*]}"
}

build() {
  cargo build --quiet --manifest-path rust/Cargo.toml --release --locked >&2 &&
    realpath "${CARGO_TARGET_DIR:-rust/target}/release/jail"
}

# The Nix of Debian's next release, unpacked with its own libraries beside the system; prints where its programs are.
newer_nix() {
  local folder=$cache/nix-trixie
  if [ ! -x "$folder/bin/nix-store" ]; then
    if [ "$(id -u)" != 0 ] || [ "$(uname -m)" != x86_64 ] || ! command -v dpkg-deb >/dev/null; then return 1; fi
    mkdir -p "$folder"
    unpack_nix "$folder" >"$folder/log" 2>&1 || return 1
  fi
  echo "$folder/bin"
}

unpack_nix() (
  set -eu
  folder=$1 root=$1/root apt=$1/apt
  # shellcheck disable=SC2016 # the field's name is for apt
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/$')
  rm -rf "$root" "$apt"
  mkdir -p "$folder/bin" "$root" "$apt"/{lists/partial,cache/archives/partial,parts}
  # Without the state of this system apt finds every package that is needed, the C library too.
  : >"$apt/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$apt/sources.list"
  options=(-o "Dir::State::Lists=$apt/lists" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt/cache"
    -o "Dir::Etc::sourcelist=$apt/sources.list" -o "Dir::Etc::sourceparts=$apt/parts"
    -o APT::Install-Recommends=false -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update
  apt-get "${options[@]}" install -y --download-only nix-bin patchelf
  for package in "$apt"/cache/archives/*.deb; do dpkg-deb --extract "$package" "$root"; done
  libraries=$root/usr/lib/x86_64-linux-gnu
  cp "$root/usr/bin/nix" "$folder/bin/nix"
  # As RPATH, which libraries pass on to theirs.
  "$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" "$root/usr/bin/patchelf" --force-rpath \
    --set-rpath "$libraries:$libraries/nix" --set-interpreter "$libraries/ld-linux-x86-64.so.2" "$folder/bin/nix"
  for name in nix-build nix-daemon nix-instantiate nix-store; do ln -sfn nix "$folder/bin/$name"; done
  "$folder/bin/nix-store" --version
  rm -rf "$apt"
)

# everything LABEL PROGRAMS: the checks for one Nix, in each way that it can be used here.
everything() {
  local way status=0 ways=(moved)
  if [ "$(id -u)" = 0 ]; then
    ways=(root user daemon)
    # A store of the check's own is mounted there.
    mkdir -p /nix
  fi
  for way in "${ways[@]}"; do
    printf '\n--- %s, %s\n' "$1" "$way"
    # Store paths are read-only.
    chmod -R u+w "${place:?}" && rm -rf "${place:?}/$way"
    mkdir -p "$place/$way"
    local apart=(unshare --mount --propagation private)
    [ "$way" != moved ] || apart=()
    "${apart[@]}" bash -c 'source checks/nix/jails.sh; in_store "$@"' - "$way" "$2" || status=1
  done
  return "$status"
}

export place
main
