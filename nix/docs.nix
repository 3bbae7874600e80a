# The options of one jail, for people.
{ lib }:
let
  # Values are of no interest here, so no packages either.
  inherit
    (lib.evalModules {
      class = "nixJail";
      modules = [ ./jail/options.nix ];
    })
    options
    ;
  inSource = file: lib.removePrefix "${toString ../.}/" (toString file);
  shown = removeAttrs options [ "_module" ];

  entries = lib.filter (option: option.visible && !option.internal) (
    lib.optionAttrSetToDocList shown
  );
  cell = text: lib.replaceStrings [ "\n" "|" ] [ " " "\\|" ] (lib.trim text);
  row = option: "| `${option.name}` | ${cell option.description} |";
in
{
  # For README.md, between `<!-- options -->` and `<!-- /options -->`.
  table = lib.concatLines (
    [
      "| option | meaning |"
      "|---|---|"
    ]
    ++ map row entries
  );

  manual =
    pkgs:
    let
      markdown =
        (pkgs.nixosOptionsDoc {
          options = shown;
          # By their place in the source: as they are they would name the store path of a checkout.
          transformOptions =
            option: option // { declarations = map (file: { name = inSource file; }) option.declarations; };
        }).optionsCommonMark;
    in
    pkgs.runCommandLocal "nix-jail-docs" { } ''
      install -Dm444 ${markdown} $out/share/doc/nix-jail/options.md
    '';
}
