#!/usr/bin/env bash
# Many declared jails on one host: what an idle one needs, that their tokens stay apart, what a start costs.
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"
# shellcheck source=/dev/null
source "$CHECKS/guest/declared.sh"
: "${scratch:?}" "${upstream:?}" "${with_token:?}"

count=${JAIL_VM_MANY:-8}
start_upstream
: "${token:?}"
names=()
for ((number = 1; number <= count; number++)); do
  names+=("many$number")
  (umask 077 && echo "token-of-many$number-$token" >"/etc/credstore/many$number")
  describe "many$number" "${with_token/systemd:token/systemd:many$number}" \
    "curl -sS -H \"Authorization: Bearer \$TOKEN\" https://api.example.test/many$number; echo finished; exec sleep 1000"
done
install_jails "${names[@]}"
systemctl start "${names[@]/#/nix-jail@}"

check many-no-crosstalk
for name in "${names[@]}"; do in_time says "nix-jail@$name" finished; done
for name in "${names[@]}"; do
  same "$(grep -c " /$name Bearer token-of-$name-$token\$" "$upstream/log")" 1
done
same "$(grep -c ' /many' "$upstream/log")" "$count"
so "$count jails at once, each with its own token"

# Kilobytes of all processes of a jail and its proxy, shared pages counted in part; sleep(1), the job itself, aside.
memory_of() {
  local unit process sum=0
  for unit in "nix-jail@$1.service" "nix-jail-proxy@$1.service"; do
    for process in $(processes_of "$unit"); do
      [ "$(cat "/proc/$process/comm")" = sleep ] || sum=$((sum + $(awk '/^Rss:/ { print $2 }' "/proc/$process/smaps_rollup")))
    done
  done
  echo "$sum"
}
check many-memory
most=0
for name in "${names[@]}"; do
  memory=$(memory_of "$name")
  [ "$memory" -le "$most" ] || most=$memory
done
so "an idle jail and its proxy: at most $most KB resident, all processes added up"
proxy=$(pid_of nix-jail-proxy@many1)
cpu() { awk '{ print $14 + $15 }' "/proc/$proxy/stat"; }
before=$(cpu)
sleep 10
check many-idle
between "$(($(cpu) - before))" 0 1
so "$(($(cpu) - before)) ticks of CPU in 10 s"

systemctl stop "${names[@]/#/nix-jail@}"
check many-stop
for name in "${names[@]}"; do in_time gone "$name"; done
so 'nothing is left'

# The same command in a unit without a jail, hardened likewise but for what makes a jail.
describe timed '' 'exit 0'
install_jails timed
cat >/run/systemd/system/plain.service <<'UNIT'
[Service]
Type=exec
ExecStart=/bin/sh -c 'exit 0'
DynamicUser=yes
PrivateNetwork=yes
PrivateDevices=yes
ProtectSystem=strict
UNIT
systemctl daemon-reload
milliseconds() {
  local start
  start=$(date +%s%N)
  "$@" >/dev/null 2>&1
  echo $((($(date +%s%N) - start) / 1000000))
}
plain=() jailed=()
for _ in 1 2 3; do
  plain+=("$(milliseconds systemctl start plain)")
  jailed+=("$(milliseconds systemctl start nix-jail@timed)")
  eventually gone timed
done
echo "NOTE start of a unit: ${plain[*]} ms; of a declared jail with its proxy, network and sockets: ${jailed[*]} ms"
