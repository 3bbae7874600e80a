#!/usr/bin/env bash
# The service of a declared jail, as far as jail ps, log and stop know it.
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"

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
