{
  description = "Runs a coding agent in a jail whose only way out is its own proxy; real tokens never enter it";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    # For the checks of the darwin module; consumers may let it follow theirs, or drop it with `follows = ""`.
    nix-darwin = {
      url = "github:nix-darwin/nix-darwin/nix-darwin-26.05";
      inputs.nixpkgs.follows = "nixpkgs";
    };
  };

  outputs =
    {
      self,
      nixpkgs,
      nix-darwin,
    }:
    let
      inherit (nixpkgs) lib;
      eachSystem = lib.genAttrs [
        "x86_64-linux"
        "aarch64-linux"
        "aarch64-darwin"
      ];
      pkgsFor = system: nixpkgs.legacyPackages.${system};
    in
    {
      lib = import ./nix/lib.nix { inherit lib; };

      packages = eachSystem (system: import ./nix/packages.nix { inherit self nixpkgs system; });
      apps = eachSystem (system: import ./nix/apps.nix { inherit self nixpkgs system; });
      checks = eachSystem (
        system:
        import ./nix/checks.nix {
          inherit
            self
            nixpkgs
            nix-darwin
            system
            ;
        }
      );
      devShells = eachSystem (system: import ./nix/devshell.nix { inherit self; } (pkgsFor system));
      formatter = eachSystem (system: (pkgsFor system).nixfmt-tree);

      overlays.default = final: _: { nix-jail = final.callPackage ./nix/package.nix { }; };
      nixosModules.default = ./modules/nixos.nix;
      darwinModules.default = ./modules/darwin.nix;
      homeModules.default = ./modules/home.nix;
      templates = import ./templates;
    };
}
