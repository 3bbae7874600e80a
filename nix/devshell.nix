{ self }:
pkgs: {
  default = pkgs.mkShell {
    inputsFrom = [ self.packages.${pkgs.stdenv.hostPlatform.system}.nix-jail ];
    packages = [
      pkgs.cargo-deny
      pkgs.cargo-nextest
      pkgs.clippy
      pkgs.deadnix
      pkgs.nixfmt
      pkgs.rust-analyzer
      pkgs.rustfmt
      pkgs.shellcheck
    ];
    AWS_LC_SYS_NO_JITTER_ENTROPY = "1";
  };
}
