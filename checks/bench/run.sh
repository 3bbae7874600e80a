#!/usr/bin/env bash
# Measures nix-jail beside the same thing done without it: bash checks/bench/run.sh [--quick] [--steady]
# --quick: fewer rounds. --steady (root): before all other work of the machine, where that is busy.
# Installs what it needs where it can (root on Debian or Ubuntu: apt), builds, measures, prints one table.
# Jails of Docker are measured where an engine answers (DOCKER_HOST is heeded); else that part says that it is skipped.
# The exit code says whether everything could be measured, not whether a figure was reached.
set -eu
cd "$(dirname "$0")/../.."

# Root's benchmark runs jails as an ordinary user too, who must be able to read what was built.
if [ "$(id -u)" = 0 ]; then default_cache=/var/cache/nix-jail-checks; else default_cache=${XDG_CACHE_HOME:-$HOME/.cache}/nix-jail-checks; fi
cache=${NIX_JAIL_CACHE:-$default_cache}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
mkdir -p "$cache"

main() {
  local load=checks/bench/load directory option arguments=() first=()
  for option in "$@"; do
    case $option in
      --quick) arguments+=("$option") ;;
      --steady) first=(chrt --rr 5) ;;
      *) echo "usage: bash checks/bench/run.sh [--quick] [--steady]" >&2; exit 2 ;;
    esac
  done
  install_packages
  cargo build --quiet --release --locked --manifest-path rust/Cargo.toml
  # A target directory of its own: the two packages build the same crates with other features.
  cargo build --quiet --release --locked --manifest-path "$load/Cargo.toml" --target-dir "$CARGO_TARGET_DIR/bench"
  directory=$(mktemp -d)
  # Children end when their standard input does, so that this is all there is to remove.
  # shellcheck disable=SC2064 # The directory's name is needed now, not later.
  trap "rm -rf '$directory'" EXIT
  chmod 755 "$directory"
  describe_machine
  "${first[@]}" timeout --kill-after=5 360 "$CARGO_TARGET_DIR/bench/release/nix-jail-bench" \
    measure "$directory" "$CARGO_TARGET_DIR/release/jail" "${arguments[@]}"
}

install_packages() {
  local packages=()
  command -v bwrap >/dev/null || packages+=(bubblewrap)
  command -v curl >/dev/null || packages+=(curl)
  [ "${#packages[@]}" = 0 ] && return
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"; } >"$cache/apt.log" 2>&1 ||
      echo "not everything could be installed (see $cache/apt.log); its rows are left out"
  else
    echo "not installed, and this is not root on Debian: ${packages[*]}; their rows are left out"
  fi
}

# Absolute times belong to a machine; so does a machine that is busy with something else.
describe_machine() {
  local load
  read -r load _ </proc/loadavg
  printf '%s, %s CPUs, Linux %s, load %s\n\n' "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" "$(uname -r)" "$load"
}

main "$@"
