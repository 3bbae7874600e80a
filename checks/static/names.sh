#!/usr/bin/env bash
# Looks names up in an empty root, in a network of its own: checks/static/names.sh JAIL ROOT
set -euo pipefail
root=$2
install -m 755 "$1" "$root/jail"
ip link set lo up
alone() {
  unshare --user --map-root-user --mount --pid --fork python3 checks/static/alone.py "$root" "$@"
}
exec {servers}< <(exec python3 checks/static/servers.py)
trap 'kill $!' EXIT
read -r -u "$servers" _
for name in by-file.test by-server.test; do
  answer=$(alone /jail __fetch "http://$name:8080/")
  [ "$answer" = "this is $name:8080" ]
done
if error=$(alone /jail __fetch http://nowhere.test:8080/ 2>&1); then exit 1; fi
[[ $error == *nowhere.test* ]]
