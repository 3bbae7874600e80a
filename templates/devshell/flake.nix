{
  description = "A dev shell, and a jail around it: nix develop, nix run";

  inputs = {
    # Or a checkout of it: "path:/path/to/the/checkout".
    nix-jail.url = "github:nix-jail/nix-jail";
    nixpkgs.follows = "nix-jail/nixpkgs";
  };

  outputs =
    {
      self,
      nix-jail,
      nixpkgs,
    }:
    let
      eachSystem =
        f:
        nixpkgs.lib.genAttrs [
          "x86_64-linux"
          "aarch64-linux"
          "aarch64-darwin"
        ] (system: f nixpkgs.legacyPackages.${system});
    in
    {
      devShells = eachSystem (pkgs: {
        default = pkgs.mkShell {
          packages = [
            pkgs.cargo
            pkgs.rustc
          ];
          RUST_BACKTRACE = "1";
        };
      });

      packages = eachSystem (pkgs: {
        default = nix-jail.lib.mkJail {
          inherit pkgs;
          modules = [
            {
              name = "devshell";
              description = "The dev shell of this project, in a jail";
              command = [ "bash" ];
              packages = [ pkgs.bashInteractive ];
              shell = self.devShells.${pkgs.stdenv.hostPlatform.system}.default;
              # What the build may fetch, for example from the package registry of its language.
              rules = [ "GET,HEAD https://github.com" ];
            }
          ];
        };
      });
    };
}
