# The limits of declared jails hold, and their hardening: memory, processes, time, set-user-id files, priorities.
{ lib, ... }:
{
  name = "nix-jail-limits";
  globalTimeout = 900;

  nodes = {
    upstream = ./guest/upstream.nix;
    machine =
      { nodes, pkgs, ... }:
      let
        jail = import ./guest/jail.nix { inherit nodes pkgs; };
        tries = {
          imports = [ (jail "tries" [ ]) ];
          packages = [ pkgs.util-linux ];
        };
      in
      {
        imports = [ ./guest/host.nix ];
        services.nix-jail.jails = {
          bomb = {
            imports = [ (jail "bombs" [ ]) ];
            limits = {
              memory = "64M";
              pids = 20;
            };
          };
          short = {
            imports = [ (jail "stubborn" [ ]) ];
            limits.timeout = "3s";
          };
          hard = tries;
          soft = {
            imports = [ tries ];
            service.user = "agent";
            hardening.allow = [
              "set-user-id-files"
              "scheduling"
              "nested-user-namespaces"
            ];
          };
        };
      };
  };

  testScript = lib.readFile ./guest/scenario.py + ''
    introduce(machine, upstream)
    scenario(machine, "85-declared-limits", "upstream")
  '';
}
