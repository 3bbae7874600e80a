# The home-manager module, in a stand-in for home-manager that has the options it sets.
{
  failures,
  home,
  homeOn,
  lib,
  nix-jail,
  ...
}:
let
  system = home [ { services.nix-jail.jails.claude = nix-jail.lib.jails.claude; } ];
in
{
  testCommands = {
    expr = map lib.getName system.config.home.packages;
    expected = [
      "nix-jail"
      "claude"
    ];
  };
  testOnMac = {
    expr =
      map lib.getName
        (homeOn "aarch64-darwin" [
          { services.nix-jail.jails.claude = nix-jail.lib.jails.claude; }
        ]).config.home.packages;
    expected = [
      "nix-jail"
      "claude"
    ];
  };
  testFiles = {
    expr = lib.mapAttrs (
      _: file: lib.hasSuffix "/share/nix-jail/claude.json" file.source
    ) system.config.xdg.configFile;
    expected = {
      "nix-jail/claude.json" = true;
    };
  };
  testNothingFails = {
    expr = failures system;
    expected = [ ];
  };
  testServiceSaysSo = {
    expr = map (lib.hasInfix "home-manager starts no jails") (
      failures (home [ { services.nix-jail.jails.x.service.enable = true; } ])
    );
    expected = [ true ];
  };
}
