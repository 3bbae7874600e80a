# What the program asks of a nixpkgs. `names` lists attribute paths, one a line: they come in as data, so nothing in
# them is ever code.
#   question = "outputs": the derivations, of each package the output with its programs, as `lib.getBin` has it
#   question = "inspect": what each name is, for the text of an error
{
  nixpkgs,
  names,
  question,
}:
let
  imported = import (/. + nixpkgs);
  # Nothing of the user's own settings: what a name means is decided by nixpkgs alone.
  settings = {
    config = { };
    overlays = [ ];
  };
  packages =
    if builtins.isFunction imported then
      imported (builtins.intersectAttrs (builtins.functionArgs imported) settings)
    else
      imported;

  split = separator: text: builtins.filter builtins.isString (builtins.split separator text);
  lines = split "\n" names;

  outputs =
    name:
    let
      steps = split "\\." name;
      package = builtins.foldl' (set: step: set.${step}) packages steps;
      last = builtins.elemAt steps (builtins.length steps - 1);
      isOutput =
        package.outputSpecified or (builtins.length steps > 1 && package.outputName or "" == last);
    in
    # A set of packages would be built as all of them.
    if package.type or "" != "derivation" then
      throw "${name} is not a package"
    else if isOutput then
      package
    else
      package.bin or package.out or package;

  # What throws (a package that was removed, one that is broken) says why itself: no more is asked of it.
  throws = value: !(builtins.tryEval value).success;
  isPackage = value: throws value || builtins.isAttrs value && value.type or "" == "derivation";

  inspect =
    name:
    let
      walk =
        value: before: steps:
        let
          step = builtins.head steps;
        in
        if steps == [ ] || throws value then
          { state = if isPackage value then "package" else "other"; }
        else if builtins.isAttrs value && value ? ${step} then
          walk value.${step} "${before}${step}." (builtins.tail steps)
        else
          {
            state = "missing";
            inherit before step;
            siblings = if builtins.isAttrs value then builtins.attrNames value else [ ];
          };
    in
    { inherit name; } // walk packages "" (split "\\." name);
in
if question == "outputs" then map outputs lines else map inspect lines
