{
  description = "A NixOS host with two declared jails";

  inputs = {
    # Or a checkout of it: "path:/path/to/the/checkout".
    nix-jail.url = "github:nix-jail/nix-jail";
    nixpkgs.follows = "nix-jail/nixpkgs";
  };

  outputs =
    { nix-jail, nixpkgs, ... }:
    {
      nixosConfigurations.host = nixpkgs.lib.nixosSystem {
        specialArgs = { inherit nix-jail; };
        modules = [
          nix-jail.nixosModules.default
          ./configuration.nix
          ./jails.nix
        ];
      };
    };
}
