#!/usr/bin/env bash
# The rules of a declared jail, changed under its job at work.
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"
# shellcheck source=/dev/null
source "$CHECKS/guest/declared.sh"
: "${scratch:?}" "${with_token:?}"

start_upstream
describe live "$with_token" asks-again
install_jails live
systemctl start nix-jail@live
job=$(pid_of nix-jail@live)

check reload
in_time says nix-jail@live host-not-allowed
describe live "$with_token, \"rules\": [\"api.example.test\", \"other.example.test\"]" asks-again
try root systemctl reload nix-jail-proxy@live
exits 0
in_time says nix-jail@live 'upstream got'
same "$(pid_of nix-jail@live)" "$job"
so 'new rules hold for the job at work'

check listed
look root jail ps
shows nix-jail@live.service live service
look root jail log live
shows 'host-not-allowed' 'upstream got'
so 'jail ps lists it, jail log shows what its proxy and its job said'

check followed
start root jail log live --follow
in_time grep -q 'upstream got' "$scratch/out"
before=$(grep -c '' "$scratch/out")
goes_on() { [ "$(grep -c '' "$scratch/out")" -gt "$before" ]; }
in_time goes_on
pkill -P "$!"
wait "$!"
so 'jail log --follow shows what comes'

check reload-broken
echo '{ "version": 1, "name": "live", "rules": ["ftp://nonsense"] }' >/etc/nix-jail/live.json
try root systemctl reload nix-jail-proxy@live
fails
says nix-jail-proxy@live 'nothing is changed: ' || wrong+='no reason; '
is nix-jail-proxy@live active || wrong+='the proxy is gone; '
before=$(said nix-jail@live | grep -c 'upstream got')
answered_more() { [ "$(said nix-jail@live | grep -c 'upstream got')" -gt "$before" ]; }
in_time answered_more
same "$(pid_of nix-jail@live)" "$job"
so "the old rules stay: $(said nix-jail-proxy@live | grep -o 'nothing is changed: .*' | tail -n 1)"

check reload-port
describe live "$with_token, \"rules\": [\"api.example.test\", \"tcp://db.example.test:5432\"]" asks-again
try root systemctl reload nix-jail-proxy@live
fails
says nix-jail-proxy@live 'port 5432, on which nothing listens' || wrong+='no reason; '
so 'rules that need another port are refused with the cure'

try root jail units --uninstall live
check uninstalled
exits 0
[ ! -e /etc/systemd/system/nix-jail@live.service.d ] || wrong+='its drop-in is left; '
in_time gone live
so 'it is stopped, and its units are taken away'
