#!/usr/bin/env bash
# A host whose AppArmor keeps user namespaces from ordinary users (Ubuntu's does): one error, and its cure, as it is
# written, helps. A kernel without that setting gets a stand-in: a profile that takes them from this program alone,
# and, seen by what is tried in a mount namespace of its own, a file that says that the setting is on.
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"

setting=/proc/sys/kernel/apparmor_restrict_unprivileged_userns
job=(jail run --workspace none --memory 64M --host true -- true)

main() {
  if ! grep -q userns_create /sys/kernel/security/apparmor/features/namespaces/mask; then
    result apparmor skipped 'the AppArmor of this kernel knows nothing of user namespaces'
    return
  fi
  if [ -e "$setting" ]; then
    sysctl -q kernel.apparmor_restrict_unprivileged_userns=1
    refused
  else
    deny
    try agent "${job[@]}"
    check apparmor-profile
    exits 125
    complains_once
    complains 'A security module keeps them from this program' journalctl
    so 'a profile that nothing explains: the error says where to look'
    unshare --mount bash "${BASH_SOURCE[0]}" pretend
  fi
  clean apparmor-clean
  cured
  apparmor_parser --remove /etc/apparmor.d/jail
  if [ -e "$setting" ]; then sysctl -q kernel.apparmor_restrict_unprivileged_userns=0; fi
}

# The stand-in: everything but user namespaces.
deny() {
  apparmor_parser -r <<'PROFILE'
abi <abi/4.0>,
profile jail "/usr/local/bin/jail" {
  file, capability, network, mount, remount, umount, pivot_root, signal, ptrace, unix, dbus,
}
PROFILE
}

# In a mount namespace of its own.
pretend() {
  mount -t tmpfs none "$(dirname "$setting")" && echo 1 >"$setting" && refused
}

refused() {
  try agent jail doctor
  check apparmor-doctor
  exits 1
  prints 'MISSING   user namespaces' 'apparmor_parser -r'
  prints "AppArmor's restriction of user namespaces: in force"
  so 'jail doctor says it'

  try agent "${job[@]}"
  check apparmor-refused
  exits 125
  prints_nothing
  complains_once
  complains AppArmor 'As root: ' 'apparmor_parser -r'
  so 'one error with its cure'
  complaint | sed -n 's/.*As root: //p' >/run/cure
}

cured() {
  try root sh /run/cure
  check apparmor-cure
  exits 0
  complains_nothing
  between "$(wc -l </etc/apparmor.d/jail)" 1 9
  so "AppArmor takes the cure: $(cat /run/cure)"

  try agent "${job[@]}"
  check apparmor-cured
  exits 0
  so 'with the cure it works'

  try agent jail doctor
  check apparmor-cured-doctor
  exits 0
  so 'and jail doctor says so'
}

"${1:-main}"
