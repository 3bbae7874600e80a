#!/usr/bin/env bash
# A part of the end-to-end suite, each job in a unit of systemd, root's and a user's. (All of it takes too long on an
# emulated processor; it runs by the native backend, which makes the same jails.)
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"
# shellcheck source=/dev/null
source "$CHECKS/guest/suite.sh"

# That one gives its job a second, which is less than an emulated processor may need.
suite end-to-end-root root systemd 8 process:: --skip a_job_whose_time_is_up
suite end-to-end-agent agent systemd 8 jobs::
