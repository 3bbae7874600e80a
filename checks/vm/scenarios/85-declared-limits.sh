#!/usr/bin/env bash
# The limits of a declared jail hold: memory, processes, time. And what its hardening keeps from it, and gives by name.
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"
# shellcheck source=/dev/null
source "$CHECKS/guest/declared.sh"
: "${scratch:?}"

start_upstream
describe bomb '"limits": { "memory": "64M", "pids": 20 }' bombs
describe short '"limits": { "timeout": "3s" }' stubborn
programs='"programs": ["@shell", "unshare", "nice", "chmod"]'
describe hard "$programs" tries
describe soft "$programs, \"service\": { \"user\": \"agent\" }, \"hardening\": { \"allow\": [\"set-user-id-files\", \"scheduling\", \"nested-user-namespaces\"] }" tries
install_jails bomb short hard soft

systemctl start nix-jail@bomb
check bombs
in_time says nix-jail@bomb fork
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
