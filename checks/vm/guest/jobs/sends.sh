#!/bin/sh
# The job of a declared jail: sends its dummy once, and stays: sends.sh PATH
echo "the job ran"
curl -sS -H "Authorization: Bearer $TOKEN" "https://api.example.test/$1"
echo finished
exec sleep 1000
