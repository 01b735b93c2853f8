# The options themselves.
{ lib, world, ... }:
let
  inherit (world.sketched [ ] { }) options;
  visible = lib.filter (
    option: option.visible && !option.internal && lib.hasPrefix "services.microvm-dev." option.name
  ) (lib.optionAttrSetToDocList options);
  tests = lib.concatMapStrings builtins.readFile (
    lib.filter (file: lib.hasSuffix ".nix" (toString file)) (lib.filesystem.listFilesRecursive ./.)
  );
  # Named as an attribute, or by the end of a longer path.
  isTested =
    option:
    let
      name = lib.last option.loc;
    in
    lib.any (after: lib.hasInfix "${name}${after}" tests) [
      " ="
      "."
      ";"
    ];
in
{
  "every option is in some test" = {
    expr = map (option: option.name) (lib.filter (option: !isTested option) visible);
    expected = [ ];
  };
  "every option says what it is for" = {
    expr = map (option: option.name) (
      lib.filter (
        option:
        let
          text = option.description.text or (option.description or "");
        in
        lib.stringLength text < 12
      ) visible
    );
    expected = [ ];
  };
  "every option has a default, or belongs to something that must be named" = {
    expr = map (option: lib.removePrefix "services.microvm-dev.vms.<name>." option.name) (
      lib.filter (option: !(option ? default)) visible
    );
    expected = [
      "forwardPorts.*.guest"
      "forwardPorts.*.host"
      "processes.<name>.exec"
      "shares.*.mountPoint"
      "shares.*.source"
      "shares.*.tag"
      "volumes.*.image"
      "volumes.*.mountPoint"
      "volumes.*.size"
    ];
  };
  "types that could be tighter are not used" = {
    expr = map (option: option.name) (
      lib.filter (
        option:
        lib.elem option.type [
          "anything"
          "unspecified value"
          "unspecified"
          "raw value"
          "attribute set"
        ]
      ) visible
    );
    expected = [ ];
  };
  "nothing that is right is warned about" = {
    expr = {
      ours = lib.concatMap (host: host.services.microvm-dev.vms.shop.warnings or [ ]) [
        world.hosts.desk
      ];
      hosts = lib.concatMap (host: lib.filter (lib.hasInfix "microvm-dev") host.warnings) (
        lib.attrValues {
          inherit (world.hosts)
            desk
            odd
            perVm
            nftables
            ;
        }
      );
    };
    expected = {
      ours = [ ];
      hosts = [ ];
    };
  };
}
