# The options that every module system has; how a jail's command and file get where they belong is each one's own.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.nix-jail;
  derivationOf = import ../nix/jail/derivation.nix { inherit lib; };
in
{
  options.services.nix-jail = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = cfg.jails != { };
      defaultText = lib.literalExpression "config.services.nix-jail.jails != { }";
      example = true;
      description = "Whether the command `jail` is there.";
    };

    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.nix-jail or (pkgs.callPackage ../nix/package.nix { });
      defaultText = lib.literalExpression "pkgs.nix-jail, or the package of this flake";
      description = "The program `jail`.";
    };

    jails = lib.mkOption {
      type = lib.types.attrsOf (
        lib.types.submoduleWith {
          class = "nixJail";
          modules = [
            ../nix/jail/options.nix
            (
              { name, ... }:
              {
                _module.args = { inherit pkgs; };
                # Stronger than the name that a ready-made jail brings, weaker than a user's, which is refused below.
                name = lib.mkOverride 900 name;
              }
            )
          ];
        }
      );
      default = { };
      example = lib.literalExpression ''
        {
          claude = {
            imports = [ nix-jail.lib.jails.claude ];
            rules = [ "GET,HEAD https://api.github.com/repos/**" ];
          };
        }
      '';
      description = "The jails; each is a command of its name, and `jail run NAME` finds it.";
    };

    packages = lib.mkOption {
      type = lib.types.attrsOf lib.types.package;
      internal = true;
      readOnly = true;
      description = "The jails' packages, by the jails' names.";
    };
  };

  config = {
    services.nix-jail.packages = lib.listToAttrs (
      lib.mapAttrsToList (_: jail: {
        inherit (jail) name;
        value = derivationOf {
          inherit pkgs;
          inherit (cfg) package;
          # The system's own assertions say it, all at once.
          config = jail // {
            assertions = [ ];
          };
        };
      }) cfg.jails
    );

    assertions = lib.concatLists (
      lib.mapAttrsToList (
        attribute: jail:
        map (assertion: {
          inherit (assertion) assertion;
          message = "services.nix-jail.jails.${attribute}.${assertion.message}";
        }) jail.assertions
        ++ [
          {
            assertion = jail.name == attribute;
            message = "services.nix-jail.jails.${attribute}.name: a jail has the name it is declared by; call the attribute ${jail.name}.";
          }
        ]
      ) cfg.jails
    );
  };
}
