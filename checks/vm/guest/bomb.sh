#!/bin/sh
# Starts up to 100 processes that stay, and counts them.
i=0
while [ "$i" -lt 100 ]; do
  sleep 1000 &
  i=$((i + 1))
  echo "$i"
done
