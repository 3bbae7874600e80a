#!/usr/bin/env bash
# The attack cases on this kernel, in jails of root and of an ordinary user. Those that only a proxy has to withstand are
# not the kernel's: they run where the processor is a real one.
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"
# shellcheck source=/dev/null
source "$CHECKS/guest/suite.sh"

walls=(attacks::closing attacks::exhaustion attacks::files attacks::isolation attacks::network attacks::processes attacks::terminal)
# Thousands of connections and a gigabyte of answers take an emulated processor more than their time.
slow=(--skip answers_that_nobody_reads --skip thousands_of_connections)
suite attacks-root root native 20 "${walls[@]}" "${slow[@]}"
suite attacks-loner loner native 20 "${walls[@]}" "${slow[@]}"
