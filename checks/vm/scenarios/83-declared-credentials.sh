#!/usr/bin/env bash
# Credentials of declared jails: systemd has them, and gives them to the proxy alone.
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"
# shellcheck source=/dev/null
source "$CHECKS/guest/declared.sh"
: "${scratch:?}" "${with_token:?}"

start_upstream
: "${token:?}"
from() { echo "${with_token/systemd:token/$1}"; }
describe strict "$(from systemd:missing)" sends strict
optional=$(from systemd:missing)
describe lenient "${optional/\"variable\"/\"optional\": true, \"variable\"}" sends lenient
describe file "$(from file:/root/token)" sends file
describe sealed "$(from systemd:sealed)" sends sealed
install_jails strict lenient file sealed

check credential-missing
forget_starts strict
try root systemctl start nix-jail@strict
fails
# Where the operator looks first, too; and once: the job that waits for its proxy does not start another.
in_time says nix-jail@strict "the jail's proxy does not serve: no secret for TOKEN"
same "$(said nix-jail-proxy@strict | grep -c 'no secret for TOKEN')" 1
! says nix-jail@strict 'the job ran' || wrong+='the job ran; '
in_time gone strict
so "$(said nix-jail@strict | grep -m 1 'systemd:missing')"

check credential-optional
try root systemctl start nix-jail@lenient
exits 0
in_time says nix-jail@lenient 'the job ran'
so 'one that is optional may be missing'
systemctl stop nix-jail@lenient

check credential-file
(umask 077 && cp /etc/credstore/token /root/token)
forget_starts file
try root systemctl start nix-jail@file
exits 0
in_time has_heard "/file Bearer $token"
so 'a file that only root may read is read by systemd for the proxy'
systemctl stop nix-jail@file

check credential-encrypted
if [ "$(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p')" -lt 254 ]; then
  result credential-encrypted skipped 'this systemd has no ImportCredential='
  exit
fi
mkdir -p /etc/credstore.encrypted
try root systemd-creds encrypt --with-key=host --name=sealed /etc/credstore/token /etc/credstore.encrypted/sealed
exits 0
forget_starts sealed
try root systemctl start nix-jail@sealed
exits 0
in_time has_heard "/sealed Bearer $token"
so 'an encrypted one is opened by systemd, for the proxy alone'
systemctl stop nix-jail@sealed
