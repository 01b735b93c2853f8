# Values of options as `mvm-devenv detect --json` writes them (pkgs/mvm-project/src/services/nix_json.rs): what JSON has is
# itself, and a set of one attribute says what else it is.
{
  lib,
  pkgs,
  vmSpec,
}:
rec {
  # Names of the packages in a value, as attribute paths.
  packages =
    value:
    if builtins.isList value then
      lib.concatMap packages value
    else if !builtins.isAttrs value then
      [ ]
    else
      lib.optional (value ? package) value.package
      ++ lib.optional (value ? program) value.program
      ++ lib.concatMap packages (value.text or [ ] ++ lib.attrValues (value.set or { }));

  isKnown = path: lib.hasAttrByPath path pkgs;

  resolve =
    value:
    if builtins.isList value then
      # Those that are missing, an assertion names.
      map resolve (lib.filter (item: lib.all isKnown (packages item)) value)
    else if !builtins.isAttrs value then
      value
    else if value ? package then
      lib.getAttrFromPath value.package pkgs
    else if value ? program then
      lib.getExe (lib.getAttrFromPath value.program pkgs)
    else if value ? text then
      lib.concatMapStrings (part: "${resolve part}") value.text
    else if value ? file then
      pkgs.writeText value.file.name value.file.text
    else if value ? user then
      vmSpec.user.name
    else
      lib.mapAttrs (_: resolve) value.set;
}
