# What the tests of this folder are written with.
{
  lib,
  nixos ? null,
  nix-darwin ? null,
  # What the templates are evaluated with; without it a stand-in that knows names only.
  nixpkgs ? null,
}:
let
  agreed.allowUnfreePredicate = package: lib.getName package == "claude-code";

  # The packages that a whole system is evaluated with.
  systemPackages =
    system:
    if nixpkgs != null then
      import nixpkgs {
        inherit system;
        config = agreed;
      }
    else
      import ./nixpkgs {
        inherit lib nixos system;
        config = agreed;
      };

  self = {
    inherit lib;
    pkgs = import ./nixpkgs {
      inherit lib nixos;
      config = agreed;
    };

    nixpkgs =
      if nixpkgs != null then
        nixpkgs
      else
        {
          outPath = ./nixpkgs;
          lib = lib // {
            nixosSystem = { modules, ... }: self.nixos modules;
          };
          legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" "aarch64-darwin" ] (
            system: import ./nixpkgs { inherit lib system; }
          );
        };

    nix-jail = {
      lib = import ../../../nix/lib.nix { inherit lib; };
      nixosModules.default = ../../../modules/nixos.nix;
      darwinModules.default = ../../../modules/darwin.nix;
      homeModules.default = ../../../modules/home.nix;
    };

    # One jail of one module.
    jail =
      module:
      self.nix-jail.lib.mkJail {
        inherit (self) pkgs;
        modules = [ module ];
      };

    # Whether it is refused, when it is looked at to the bottom.
    refused = value: !(builtins.tryEval (builtins.deepSeq value true)).success;

    # The same whatever a stand-in's path is hashed from, and wherever the store is.
    withoutHashes =
      value:
      let
        pieces = builtins.split "${lib.escapeRegex builtins.storeDir}/[0-9a-z]{32}-" (
          builtins.toJSON value
        );
        join = lib.concatMapStrings (
          piece: if lib.isList piece then "/nix/store/00000000000000000000000000000000-" else piece
        );
      in
      builtins.fromJSON (builtins.unsafeDiscardStringContext (join pieces));

    # The whole real module tree of NixOS, with packages that are names.
    nixos =
      modules:
      lib.evalModules {
        class = "nixos";
        specialArgs = {
          modulesPath = toString (nixos + "/modules");
          inherit (self) nix-jail;
        };
        modules =
          import (nixos + "/modules/module-list.nix")
          ++ [
            self.nix-jail.nixosModules.default
            {
              _module.args = {
                pkgs = lib.mkForce (systemPackages "x86_64-linux");
                baseModules = [ ];
                extraModules = [ ];
                modules = [ ];
              };
              nixpkgs.hostPlatform = "x86_64-linux";
              system.stateVersion = lib.mkDefault "25.05";
              documentation.enable = false;
              boot.loader.grub.enable = false;
              environment.stub-ld.enable = false;
              fileSystems."/" = {
                device = lib.mkDefault "/dev/vda";
                fsType = lib.mkDefault "ext4";
              };
            }
          ]
          ++ modules;
      };

    # A test of checks/vm by NixOS' own framework, its machines in that module tree.
    nixosTest =
      file:
      (import (nixos + "/lib") { inherit lib; }).evalTest {
        imports = [ (import file { inherit lib; }) ];
        hostPkgs = systemPackages "x86_64-linux";
        defaults = {
          _module.args.pkgs = lib.mkForce (systemPackages "x86_64-linux");
          environment.stub-ld.enable = false;
          documentation.enable = false;
        };
      };

    # The whole real module tree of nix-darwin, likewise.
    darwin =
      modules:
      lib.evalModules {
        class = "darwin";
        specialArgs = {
          modulesPath = toString (nix-darwin + "/modules");
          inherit (self) nix-jail;
        };
        modules =
          import (nix-darwin + "/modules/module-list.nix")
          ++ [
            self.nix-jail.darwinModules.default
            {
              _module.args.pkgs = lib.mkForce (systemPackages "aarch64-darwin");
              nixpkgs.hostPlatform = "aarch64-darwin";
              system.stateVersion = 6;
              # Its own tools are built by its own expressions.
              system.tools.enable = false;
              nix.enable = false;
              documentation.enable = false;
            }
          ]
          ++ modules;
      };

    # The options of home-manager that our module sets: a stand-in, not home-manager.
    home = self.homeOn "x86_64-linux";
    homeOn =
      system: modules:
      lib.evalModules {
        class = "homeManager";
        specialArgs = {
          pkgs = systemPackages system;
          inherit (self) nix-jail;
        };
        modules = [
          self.nix-jail.homeModules.default
          {
            options = {
              home.packages = lib.mkOption { type = lib.types.listOf lib.types.package; };
              xdg.configFile = lib.mkOption {
                type = lib.types.attrsOf (
                  lib.types.submodule { options.source = lib.mkOption { type = lib.types.path; }; }
                );
              };
              assertions = lib.mkOption { type = lib.types.listOf lib.types.unspecified; };
            };
          }
        ]
        ++ modules;
      };

    # The messages of a system's assertions that do not hold.
    failures =
      system: map (failed: failed.message) (lib.filter (each: !each.assertion) system.config.assertions);

    examples = import ./examples.nix self;
  };
in
self
