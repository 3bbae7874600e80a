{
  self,
  nixpkgs,
  system,
}:
let
  pkgs = nixpkgs.legacyPackages.${system};
  package = pkgs.callPackage ./package.nix { };

  # These have licences that one must agree to by naming them; nothing else here may.
  agents = import nixpkgs {
    inherit system;
    config.allowUnfreePredicate =
      package:
      builtins.elem (nixpkgs.lib.getName package) [
        "claude-code"
        "github-copilot-cli"
      ];
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
// nixpkgs.lib.optionalAttrs pkgs.stdenv.hostPlatform.isLinux {
  # For where there is no Nix, and no C library: musl, and `ring` as its cryptography.
  nix-jail-static = pkgs.pkgsStatic.callPackage ./package.nix { };
}
// {
  nix-jail = package;
  default = package;
  docs = (import ./docs.nix { inherit (nixpkgs) lib; }).manual pkgs;
}
