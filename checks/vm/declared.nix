# Two jails as services of a NixOS host, by the module, and the outside on a machine of its own: the scenarios that
# checks/vm/debian.sh runs on Debian. Then their lives, and what a new configuration of the host does to them.
{ lib, ... }:
{
  name = "nix-jail-declared";
  globalTimeout = 1200;

  nodes = {
    upstream = ./guest/upstream.nix;
    machine =
      { nodes, pkgs, ... }:
      let
        jail = import ./guest/jail.nix { inherit nodes pkgs; };
        asks =
          path:
          jail "asks" [
            path
            nodes.upstream.networking.primaryIPAddress
          ];
        token = {
          sources = [ "systemd:token" ];
          hosts = [ "api.example.test" ];
        };
      in
      {
        imports = [ ./guest/host.nix ];
        services.nix-jail.jails = {
          web = {
            imports = [ (asks "https://api.example.test/read") ];
            credentials.TOKEN = token;
          };
          two = {
            imports = [ (asks "https://other.example.test/read") ];
            rules = [ "other.example.test" ];
          };
          life = {
            imports = [ (jail "asks-again" [ ]) ];
            credentials.TOKEN = token;
          };
          brief = jail "brief" [ ];
          fails = jail "fails" [ ];
        };
        # The same host with another rule for one jail, and without another one.
        specialisation.changed.configuration.services.nix-jail.jails = {
          life.rules = [
            "api.example.test"
            "other.example.test"
          ];
          two.service.enable = lib.mkForce false;
        };
      };
  };

  testScript = lib.readFile ./guest/scenario.py + ''
    introduce(machine, upstream)
    for name in ["80-declared", "81-declared-life"]:
        scenario(machine, name, "upstream")

    machine.succeed("systemctl reset-failed; systemctl start nix-jail@life nix-jail@two")
    job = machine.succeed("systemctl show --property=MainPID --value nix-jail@life")
    machine.wait_until_succeeds("journalctl -b -u nix-jail@life | grep host-not-allowed")
    machine.fail("journalctl -b -u nix-jail@life | grep 'upstream got'")
    machine.succeed("/run/current-system/specialisation/changed/bin/switch-to-configuration test")
    machine.wait_until_succeeds("journalctl -b -u nix-jail@life | grep 'upstream got'")
    assert job == machine.succeed("systemctl show --property=MainPID --value nix-jail@life")
    for unit in ["nix-jail@two.service", "nix-jail-proxy@two.service", "nix-jail-proxy@two.socket"]:
        assert machine.succeed(f"systemctl is-active {unit} || true").strip() == "inactive", unit
  '';
}
