# Jails that are really built, of the packages of checks/toy-nixpkgs: nix-build -A sees, with NIX_PATH=nixpkgs=….
{
  lib ? import <nixpkgs/lib>,
  # A directory with `bin/jail`.
  package,
}:
let
  toy = import ../../toy-nixpkgs { };
  pkgs = import ./builders.nix { inherit lib toy package; };

  jail =
    module:
    (import ../../../nix/lib.nix { inherit lib; }).mkJail {
      inherit pkgs package;
      modules = [ module ];
    };

  # It runs, and lists what it sees of the store.
  sees = {
    name = "sees";
    packages = [
      toy.bash
      toy.busybox
    ];
    command = [
      "sh"
      "-c"
    ];
  };

  # A service.
  served = sees // {
    name = "served";
    command = [ "sh" ];
    rules = [ "tcp://db.example.com:5432" ];
    service.workspace = "/srv/project";
  };
in
{
  sees = jail sees;
  greets = jail {
    name = "greets";
    packages = [ toy.hello ];
    command = [ "hello" ];
  };
  # Only the command names it.
  named = jail {
    name = "named";
    command = [ "${toy.hello}/bin/hello" ];
  };

  units = import ../../../nix/jail/units.nix {
    inherit pkgs package;
    jails = [ (jail served) ];
  };
  served = jail served;

  # None of these builds.
  bad-rule = jail (sees // { rules = [ "https://" ]; });
  undeclared = jail (
    sees
    // {
      rules = [
        {
          hosts = [ "example.com" ];
          credential = "TOKEN";
        }
      ];
    }
  );
  too-large = jail (sees // { closure.maxSize = "1K"; });
  forbidden = jail (sees // { closure.forbid = [ toy.busybox ]; });
  # Limits that hold.
  within-limits = jail (
    sees
    // {
      closure = {
        maxSize = "1G";
        forbid = [ toy.fails ];
      };
    }
  );
}
