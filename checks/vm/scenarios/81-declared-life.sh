#!/usr/bin/env bash
# The life of a declared jail: restarts, and ends in every order, which leave nothing.
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"
# shellcheck source=/dev/null
source "$CHECKS/guest/declared.sh"
: "${scratch:?}" "${with_token:?}"

start_upstream
describe life "$with_token" asks-again
describe brief '' brief
describe fails '' fails
install_jails life brief fails

# Another launcher than the first one is at work.
another() { [ "$(pid_of nix-jail@life)" != "$first" ] && is nix-jail@life active; }

check proxy-killed
start_again life || wrong+='it does not start; '
in_time says nix-jail@life host-not-allowed
job=$(job_of life)
[ -n "$job" ] || wrong+='there was no job; '
first=$(pid_of nix-jail@life)
kill -KILL "$(pid_of nix-jail-proxy@life)"
in_time another
[ ! -e "/proc/$job" ] || wrong+='the job goes on without its proxy; '
so 'a job ends with its proxy, and both start again'

check proxy-hung
watchdog=/run/systemd/system/nix-jail-proxy@life.service.d/watchdog.conf
mkdir -p "${watchdog%/*}" && printf '[Service]\nWatchdogSec=3\nTimeoutAbortSec=1\n' >"$watchdog"
systemctl daemon-reload
forget_starts life
try root systemctl restart nix-jail@life
exits 0
first=$(pid_of nix-jail@life) proxy=$(pid_of nix-jail-proxy@life)
kill -STOP "$proxy"
in_time another
[ ! -e "/proc/$proxy" ] || wrong+='it is still there; '
rm -r "${watchdog%/*}" && systemctl daemon-reload
so 'a proxy that does nothing any more is ended by its watchdog, and its job with it; both start again'

for unit in $(units_of life); do
  check "restart-of-${unit%@*}-${unit##*.}"
  forget_starts life
  first=$(pid_of nix-jail@life) proxy=$(pid_of nix-jail-proxy@life)
  try root systemctl restart "$unit"
  exits 0
  in_time another
  is nix-jail-proxy@life active || wrong+='there is no proxy; '
  [ "$(pid_of nix-jail-proxy@life)" != "$proxy" ] || wrong+='it is the same proxy; '
  so 'a restart is another job, with another proxy'
done

for unit in $(units_of life); do
  check "stopped-by-${unit%@*}-${unit##*.}"
  start_again life || wrong+='it does not start; '
  try root systemctl stop "$unit"
  exits 0
  in_time gone life
  so 'the others stop too, and nothing is left'
done

check stopped-by-jail-stop
start_again life || wrong+='it does not start; '
try root jail stop life
exits 0
in_time gone life
so 'the same by jail stop'

check launcher-killed
start_again life || wrong+='it does not start; '
in_time job_of life
job=$(job_of life)
[ -n "$job" ] || wrong+='there was no job; '
first=$(pid_of nix-jail@life) proxy=$(pid_of nix-jail-proxy@life)
systemctl kill --kill-whom=main --signal=KILL nix-jail@life
ended() { ! [ -e "/proc/$job" ]; }
in_time ended
in_time another
[ "$(pid_of nix-jail-proxy@life)" != "$proxy" ] || wrong+='its proxy is the one of the job before; '
systemctl stop nix-jail@life
in_time gone life
so 'the job ends with its launcher, and another one starts, with a proxy of its own'

check job-fails
start_again fails || wrong+='it does not start; '
works_again() { [ "$(said nix-jail@fails | grep -c host-not-allowed)" -ge 2 ]; }
in_time works_again
systemctl stop nix-jail@fails
in_time gone fails
so 'a job that fails is started again, and its proxy serves it'

check ends-by-itself
start_again brief || wrong+='it does not start; '
in_time says nix-jail@brief 'this was all'
in_time gone brief
so 'a job that ends takes its proxy and its network along'
