#!/usr/bin/env bash
# Jobs in units of systemd, root's and a user's: the unit is there, with its accounting and limits, and ends with the
# job however that ends. Where systemd cannot have the job, there is none.
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"

systemctl_of() {
  local who=$1
  shift
  if [ "$who" = root ]; then as root systemctl "$@"; else as agent systemctl --user "$@"; fi
}

# property WHO NAME
property() {
  systemctl_of "$1" show --property="$2" --value -- "$unit"
}

begin() {
  local who=$1
  shift
  start "$who" jail run --backend systemd --workspace none --host @shell "$@"
  started
  job=$(as "$who" jail ps --json | sed -n 's/.*"id":"\([^"]*\)".*/\1/p')
  unit=nix-jail-$job.scope
}

obedient='trap "echo ended politely; exit 7" TERM; echo started; while :; do sleep 0.2; done'

for who in root agent; do
  begin "$who" --memory 64M --pids 32 --cpus 0.5 --timeout 5m -- sh -c "$obedient"
  check "unit-$who"
  same "$(property "$who" ActiveState)" active
  same "$(property "$who" MemoryAccounting)" yes
  same "$(property "$who" MemoryMax)" 67108864
  same "$(property "$who" TasksMax)" 34
  same "$(property "$who" CPUQuotaPerSecUSec)" 500ms
  same "$(property "$who" RuntimeMaxUSec)" '5min 30s'
  between "$(property "$who" MemoryCurrent)" 1 67108864
  between "$(property "$who" TasksCurrent)" 3 10
  if [ "$who" = root ]; then same "$(property "$who" DevicePolicy)" closed; fi
  complains_nothing
  so "$unit has the job, its limits and its accounts"

  look "$who" jail ps
  check "ps-$who"
  shows "$job" systemd 'sh -c'
  so 'jail ps lists it'

  look "$who" jail stop "$job"
  ended
  check "stop-$who"
  same "${seen:?}" "$job"
  exits 7
  prints 'ended politely'
  so 'jail stop ends it politely'
  clean "stop-clean-$who"

  begin "$who" -- sh -c "$obedient"
  systemctl_of "$who" stop -- "$unit"
  ended
  check "systemctl-stop-$who"
  exits 7
  prints 'ended politely'
  so 'systemctl stop ends it politely'
  clean "systemctl-stop-clean-$who"

  begin "$who" -- sh -c 'trap "" TERM; echo started; while :; do sleep 1; done'
  kill -KILL "$(as "$who" jail ps --json | sed -n 's/.*"pid":\([0-9]*\).*/\1/p')"
  wait
  clean "killed-unit-clean-$who"
  try "$who" jail ps
  check "ps-killed-$who"
  exits 0
  prints_no "$job"
  so 'a job whose launcher was killed does not run'
done

# The device filter is a second lock: without it the stage could open the disk.
begin root -- sh -c "$obedient"
check devices
group=$(systemctl show --property=ControlGroup --value -- "$unit")
dd if=/dev/vda of=/dev/null bs=512 count=1 2>/dev/null || wrong+='the control: /dev/vda cannot be read at all; '
if sh -c "echo \$\$ >/sys/fs/cgroup$group/cgroup.procs; exec dd if=/dev/vda of=/dev/null bs=512 count=1" 2>/dev/null; then
  wrong+='/dev/vda can be read from inside the unit; '
fi
as root jail stop "$job" >/dev/null
wait
so 'no process of the unit can open the disk, root or not'

# No way but this one.
mkdir -p /tmp/old
printf '#!/bin/sh\necho systemd 245 "(245.4)"\n' >/tmp/old/systemd-run
chmod +x /tmp/old/systemd-run
job=(jail run --backend systemd --workspace none --host sh -- sh -c 'echo the job ran')
try agent env PATH=/tmp/old:/usr/local/bin:/usr/bin:/bin "${job[@]}"
check old-systemd
exits 125
prints_nothing
complains_once
complains 'systemd 245 is too old' 252
so 'an old systemd: an error, no job'
try loner "${job[@]}"
check no-manager
exits 125
prints_nothing
complains_once
complains 'no systemd answers' 'enable-linger'
so 'no systemd of this user: an error, no job'
for who in root agent; do
  try "$who" jail doctor
  check "doctor-systemd-$who"
  exits 0
  prints 'systemd backend' 'ok        '
  so 'jail doctor knows the backend'
done
clean refused-clean

# A declared jail's service, as far as ps, log and stop know it.
mkdir -p /run/systemd/system
cat >/run/systemd/system/nix-jail@.service <<'UNIT'
[Service]
ExecStart=/bin/sh -c 'echo "this is the service %i"; exec sleep 1000'
UNIT
systemctl daemon-reload
systemctl start nix-jail@declared.service
try root jail ps
check declared-ps
exits 0
prints nix-jail@declared.service declared service
so 'jail ps lists the service of a declared jail'
eventually grep -q 'this is the service' <(journalctl -u nix-jail@declared.service)
try root jail log declared
check declared-log
exits 0
prints 'this is the service declared'
so 'jail log shows its journal'
try agent jail stop declared
check declared-stop-agent
exits 125
same "$(systemctl is-active nix-jail@declared.service)" active
so 'an ordinary user cannot stop it, and is told so'
try root jail stop declared
check declared-stop
exits 0
prints nix-jail@declared.service
same "$(systemctl is-active nix-jail@declared.service)" inactive
try root jail stop declared
exits 1
so 'jail stop stops it, once'
rm /run/systemd/system/nix-jail@.service
systemctl daemon-reload
clean declared-clean
