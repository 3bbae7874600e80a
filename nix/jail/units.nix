# The units of systemd for services of jails, as the program makes them: `jail units` is their one source on every host.
{
  pkgs,
  # The program `jail`.
  package,
  # Packages of jails.
  jails,
}:
pkgs.runCommandLocal "nix-jail-units"
  {
    specifications = map (jail: "${jail}/share/nix-jail/${jail.spec.name}.json") jails;
  }
  ''
    ${package}/bin/jail units --output $out/lib/systemd/system $specifications
  ''
