# The units of systemd for services of jails, as the program makes them: `jail units` is their one source on every host.
{
  pkgs,
  # The program `jail`.
  package,
  # Packages of jails.
  jails,
}:
let
  maker = import ./build-program.nix { inherit package pkgs; };
in
pkgs.runCommandLocal "nix-jail-units"
  {
    specifications = map (jail: "${jail}/share/nix-jail/${jail.spec.name}.json") jails;
  }
  ''
    ${maker}/bin/jail units --output $out/lib/systemd/system $specifications
    # The units run the program that made them, or the host platform's where that is another.
    [ ${maker} = ${package} ] ||
      find $out/lib/systemd/system -type f -exec sed -i 's|${maker}/|${package}/|g' {} +
  ''
