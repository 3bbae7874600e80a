# The nix-darwin module in the whole module list of nix-darwin.
{
  darwin,
  failures,
  lib,
  ...
}:
let
  system = darwin [
    {
      # nix-darwin wants to know whose agents they are.
      system.primaryUser = "me";
      services.nix-jail.jails = {
        plain.rules = [ "example.com" ];
        served = {
          command = [ "agent" ];
          service = {
            enable = true;
            workspace = "/Users/me/project";
          };
        };
        idle.service.enable = true;
      };
    }
  ];
  agents = lib.filterAttrs (name: _: lib.hasPrefix "nix-jail" name) system.config.launchd.user.agents;
  arguments = name: lib.tail agents."nix-jail-${name}".serviceConfig.ProgramArguments;
in
{
  testNothingFails = {
    expr = failures system;
    expected = [ ];
  };
  testFiles = {
    expr = lib.filter (lib.hasPrefix "nix-jail") (lib.attrNames system.config.environment.etc);
    expected = [
      "nix-jail/idle.json"
      "nix-jail/plain.json"
      "nix-jail/served.json"
    ];
  };
  testCommands = {
    expr = lib.intersectLists [ "idle" "nix-jail" "plain" "served" ] (
      map lib.getName system.config.environment.systemPackages
    );
    expected = [
      "nix-jail"
      "idle"
      "plain"
      "served"
    ];
  };
  testAgents = {
    expr = lib.attrNames agents;
    expected = [
      "nix-jail-idle"
      "nix-jail-served"
    ];
  };
  testWorkspace = {
    expr = [
      (arguments "served")
      (arguments "idle")
    ];
    expected = [
      [
        "run"
        "served"
        "--workspace"
        "/Users/me/project"
      ]
      [
        "run"
        "idle"
        "--workspace"
        "none"
      ]
    ];
  };
  # The property list is made of it: everything in it is a value that a property list has.
  testPropertyList = {
    expr = lib.hasInfix "<string>/Users/me/project</string>" (
      lib.generators.toPlist { escape = true; } agents.nix-jail-served.serviceConfig
    );
    expected = true;
  };
}
