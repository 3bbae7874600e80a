#!/bin/sh
# The job of a declared jail: tries what it may and what it may not, and says what came of it:
# asks.sh ALLOWED-URL ADDRESS-OF-THE-UPSTREAM
answer() { curl -sS --max-time 20 "$@" 2>&1 | tr "\n" " "; echo; }
echo "dummy=$TOKEN"
echo "allowed: $(answer -H "Authorization: Bearer $TOKEN" "$1")"
echo "captured: $(answer --noproxy "*" -H "Authorization: Bearer $TOKEN" https://api.example.test/captured)"
echo "method: $(answer -X POST https://api.example.test/write)"
echo "host: $(answer https://evil.example.test/)"
echo "other: $(answer https://other.example.test/)"
echo "foreign: $(answer -H "Authorization: Bearer somebody-elses-key" https://api.example.test/)"
echo "port: $(answer --noproxy "*" http://192.0.2.1:81/)"
echo "around: $(answer --noproxy "*" -k "https://$2:8443/")"
echo "handover: $(answer --max-time 2 --abstract-unix-socket nix-jail http://127.0.0.1/)"
echo "interfaces: $(cut -d : -f 1 -s /proc/net/dev | tr -d " \n")"
echo "processes: $(cat /proc/[0-9]*/comm | tr "\n" " ")"
echo "host files: $(ls -d /run/credentials /run/nix-jail-proxy /etc/credstore /etc/nix-jail/web.json /var/lib/nix-jail /srv/checks 2>/dev/null)"
echo finished
exec sleep 1000
