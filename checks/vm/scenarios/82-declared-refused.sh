#!/usr/bin/env bash
# What is wrong with a declared jail is said where the operator looks, and nothing runs.
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"
# shellcheck source=/dev/null
source "$CHECKS/guest/declared.sh"
: "${scratch:?}" "${upstream:?}" "${with_token:?}"

start_upstream
: "${token:?}"
describe strict "${with_token/systemd:token/systemd:missing}" 'echo the job ran; sleep 1000'
install_jails strict

check credential-missing
try root systemctl start nix-jail@strict
fails
# Once: the job that waits for its proxy does not start another.
in_time says nix-jail@strict "the jail's proxy ended before it served"
same "$(said nix-jail-proxy@strict | grep -c 'no secret for TOKEN')" 1
! says nix-jail@strict 'the job ran' || wrong+='the job ran; '
in_time gone strict
so "$(said nix-jail-proxy@strict | grep -m 1 'systemd:missing')"

check credential-optional
describe strict "${with_token/systemd:token/systemd:missing}" 'echo the job ran; sleep 1000'
sed -i 's/"variable": "TOKEN"/"optional": true, "variable": "TOKEN"/' /etc/nix-jail/strict.json
systemctl reset-failed 'nix-jail*@strict*'
try root systemctl start nix-jail@strict
exits 0
in_time says nix-jail@strict 'the job ran'
systemctl stop nix-jail@strict
so 'one that is optional may be missing'

check credential-file
(umask 077 && cp /etc/credstore/token /root/token)
describe strict "${with_token/systemd:token/file:\/root\/token}" "curl -sS -H \"Authorization: Bearer \$TOKEN\" https://api.example.test/file; sleep 1000"
install_jails strict
try root systemctl start nix-jail@strict
exits 0
in_time grep -qF "/file Bearer $token" "$upstream/log"
systemctl stop nix-jail@strict
so 'a file that only root may read is read by systemd for the proxy'

check credential-encrypted
mkdir -p /etc/credstore.encrypted
try root systemd-creds encrypt --with-key=host --name=sealed /etc/credstore/token /etc/credstore.encrypted/sealed
exits 0
describe strict "${with_token/systemd:token/systemd:sealed}" "curl -sS -H \"Authorization: Bearer \$TOKEN\" https://api.example.test/sealed; sleep 1000"
install_jails strict
try root systemctl start nix-jail@strict
exits 0
in_time grep -qF "/sealed Bearer $token" "$upstream/log"
systemctl stop nix-jail@strict
so 'an encrypted one is opened by systemd, for the proxy alone'

# Nobody makes a network for it: not even the host's loopback may be touched.
check no-private-network
sockets=/run/systemd/system/nix-jail-proxy@strict.socket.d/open.conf
mkdir -p "${sockets%/*}" /run/systemd/system/nix-jail@strict.service.d
printf '[Socket]\nPrivateNetwork=no\n' >"$sockets"
printf '[Service]\nPrivateNetwork=no\n' >/run/systemd/system/nix-jail@strict.service.d/open.conf
systemctl daemon-reload
routes=$(cat /proc/net/fib_trie)
try root systemctl start nix-jail@strict
fails
says nix-jail-proxy@strict.socket "the network of this unit is the host's" || wrong+='no reason; '
same "$(cat /proc/net/fib_trie)" "$routes"
in_time gone strict
so 'refused before anything of the host is changed'

# Nobody looked before the sockets were bound, and they are the host's.
check open-sockets
echo ExecStartPre= >>"$sockets"
systemctl daemon-reload && systemctl reset-failed 'nix-jail*@strict*'
try root systemctl start nix-jail@strict
fails
says nix-jail-proxy@strict "the network of this unit is the host's" || wrong+='the proxy gives no reason; '
in_time gone strict
so 'a proxy serves no sockets of the host'

# The job is in the host's, where no proxy waits for it.
check open-jail
rm "$sockets"
systemctl daemon-reload && systemctl reset-failed 'nix-jail*@strict*'
before=$(said nix-jail@strict | grep -c 'the job ran')
try root systemctl start nix-jail@strict
fails
says nix-jail@strict 'no proxy of this jail is in the network of this unit' || wrong+='the jail gives no reason; '
same "$(said nix-jail@strict | grep -c 'the job ran')" "$before"
so 'a job runs in no network of the host'
rm -r /run/systemd/system/nix-jail*
systemctl daemon-reload

check name-used
describe "strict" "$with_token" 'exit 1' && cp /etc/nix-jail/strict.json "$scratch/strict.json"
describe strict '' 'exit 0'
try root jail units --install "$scratch/strict.json"
exits 125
complains_once
complains 'the name strict is used already' /etc/nix-jail/strict.json
so "$(complaint)"

check account-used
useradd --system nj-taken
describe taken '' 'exit 0'
try root jail units --install taken
exits 125
complains_once
complains 'the name taken is used already' nj-taken
so "$(complaint)"

check old-systemd
mkdir "$scratch/old" && printf '#!/bin/sh\necho "systemd 251 (251.4)"\n' >"$scratch/old/systemctl" && chmod +x "$scratch/old/systemctl"
try root env PATH="$scratch/old:$PATH" jail units --install strict
exits 125
complains_once
complains 'this is systemd 251' 252
so "$(complaint)"

check install-as-user
try agent jail units --install strict
exits 125
complains_once
complains 'only root'
so "$(complaint)"
