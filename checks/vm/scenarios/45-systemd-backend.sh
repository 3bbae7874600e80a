#!/usr/bin/env bash
# Jobs in units of systemd, root's and a user's: the unit is there, with its accounting and limits, and ends with the
# job however that ends.
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

  begin "$who" -- sh -c "$obedient"
  systemctl_of "$who" stop -- "$unit"
  ended
  check "systemctl-stop-$who"
  exits 7
  prints 'ended politely'
  so 'systemctl stop ends it politely'

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
