# The VMs that the declared ones amount to: `copies = N` makes NAME-1 to NAME-N of NAME.
let
  # `{ family, index, name }`; index 0 is the only one of its family.
  ofFamily =
    family: copies:
    if copies == null then
      [
        {
          inherit family;
          index = 0;
          name = family;
        }
      ]
    else
      builtins.genList (number: {
        inherit family;
        index = number + 1;
        name = "${family}-${toString (number + 1)}";
      }) copies;

  before = a: b: if a.index == b.index then a.name < b.name else a.index < b.index;
in
{
  inherit ofFamily;

  # All of `families` (name → copies or null), in the order in which they choose places and ports: single VMs first,
  # then all first copies, all second ones, … So raising `copies` adds at the end and takes nothing from the others.
  all =
    families:
    builtins.sort before (
      builtins.concatMap (family: ofFamily family families.${family}) (builtins.attrNames families)
    );
}
