{ lib }:
let
  derivationOf = import ./jail/derivation.nix { inherit lib; };
in
{
  # A jail as a package. `bin/NAME` runs it; `.extendModules { modules = [ … ]; }` is the jail with more said about it.
  mkJail =
    {
      pkgs,
      modules ? [ ],
      package ? pkgs.nix-jail or (pkgs.callPackage ./package.nix { }),
    }:
    let
      jail =
        evaluated:
        derivationOf {
          inherit pkgs package;
          inherit (evaluated) config;
          passthru.extendModules = arguments: jail (evaluated.extendModules arguments);
        };
    in
    jail (
      lib.evalModules {
        class = "nixJail";
        modules = [
          ./jail/options.nix
          ({ config, ... }: {
            _module.args = { inherit pkgs; };
            assertions = [
              {
                assertion = !config.service.enable;
                message = "service.enable: a package starts nothing; declare the jail in services.nix-jail.jails of a system instead.";
              }
            ];
          })
        ]
        ++ modules;
      }
    );

  # The ready-made jails, as modules to build on.
  jails = lib.mapAttrs' (file: _: {
    name = lib.removeSuffix ".nix" file;
    value = ./jails + "/${file}";
  }) (builtins.readDir ./jails);
}
