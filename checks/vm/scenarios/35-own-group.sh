#!/usr/bin/env bash
# Root without a systemd that makes scopes: the limits hold in a group of the jail's own. What a killed launcher leaves
# of it (nothing but a directory) is removed by the next command.
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"

job=(unshare --mount sh "$CHECKS/guest/without-systemd-run.sh" jail run --workspace none --host sh --host dd --memory 64M --pids 32 --cpus 0.5)
hog='dd if=/dev/zero of=/dev/null bs=200M count=1'

try root "${job[@]}" --quiet -- sh -c "$hog; echo part=\$?; exec $hog"
check own-group-memory
exits 137
prints 'part=137'
so '200 MB within 64 MB are killed, and only what needs them'
clean own-group-clean

start root "${job[@]}" -- sh -c 'echo started; while :; do :; done'
started
group=/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$(pgrep -n -f '^sh -c echo started')/cgroup")
check own-group
holds "$group" /sys/fs/cgroup/nix-jail/nix-jail- || wrong+="it is in $group; "
same "$(cat "$group/memory.max" "$group/pids.max" "$group/cpu.max" | tr '\n' ' ')" '67108864 34 50000 100000 '
so "the kernel has all limits in ${group#/sys/fs/cgroup}"

kill -KILL "$(pgrep -o -x jail)"
wait
check own-group-killed
in_time grep -qx 'populated 0' "$group/cgroup.events"
if nothing_left; then wrong+='the directory that was left would not be seen; '; fi
try root jail ps
exits 0
so 'no process is left, a directory is'
clean own-group-killed-clean
