#!/usr/bin/env bash
# The limits of a declared jail hold: memory, processes, time. And what its hardening keeps from it, and gives by name.
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"
# shellcheck source=/dev/null
source "$CHECKS/guest/declared.sh"
: "${scratch:?}" "${upstream:?}" "${with_token:?}"

start_upstream
: "${token:?}"
# shellcheck disable=SC2016 # the job's shell is to read it
bombs='dd if=/dev/zero of=/dev/null bs=16M count=1 2>/dev/null && echo small=fits
  dd if=/dev/zero of=/dev/null bs=200M count=1 2>/dev/null; echo large=$?
  count=0; while [ $count -lt 100 ] && sleep 1000 & do count=$((count + 1)); done; echo unlimited'
describe bomb '"limits": { "memory": "64M", "pids": 20 }' "$bombs"
describe short '"limits": { "timeout": "3s" }' 'trap "" TERM; echo started; while :; do sleep 1; done'
# shellcheck disable=SC2016 # the job's shell is to read it
tries='for bits in 4755 2755; do touch /tmp/x; chmod $bits /tmp/x 2>/dev/null && echo set-id; done; nice -n 5 true 2>&1; unshare -U true 2>/dev/null && echo nested; echo finished; sleep 1000'
describe hard '"programs": ["@shell", "unshare", "nice", "chmod"]' "$tries"
describe soft '"programs": ["@shell", "unshare", "nice", "chmod"], "service": { "user": "agent" }, "hardening": { "allow": ["set-user-id-files", "scheduling", "nested-user-namespaces"] }' "$tries"
install_jails bomb short hard soft

systemctl start nix-jail@bomb
check bombs
in_time says nix-jail@bomb 'Cannot fork'
says nix-jail@bomb 'small=fits' || wrong+='16 MB within 64 MB; '
says nix-jail@bomb 'large=137' || wrong+='200 MB within 64 MB; '
! says nix-jail@bomb unlimited || wrong+='100 processes of 20; '
same "$(systemctl show --property=MemoryMax,TasksMax,MemorySwapMax --value nix-jail@bomb | sort -n | tr '\n' ' ')" '0 23 67108864 '
so 'memory and processes are bounded by the unit'
systemctl stop nix-jail@bomb

check time-up
try root systemctl start nix-jail@short
exits 0
over() { [ "$(systemctl show --property=Result --value nix-jail@short)" = timeout ] && gone short; }
in_time over
so 'a job whose time is up ends, and does not begin again'

check hard
systemctl start nix-jail@hard nix-jail@soft
in_time says nix-jail@hard finished
! says nix-jail@hard set-id || wrong+='it made a set-user-id file; '
! says nix-jail@hard nested || wrong+='it made a user namespace; '
says nix-jail@hard 'Operation not permitted' || wrong+='it changed a priority; '
so 'everything is refused by default'

check soft
in_time says nix-jail@soft finished
says nix-jail@soft set-id || wrong+='no set-user-id file; '
says nix-jail@soft nested || wrong+='no user namespace; '
! says nix-jail@soft 'not permitted' || wrong+='no priority; '
try root jail explain soft
prints 'weakened protections: ' 'set-user-id files' 'priorities' 'user namespaces'
so 'what hardening.allow names is given, and jail explain says so'
systemctl stop nix-jail@hard nix-jail@soft
in_time gone soft
