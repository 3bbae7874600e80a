#!/usr/bin/env bash
# Many declared jails on one host: what an idle one needs, that their tokens stay apart, what a start costs.
# Environment: JAIL_VM_MANY (how many jails), JAIL_VM_STARTS (how often the start is timed).
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"
# shellcheck source=/dev/null
source "$CHECKS/guest/declared.sh"
: "${scratch:?}" "${with_token:?}"

count=${JAIL_VM_MANY:-8}
start_upstream
: "${token:?}"
names=()
for ((number = 1; number <= count; number++)); do
  names+=("many$number")
  (umask 077 && echo "token-of-many$number-$token" >"/etc/credstore/many$number")
  describe "many$number" "${with_token/systemd:token/systemd:many$number}" sends "many$number"
done
install_jails "${names[@]}"
systemctl start "${names[@]/#/nix-jail@}"

check many-no-crosstalk
for jail in "${names[@]}"; do in_time says "nix-jail@$jail" finished; done
for jail in "${names[@]}"; do
  same "$(heard | grep -c " /$jail Bearer token-of-$jail-$token\$")" 1
done
same "$(heard | grep -c ' /many')" "$count"
so "$count jails at once, each with its own token"

# memory_of NAME Rss|Pss: kilobytes of all processes of a jail and its proxy, but for sleep(1), the job itself. Pss counts
# a page that several share in parts: what one jail more takes of the host.
memory_of() {
  local unit process sum=0
  for unit in "nix-jail@$1.service" "nix-jail-proxy@$1.service"; do
    for process in $(processes_of "$unit"); do
      [ "$(cat "/proc/$process/comm")" = sleep ] || sum=$((sum + $(awk -v "kind=$2:" '$1 == kind { print $2 }' "/proc/$process/smaps_rollup")))
    done
  done
  echo "$sum"
}
check many-memory
most=0
for jail in "${names[@]}"; do
  memory=$(memory_of "$jail" Pss)
  [ "$memory" -le "$most" ] || most=$memory
done
between "$most" 1000 15360
so "an idle jail and its proxy take at most $most KB of the host; added up, each process with all that it shares: $(memory_of many1 Rss) KB"
proxy=$(pid_of nix-jail-proxy@many1)
# Wake-ups, not time: a tick of an emulated processor is no measure. Of the threads that are still there at the end.
wakes() { awk '/ctxt_switches/ { sum[FILENAME] += $2 } END { for (thread in sum) print thread, sum[thread] }' "/proc/$proxy/task"/*/status | sort; }
wakes >"$scratch/before"
sleep 10
check many-idle
woken=$(wakes | join "$scratch/before" - | awk '{ sum += $3 - $2 } END { print NR ? sum : "no thread" }')
between "$woken" 0 20
so "its proxy wakes up $woken times in 10 s"

systemctl stop "${names[@]/#/nix-jail@}"
check many-stop
for jail in "${names[@]}"; do in_time gone "$jail"; done
so 'nothing is left'

# The same command in the same unit, as hardened and with a network of its own, but without a jail and its proxy.
describe timed '' brief
install_jails timed
sed -e '/^Requires=/d; /^After=/d; /^JoinsNamespaceOf=/d; /^NotifyAccess=/d; /^Restart/d' \
  -e 's/%i/plain/; s/^Type=.*/Type=exec/; s|^ExecStart=.*|ExecStart=/bin/sh -c "exit 0"|' \
  /etc/systemd/system/nix-jail@.service >/run/systemd/system/plain.service
systemctl daemon-reload
milliseconds() {
  local start
  start=$(date +%s%N)
  "$@" >/dev/null 2>&1 || return
  echo $((($(date +%s%N) - start) / 1000000))
}
check many-start
plain=() jailed=()
starts=${JAIL_VM_STARTS:-3}
for ((number = 1; number <= starts; number++)); do
  forget_starts timed
  systemctl reset-failed plain.service 2>/dev/null
  plain+=("$(milliseconds systemctl start plain)")
  jailed+=("$(milliseconds systemctl start nix-jail@timed)")
  in_time gone timed
done
for time in "${plain[@]}" "${jailed[@]}"; do between "${time:-0}" 1 60000; done
median() { printf '%s\n' "$@" | sort -n | sed -n "$(((starts + 1) / 2))p"; }
with=$(median "${jailed[@]}") without=$(median "${plain[@]}")
so "a start takes $with ms with jail, proxy and network, $without ms without: $((with * 100 / (without + 1))) %; medians of $starts"
