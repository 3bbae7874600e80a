# What systemd knows of secrets reaches a declared jail's proxy, and nobody else.
{ lib, ... }:
{
  name = "nix-jail-credentials";
  globalTimeout = 900;

  nodes = {
    upstream = ./guest/upstream.nix;
    machine =
      { nodes, pkgs, ... }:
      let
        sends = name: source: more: {
          imports = [ (import ./guest/jail.nix { inherit nodes pkgs; } "sends" [ name ]) ];
          credentials.TOKEN = {
            sources = [ source ];
            hosts = [ "api.example.test" ];
          }
          // more;
        };
      in
      {
        imports = [ ./guest/host.nix ];
        services.nix-jail.jails = lib.mapAttrs (name: jail: jail name) {
          strict = name: sends name "systemd:missing" { };
          lenient = name: sends name "systemd:missing" { optional = true; };
          file = name: sends name "file:/root/token" { };
          sealed = name: sends name "systemd:sealed" { };
        };
      };
  };

  testScript = lib.readFile ./guest/scenario.py + ''
    introduce(machine, upstream)
    scenario(machine, "83-declared-credentials", "upstream")
  '';
}
