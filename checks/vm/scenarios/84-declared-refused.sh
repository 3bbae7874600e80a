#!/usr/bin/env bash
# What is wrong with a declared jail, or with its host, is said where the operator looks, and nothing runs.
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"
# shellcheck source=/dev/null
source "$CHECKS/guest/declared.sh"
: "${scratch:?}" "${with_token:?}"

start_upstream
describe apart "$with_token" sends apart
install_jails apart

# Nobody makes a network for it: not even the host's loopback may be touched.
check no-private-network
sockets=/run/systemd/system/nix-jail-proxy@apart.socket.d/open.conf
mkdir -p "${sockets%/*}" /run/systemd/system/nix-jail@apart.service.d
printf '[Socket]\nPrivateNetwork=no\n' >"$sockets"
printf '[Service]\nPrivateNetwork=no\n' >/run/systemd/system/nix-jail@apart.service.d/open.conf
systemctl daemon-reload
routes=$(cat /proc/net/fib_trie)
try root systemctl start nix-jail@apart
fails
says nix-jail-proxy@apart.socket "the network of this unit is the host's" || wrong+='no reason; '
same "$(cat /proc/net/fib_trie)" "$routes"
in_time gone apart
so 'refused before anything of the host is changed'

# Nobody looked before the sockets were bound, and they are the host's.
check open-sockets
echo ExecStartPre= >>"$sockets"
systemctl daemon-reload && systemctl reset-failed 'nix-jail*@apart*'
try root systemctl start nix-jail@apart
fails
says nix-jail-proxy@apart "the network of this unit is the host's" || wrong+='the proxy gives no reason; '
in_time gone apart
so 'a proxy serves no sockets of the host'

# The job is in the host's, where no proxy waits for it.
check open-jail
rm "$sockets"
systemctl daemon-reload && systemctl reset-failed 'nix-jail*@apart*'
try root systemctl start nix-jail@apart
fails
says nix-jail@apart 'no proxy of this jail is in the network of this unit' || wrong+='the jail gives no reason; '
! says nix-jail@apart 'the job ran' || wrong+='the job ran; '
so 'a job runs in no network of the host'
rm -r /run/systemd/system/nix-jail*
systemctl daemon-reload

check control
forget_starts apart
try root systemctl start nix-jail@apart
exits 0
in_time says nix-jail@apart 'the job ran'
so 'with a network of its own it runs'
systemctl stop nix-jail@apart

# What the NixOS module says to all of them: a new system without the jail, to which its unit is one that changed, starts
# it again.
check declared-no-more
for unit in $(units_of apart); do
  mkdir -p "/run/systemd/system/${unit/apart/}.d"
  printf '[Unit]\nConditionPathExists=/etc/systemd/system/nix-jail.target.d/%%i.conf\n' >"/run/systemd/system/${unit/apart/}.d/declared.conf"
done
systemctl daemon-reload && forget_starts apart
try root systemctl start nix-jail@apart
exits 0
is nix-jail@apart active || wrong+='while it is declared it does not start; '
rm -r /etc/systemd/system/nix-jail*@apart* /etc/systemd/system/nix-jail.target.d/apart.conf
systemctl daemon-reload
try root systemctl restart nix-jail@apart
exits 0
in_time gone apart
for unit in $(units_of apart); do is "$unit" inactive || wrong+="$unit is $(systemctl is-active "$unit"); "; done
so 'a jail that is declared no more stops, does not start again and is no failure'
rm -r /run/systemd/system/nix-jail*
systemctl daemon-reload
install_jails apart

check name-used
describe apart "$with_token" brief && cp /etc/nix-jail/apart.json "$scratch/apart.json"
describe apart '' brief
try root jail units --install "$scratch/apart.json"
exits 125
complains_once
complains 'the name apart is used already' /etc/nix-jail/apart.json
so "$(complaint)"

check account-used
useradd --system nj-taken
describe taken '' brief
try root jail units --install taken
exits 125
complains_once
complains 'the name taken is used already' nj-taken
so "$(complaint)"

check old-systemd
mkdir "$scratch/old" && printf '#!/bin/sh\necho "systemd 251 (251.4)"\n' >"$scratch/old/systemctl" && chmod +x "$scratch/old/systemctl"
mount --bind "$scratch/old/systemctl" /usr/bin/systemctl
try root jail units --install apart
umount /usr/bin/systemctl
exits 125
complains_once
complains 'this is systemd 251' 252
so "$(complaint)"

check install-on-nixos
touch /etc/NIXOS
try root jail units --install apart
exits 125
complains_once
complains 'this is NixOS' services.nix-jail.jails
so "$(complaint)"
rm /etc/NIXOS

check install-as-user
try agent jail units --install apart
exits 125
complains_once
complains 'only root'
so "$(complaint)"
