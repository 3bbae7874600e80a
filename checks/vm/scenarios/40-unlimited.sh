#!/usr/bin/env bash
# Nobody enforces limits for a user without a systemd: the job runs, and each limit that is none has its sentence.
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"

bomb="$CHECKS/guest/bomb.sh"

try loner jail run --workspace none --host sh --host sleep --ro-bind "$bomb" --memory 64M --cpus 0.2 --pids 32 -- sh "$bomb"
check notices
complains 'the memory limit is not enforced' 'jail doctor'
complains 'the limit on CPUs is not enforced'
complains 'the limit on processes is enforced by RLIMIT_NPROC only'
so 'each limit that nobody enforces has its sentence'
check pids-bounded-loner
fails
between "$(last_line)" 20 31
so "--pids 32: a bomb could start $(last_line)"

try loner jail run --workspace none --host true -- true
check no-notice
exits 0
complains_not enforced
so 'without a limit there is no notice'

try loner jail doctor
check doctor-without-groups
exits 0
prints 'degraded  control groups' 'loginctl enable-linger'
so 'jail doctor names the cure'
clean unlimited-clean

# A systemd that does not answer: what is left of a socket.
mkdir -p /tmp/stale/systemd
cp -a /run/user/1000/systemd/private /tmp/stale/systemd/
try loner env XDG_RUNTIME_DIR=/tmp/stale jail run --workspace none --host true --memory 64M -- true
check stale-manager
exits 125
complains_not panicked
complains 'systemd made no scope' 'systemctl --user status'
so 'a systemd that does not answer: no job'
clean stale-manager-clean

# The cure, as jail doctor has it, without a word about where that systemd is.
loginctl enable-linger loner
in_time [ -S /run/user/1001/systemd/private ]
try loner jail run --workspace none --host sh --host dd --memory 64M -- sh -c 'exec dd if=/dev/zero of=/dev/null bs=200M count=1'
check lingering-loner
exits 137
complains_not enforced
so 'with a systemd that lingers the limit is enforced'
clean lingering-clean
loginctl disable-linger loner
