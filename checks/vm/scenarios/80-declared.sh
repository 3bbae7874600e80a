#!/usr/bin/env bash
# Declared jails: what goes out and what does not, where the real token is and where not, and that two of them see
# nothing of each other.
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"
# shellcheck source=/dev/null
source "$CHECKS/guest/declared.sh"
: "${scratch:?}" "${upstream:?}" "${with_token:?}"

start_upstream
: "${token:?}"
describe web "$with_token" asks https://api.example.test/read "$upstream"
describe two '"rules": [{ "hosts": ["other.example.test"] }]' asks https://other.example.test/read "$upstream"
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
same "$(heard | grep -c "api.example.test /[a-z]* Bearer $token")" 2
so 'the upstream gets the real token, the job reads its dummy, also from programs that know no proxy'

check declared-denied
prints 'method: ' method-not-allowed 'host: ' host-not-allowed 'other: ' host-not-allowed 'foreign: ' foreign-credential
same "$(heard | grep -c '') of $(heard | grep -c '^other.example.test')" '4 of 2'
so 'what the policy does not name is refused with its reason; the upstream knows of nothing but what is allowed'

check declared-no-way-around
prints 'port: ' 'Failed to connect' 'around: ' 'Failed to connect' 'handover: curl: (' 'interfaces: lo'
so 'a port without a listener is refused, the upstream as the host reaches it too, there is no interface; what its launcher asked it cannot'

check declared-token-outside
same "$(cat /run/credentials/nix-jail-proxy@web.service/token)" "$token"
between "${#dummy}" 20 200
prints_no "$token"
for process in $(processes_of nix-jail@web); do
  ! grep -qsF "$token" "/proc/$process/environ" "/proc/$process/cmdline" || wrong+="process $process has the token; "
done
grep -qF "$dummy" "/proc/$(job_of web)/environ" || wrong+='the environment of the job is not where it was looked; '
# Its path in the jail, where its name may be a link to elsewhere.
grep=$(readlink -f "$(command -v grep)")
found=$(nsenter --target "$(job_of web)" --mount "$grep" -rlsF "$token" / --exclude-dir=proc --exclude-dir=sys --exclude-dir=dev)
same "$found" ''
nsenter --target "$(job_of web)" --mount "$grep" -qsF BEGIN /etc/ssl/certs/ca-certificates.crt || wrong+='the files of the jail are not where they were looked; '
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
