{
  description = "A project with a jail of its own: nix run";

  inputs = {
    # Or a checkout of it: "path:/path/to/the/checkout".
    nix-jail.url = "github:nix-jail/nix-jail";
    nixpkgs.follows = "nix-jail/nixpkgs";
  };

  outputs =
    { nix-jail, nixpkgs, ... }:
    let
      eachSystem = nixpkgs.lib.genAttrs [
        "x86_64-linux"
        "aarch64-linux"
        "aarch64-darwin"
      ];
    in
    {
      packages = eachSystem (system: {
        default = nix-jail.lib.mkJail {
          pkgs = import nixpkgs {
            inherit system;
            # Claude Code is not free software: this line accepts its licence.
            config.allowUnfreePredicate = package: nixpkgs.lib.getName package == "claude-code";
          };
          modules = [
            nix-jail.lib.jails.claude
            ./jail.nix
          ];
        };
      });
    };
}
