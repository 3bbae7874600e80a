#!/usr/bin/env bash
# The life of a declared jail: rules reloaded under a job at work, restarts, and ends in every order, which leave nothing.
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"
# shellcheck source=/dev/null
source "$CHECKS/guest/declared.sh"
: "${scratch:?}" "${upstream:?}" "${with_token:?}"

# shellcheck disable=SC2016 # the job's shell is to read it
loop='echo "started $JAIL_JOB"; while :; do curl -sS --max-time 20 https://other.example.test/ 2>&1 | grep -oE "upstream got|host-not-allowed|Failed to connect"; sleep 0.5; done'

start_upstream
: "${token:?}"
describe life "$with_token" "$loop"
install_jails life
systemctl start nix-jail@life
job=$(pid_of nix-jail@life)

check reload
in_time says nix-jail@life host-not-allowed
describe life "$with_token, \"rules\": [\"api.example.test\", \"other.example.test\"]" "$loop"
try root systemctl reload nix-jail-proxy@life
exits 0
in_time says nix-jail@life 'upstream got'
same "$(pid_of nix-jail@life)" "$job"
so 'new rules hold for the job at work'

check listed
look root jail ps
shows nix-jail@life.service life service
look root jail log life
shows 'host-not-allowed' 'upstream got'
so 'jail ps lists it, jail log shows what its proxy and its job said'

check reload-broken
echo '{ "version": 1, "name": "life", "rules": ["ftp://nonsense"] }' >/etc/nix-jail/life.json
try root systemctl reload nix-jail-proxy@life
fails
says nix-jail-proxy@life 'nothing is changed: ' || wrong+='no reason; '
systemctl is-active --quiet nix-jail-proxy@life || wrong+='the proxy is gone; '
before=$(said nix-jail@life | grep -c 'upstream got')
answered_more() { [ "$(said nix-jail@life | grep -c 'upstream got')" -gt "$before" ]; }
in_time answered_more
same "$(pid_of nix-jail@life)" "$job"
so "the old rules stay: $(said nix-jail-proxy@life | grep -o 'nothing is changed: .*' | tail -n 1)"

check reload-port
describe life "$with_token, \"rules\": [\"api.example.test\", \"tcp://db.example.test:5432\"]" "$loop"
try root systemctl reload nix-jail-proxy@life
fails
says nix-jail-proxy@life 'port 5432, on which nothing listens' || wrong+='no reason; '
so 'rules that need another port are refused with the cure'

check proxy-killed
describe life "$with_token" "$loop"
first=$(said nix-jail@life | sed -n 's/^started //p' | tail -n 1)
kill -KILL "$(pid_of nix-jail-proxy@life)"
another() { [ "$(said nix-jail@life | sed -n 's/^started //p' | tail -n 1)" != "$first" ] && systemctl is-active --quiet nix-jail@life; }
in_time another
[ ! -e "/proc/$job" ] || wrong+='the job goes on without its proxy; '
so 'a job ends with its proxy, and both start again'

check restart
job=$(pid_of nix-jail@life)
try root systemctl restart nix-jail@life
exits 0
systemctl is-active --quiet nix-jail-proxy@life || wrong+='there is no proxy; '
[ "$(pid_of nix-jail@life)" != "$job" ] || wrong+='it is the same job; '
so 'a restart is another job'

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
job=$(job_of life)
systemctl kill --kill-whom=main --signal=KILL nix-jail@life
[ -n "$job" ] || wrong+='there was no job; '
ended() { ! [ -e "/proc/$job" ]; }
in_time ended
systemctl stop nix-jail@life
in_time gone life
so 'the job ends with its launcher'

describe life '' 'echo this was all'
check ends-by-itself
start_again life || wrong+='it does not start; '
in_time says nix-jail@life 'this was all'
in_time gone life
so 'a job that ends takes its proxy and its network along'
try root jail units --uninstall life
check uninstalled
exits 0
[ ! -e /etc/systemd/system/nix-jail@life.service.d ] || wrong+='its drop-in is left; '
so 'its units are taken away'
