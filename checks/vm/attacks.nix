# The attack cases on the kernel of NixOS, in jails of root and of an ordinary user.
{ lib, ... }:
{
  name = "nix-jail-attacks";
  globalTimeout = 1800;

  nodes.machine =
    { config, pkgs, ... }:
    {
      imports = [ ./guest/host.nix ];
      services.nix-jail.enable = true;
      # What the attacks are made with.
      environment.systemPackages = [
        pkgs.git
        config.services.nix-jail.package.endToEnd
      ];
      virtualisation.cores = 2;
    };

  testScript = lib.readFile ./guest/scenario.py + ''
    machine.wait_for_unit("multi-user.target")
    scenario(machine, "90-attacks")
  '';
}
