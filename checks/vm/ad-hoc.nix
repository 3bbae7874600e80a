# `jail` by hand on a NixOS host, as root and as ordinary users: the scenarios that checks/vm/debian.sh runs on Debian.
{ lib, ... }:
{
  name = "nix-jail-ad-hoc";
  globalTimeout = 900;

  nodes.machine = {
    imports = [ ./guest/host.nix ];
    services.nix-jail.enable = true;
  };

  testScript = lib.readFile ./guest/scenario.py + ''
    machine.wait_for_unit("multi-user.target")
    machine.wait_for_unit("user@1000.service")
    for name in ["10-demo", "20-limits", "30-groups", "50-namespaces", "60-doctor"]:
        scenario(machine, name)
  '';
}
