#!/usr/bin/env bash
# The Debian package on a real Debian: installed, used by an ordinary user, removed, purged.
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"

package=$CHECKS/nix-jail.deb
profile=/etc/apparmor.d/nix-jail
setting=/proc/sys/kernel/apparmor_restrict_unprivileged_userns
loaded=/sys/kernel/security/apparmor/profiles

main() {
  if ! [ -e "$package" ]; then
    result debian-package skipped 'no package came with the scenarios'
    return
  fi
  [ ! -e "$setting" ] || sysctl -q kernel.apparmor_restrict_unprivileged_userns=1

  try root dpkg --install "$package"
  check debian-package-installed
  exits 0
  same "$(readlink -f "$(as agent sh -c 'PATH=/usr/bin; command -v jail')")" /usr/bin/jail
  same "$(stat -c '%U %a' /usr/bin/jail)" 'root 755'
  so 'dpkg installs it'

  check debian-package-profile
  in_time grep -q '^nix-jail (unconfined)' "$loaded"
  so 'its AppArmor profile is loaded'

  try agent /usr/bin/jail run --workspace none --memory 64M --host echo -- echo hello
  check debian-package-job
  exits 0
  prints hello
  so 'an ordinary user runs a job with it'

  try agent bash -c 'source /usr/share/bash-completion/completions/jail && complete -p jail'
  check debian-package-completions
  exits 0
  prints jail
  so 'bash completes its command line'

  try root dpkg --install "$package"
  check debian-package-again
  exits 0
  so 'it is installed over itself'

  try root dpkg --remove nix-jail
  check debian-package-removed
  exits 0
  [ ! -e /usr/bin/jail ] || wrong+='the program is still there; '
  ! grep -q '^nix-jail ' "$loaded" || wrong+='its profile is still loaded; '
  so 'it is removed, and its profile unloaded'

  try root dpkg --purge nix-jail
  check debian-package-purged
  exits 0
  [ ! -e "$profile" ] || wrong+="$profile is still there; "
  [ ! -e /usr/share/nix-jail ] || wrong+='/usr/share/nix-jail is still there; '
  so 'and purged, with all that it had made'
  [ ! -e "$setting" ] || sysctl -q kernel.apparmor_restrict_unprivileged_userns=0
}

main
