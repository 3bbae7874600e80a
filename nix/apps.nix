{
  self,
  nixpkgs,
  system,
}:
let
  inherit (nixpkgs) lib;
  pkgs = nixpkgs.legacyPackages.${system};
  packages = self.packages.${system};
  names = builtins.attrNames self.lib.jails;

  # A ready-made jail is built when a command line names it: `jail demo` downloads no agents.
  realise = name: ''
    ${name}) jail=${builtins.unsafeDiscardOutputDependency packages.${name}.drvPath} && break ;;
  '';

  wrapper = pkgs.writeTextFile {
    name = "jail";
    executable = true;
    destination = "/bin/jail";
    text = ''
      #!${pkgs.runtimeShell}
      set -eu
      jail= previous=
      # The jail is the first word, or the first one after a command that reads a jail; options may come before it.
      case ''${1:-} in run | explain | units | export-oci) first=2 ;; *) first=1 ;; esac
      for word in "''${@:first}"; do
        # The packages and programs of an option have such names too.
        case $previous in -p | --package | --host) previous= && continue ;; esac
        case $word in
      ${lib.concatMapStrings realise names}
          --) break ;;
          --*=*) previous= && continue ;;
          -*) previous=$word && continue ;;
        esac
        # It may be the value of an option, or what `explain` is about; otherwise it is another jail, or a command that needs none.
        [ -n "$previous" ] || [ "''${1:-}" = explain ] || break
        previous=
      done
      if [ -n "$jail" ]; then
        # A root of its own, so that the next garbage collection leaves it.
        roots=''${XDG_CACHE_HOME:-$HOME/.cache}/nix-jail/ready-made
        mkdir -p "$roots"
        root=$(nix-store --realise "$jail" --indirect --add-root "$roots/$word") || exit 125
        export JAIL_PATH=''${JAIL_PATH:+$JAIL_PATH:}$root/share/nix-jail
      fi
      export JAIL_NIXPKGS=''${JAIL_NIXPKGS:-${nixpkgs}}
      exec ${packages.nix-jail}/bin/jail "$@"
    '';
  };

  jail = {
    type = "app";
    program = "${wrapper}/bin/jail";
    meta.description = "Run a command in a jail; knows the ready-made jails ${toString names}";
  };
in
{
  inherit jail;
  default = jail;
}
