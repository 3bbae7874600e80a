{
  self,
  nixpkgs,
  system,
}:
let
  pkgs = nixpkgs.legacyPackages.${system};
  package = pkgs.callPackage ./package.nix { };

  # claude-code has a licence that one must agree to by naming it; nothing else here may.
  agents = import nixpkgs {
    inherit system;
    config.allowUnfreePredicate = package: nixpkgs.lib.getName package == "claude-code";
  };
  readyMade = builtins.mapAttrs (
    _: module:
    self.lib.mkJail {
      pkgs = agents;
      modules = [ module ];
      inherit package;
    }
  ) self.lib.jails;
in
readyMade
// {
  nix-jail = package;
  default = package;
  docs = (import ./docs.nix { inherit (nixpkgs) lib; }).manual pkgs;
}
