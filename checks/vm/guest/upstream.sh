#!/usr/bin/env bash
# The outside of the scenarios, api.example.test and other.example.test, with a CA of its own in DIRECTORY/ca.pem:
# upstream.sh DIRECTORY ADDRESS
set -eu
guest=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
curve=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
openssl req -x509 "${curve[@]}" -days 2 -subj '/CN=scenario CA' -keyout ca.key -out new.pem
openssl req "${curve[@]}" -subj /CN=api.example.test -keyout server.key -out server.csr
openssl x509 -req -in server.csr -CA new.pem -CAkey ca.key -CAcreateserial -days 2 -out server.pem \
  -extfile <(echo 'subjectAltName=DNS:api.example.test,DNS:other.example.test')
# There when all of it is.
mv new.pem ca.pem
exec python3 "$guest/upstream.py" "$2" 8443 server.pem server.key
