#!/usr/bin/env bash
# Inside the machine: runs every scenario that came along, and says END when all had their turn.
set -u
export CHECKS=/srv/checks
install -m 755 "$CHECKS/jail" /usr/local/bin/jail

# Above all processes of the jail under test: how long the machine needed to come this far.
echo "NOTE $(cut -d ' ' -f 1 /proc/uptime) s until the scenarios, $(uname -r), $(systemctl --version | head -n 1)"
# A busy host makes the emulated processor several times slower than it is.
seconds=600
for scenario in "$CHECKS"/scenarios/*.sh; do
  name=$(basename "$scenario" .sh)
  before=$(cut -d . -f 1 /proc/uptime)
  timeout --kill-after=5 "$seconds" bash "$scenario"
  status=$?
  [ "$status" = 0 ] || echo "RESULT ${name#*-} FAIL the scenario itself ended with $status"
  echo "NOTE ${name#*-}: $(($(cut -d . -f 1 /proc/uptime) - before)) s"
done
echo END
