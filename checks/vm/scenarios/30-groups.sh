#!/usr/bin/env bash
# The limits of a job at work as the kernel has them, the CPU's being felt; then its launcher is killed, and nothing is
# left.
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"

spin='echo started; while :; do :; done'

throttled() {
  [ "$(sed -n 's/^nr_throttled //p' "$group/cpu.stat")" -gt 0 ]
}

for who in root agent service; do
  start "$who" env KEPT=outside jail run --workspace none --host sh --memory 64M --pids 32 --cpus 0.2 -- sh -c "$spin"
  started
  group=/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$(pgrep -n -f '^sh -c echo started')/cgroup")
  check "group-$who"
  complains_nothing
  if nothing_left; then wrong+='what is at work would not be seen as left behind; '; fi
  same "$(cat "$group/memory.max")" 67108864
  same "$(cat "$group/memory.swap.max")" 0
  # The stage and init are in the group too.
  same "$(cat "$group/pids.max")" 34
  read -r quota period <"$group/cpu.max"
  same "$((quota * 5))" "$period"
  so "the kernel has all limits in ${group#/sys/fs/cgroup}"

  # Neither the stage nor the jail's init has what the launcher had in its environment.
  check "environment-$who"
  between "$(wc -l <"$group/cgroup.procs")" 3 3
  while read -r process; do
    if grep -q KEPT=outside "/proc/$process/environ"; then wrong+="$(tr '\0' ' ' <"/proc/$process/cmdline") has it; "; fi
  done <"$group/cgroup.procs"
  so "the launcher's environment ends with the launcher"

  check "throttled-$who"
  in_time throttled
  so "$(grep -E 'nr_(periods|throttled)' "$group/cpu.stat" | tr '\n' ' ')"

  # The stage's program is called exe, after /proc/self/exe; the launcher is older than any of its own.
  kill -KILL "$(pgrep -o -x jail)"
  wait
  clean "killed-launcher-clean-$who"
done
