#!/usr/bin/env bash
# Declared jails: what goes out and what does not, where the real token is and where not, and that two of them see
# nothing of each other.
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"
# shellcheck source=/dev/null
source "$CHECKS/guest/declared.sh"
: "${scratch:?}" "${upstream:?}" "${with_token:?}"

# shellcheck disable=SC2016 # the job's shell is to read it
asks='
  answer() { curl -sS --max-time 20 "$@" 2>&1 | tr "\n" " "; echo; }
  echo "dummy=$TOKEN"
  echo "allowed: $(answer -H "Authorization: Bearer $TOKEN" https://api.example.test/read)"
  echo "captured: $(answer --noproxy "*" -H "Authorization: Bearer $TOKEN" https://api.example.test/captured)"
  echo "method: $(answer -X POST https://api.example.test/write)"
  echo "host: $(answer https://evil.example.test/)"
  echo "other: $(answer https://other.example.test/)"
  echo "foreign: $(answer -H "Authorization: Bearer somebody-elses-key" https://api.example.test/)"
  echo "port: $(answer --noproxy "*" http://192.0.2.1:81/)"
  echo "loopback: $(answer --noproxy "*" -k https://127.0.0.1:8443/)"
  echo "interfaces: $(cut -d : -f 1 -s /proc/net/dev | tr -d " \n")"
  echo "processes: $(cat /proc/[0-9]*/comm | tr "\n" " ")"
  echo "host files: $(ls -d /run/credentials /run/nix-jail-proxy /etc/credstore /etc/nix-jail/web.json /var/lib/nix-jail /srv/checks 2>/dev/null)"
  echo finished; exec sleep 1000'

start_upstream
: "${token:?}"
describe web "$with_token" "$asks"
describe two '"rules": [{ "hosts": ["other.example.test"] }]' "${asks/api.example.test\/read/other.example.test\/read}"
install_jails web two

try root systemctl start nix-jail@web nix-jail@two
check declared-start
exits 0
in_time says nix-jail@web finished
in_time says nix-jail@two finished
so "two declared jails run; systemd-analyze: $(systemd-analyze security --no-pager nix-jail@web.service | sed -n 's/.*level for //p'), $(systemd-analyze security --no-pager nix-jail-proxy@web.service | sed -n 's/.*level for //p')"

said nix-jail@web >"$scratch/out"
dummy=$(sed -n 's/^dummy=//p' "$scratch/out")
check declared-allowed
prints "allowed: upstream got Bearer $dummy" "captured: upstream got Bearer $dummy"
same "$(grep -c "api.example.test /[a-z]* Bearer $token" "$upstream/log")" 2
so 'the upstream gets the real token, the job reads its dummy, also from programs that know no proxy'

check declared-denied
prints 'method: ' method-not-allowed 'host: ' host-not-allowed 'other: ' host-not-allowed 'foreign: ' foreign-credential
same "$(grep -c '' "$upstream/log") of $(grep -c '^other.example.test' "$upstream/log")" '4 of 2'
so 'what the policy does not name is refused with its reason; the upstream knows of nothing but what is allowed'

check declared-no-way-around
prints 'port: ' 'Failed to connect' 'loopback: ' 'Failed to connect' 'interfaces: lo'
so 'a port without a listener is refused, the loopback of the host is another one, there is no interface'

check declared-token-outside
same "$(cat /run/credentials/nix-jail-proxy@web.service/token)" "$token"
between "${#dummy}" 20 200
prints_no "$token"
for process in $(processes_of nix-jail@web); do
  ! grep -qsF "$token" "/proc/$process/environ" "/proc/$process/cmdline" || wrong+="process $process has the token; "
done
grep -qF "$dummy" "/proc/$(job_of web)/environ" || wrong+='the environment of the job is not where it was looked; '
found=$(nsenter --target "$(job_of web)" --mount grep -rlsF "$token" / --exclude-dir=proc --exclude-dir=sys --exclude-dir=dev)
same "$found" ''
nsenter --target "$(job_of web)" --mount grep -qsF BEGIN /etc/ssl/certs/ca-certificates.crt || wrong+='the files of the jail are not where they were looked; '
so 'not in the environment, the arguments or the files of any process of the unit; its proxy has it'

check declared-alone
prints 'processes: ' 'host files:'
same "$(sed -n 's/^host files: *//p' "$scratch/out")" ''
prints_no 'two'
same "$(for unit in nix-jail@web nix-jail@two nix-jail-proxy@web; do readlink "/proc/$(pid_of $unit)/ns/net"; done | sort -u | wc -l)" 3
same "$(readlink "/proc/$(pid_of nix-jail-proxy@web)/ns/net")" "$(readlink /proc/1/ns/net)"
same "$(for unit in nix-jail@web nix-jail@two nix-jail-proxy@web nix-jail-proxy@two; do stat -c %u "/proc/$(pid_of $unit)"; done | sort -u | wc -l)" 4
holds "$(said nix-jail@two)" 'allowed: upstream got' 'host: ' host-not-allowed || wrong+='the other jail does not work; '
same "$(said nix-jail-proxy@two | grep -c '"path":"/captured","denied":"host-not-allowed"')" 1
so 'each has a network, users and rules of its own, and sees no processes and no files of the host'

try root systemctl stop nix-jail@web nix-jail@two
check declared-stop
exits 0
in_time gone web
in_time gone two
so 'nothing is left'
