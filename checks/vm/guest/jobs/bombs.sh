#!/bin/sh
# The job of a declared jail with 64 MB and 20 processes: takes what it may, and more.
dd if=/dev/zero of=/dev/null bs=16M count=1 2>/dev/null && echo small=fits
dd if=/dev/zero of=/dev/null bs=200M count=1 2>/dev/null
echo "large=$?"
i=0
while [ "$i" -lt 100 ]; do
  sleep 1000 &
  i=$((i + 1))
done
echo unlimited
