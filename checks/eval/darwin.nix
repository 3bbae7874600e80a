# The nix-darwin module in the whole module list of nix-darwin.
{
  darwin,
  failures,
  lib,
  pkgs,
  withoutHashes,
  ...
}:
let
  system = darwin [
    {
      # The golden file names its program, whatever nixpkgs is used.
      services.nix-jail.package = pkgs.nix-jail;
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
  # After the shell that waits for the store, and the program.
  arguments = name: lib.drop 5 agents."nix-jail-${name}".serviceConfig.ProgramArguments;
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
  # What launchd reads.
  testPropertyList = {
    expr =
      withoutHashes
        system.config.environment.userLaunchAgents."org.nixos.nix-jail-served.plist".text;
    expected = lib.readFile ./golden/served.plist;
  };
  testWhatMacCannotSaysSo = {
    expr =
      map
        (
          jail:
          map (lib.hasInfix "services.nix-jail.jails.x.") (
            failures (darwin [ { services.nix-jail.jails.x = jail; } ])
          )
        )
        [
          { workspaceMode = "overlay"; }
          { backend = "native"; }
          { service.user = "builder"; }
          { backend = "seatbelt"; }
        ];
    expected = [
      [ true ]
      [ true ]
      [ true ]
      [ ]
    ];
  };
}
