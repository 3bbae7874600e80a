#!/bin/sh
# The job of a declared jail: asks again and again, and says what came of it.
echo "started $JAIL_JOB"
while :; do
  curl -sS --max-time 20 https://other.example.test/ 2>&1 | grep -oE "upstream got|host-not-allowed|Failed to connect"
  sleep 0.5
done
