# `nix flake init -t`: each example by its name, found by folder, and the hosts.
{ lib }:
let
  examples = lib.attrNames (
    lib.filterAttrs (_name: type: type == "directory") (builtins.readDir ../examples)
  );

  # What an example is, it says itself: the first sentence below the title of its README.
  firstSentence =
    readme:
    let
      paragraph = lib.elemAt (lib.splitString "\n\n" (builtins.readFile readme)) 1;
      line = lib.replaceStrings [ "\n" ] [ " " ] paragraph;
    in
    lib.head (lib.splitString ": " (lib.head (lib.splitString ". " (lib.removeSuffix "." line))));
in
lib.genAttrs examples (name: {
  path = ../examples + "/${name}";
  description = firstSentence (../examples + "/${name}/README.md");
})
// {
  hypervisor = {
    path = ../hosts;
    description = firstSentence ../hosts/README.md;
    welcomeText = ''
      Next: put your values into `hypervisor/site.nix`. README.md says what else.
    '';
  };
}
