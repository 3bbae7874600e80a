{
  description = "A nixpkgs in small, for checks without network";

  outputs =
    { self }:
    let
      eachSystem =
        f:
        builtins.listToAttrs (
          map
            (system: {
              name = system;
              value = f (import ./. { inherit system; });
            })
            [
              "x86_64-linux"
              "aarch64-linux"
            ]
        );
    in
    {
      legacyPackages = eachSystem (packages: packages);
      packages = eachSystem (packages: {
        inherit (packages)
          bash
          busybox
          fails
          hello
          split
          ;
      });
      devShells = eachSystem (packages: {
        default = packages.shell;
      });
    };
}
