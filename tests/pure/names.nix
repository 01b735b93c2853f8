let
  inherit (import ../../modules/lib) names;
  derived = builtins.fromJSON (builtins.readFile ../contract/derived/names.json);
  sixtyThree = builtins.concatStringsSep "" (builtins.genList (_: "a") 63);
in
{
  "taps, bridges and MACs are those that Rust derives" = {
    expr = map (
      { name, ... }:
      {
        inherit name;
        tap = names.tap name;
        bridge = names.bridge name;
        mac = names.mac name;
      }
    ) derived;
    expected = derived;
  };
  "names are DNS labels in lower case" = {
    expr = map names.isValid [
      "a"
      "7"
      "my-shop-2"
      sixtyThree
    ];
    expected = [
      true
      true
      true
      true
    ];
  };
  "other names are refused" = {
    expr = builtins.filter names.isValid [
      ""
      "-a"
      "a-"
      "A"
      "a_b"
      "a.b"
      "a b"
      "ä"
      "a\n"
      "${sixtyThree}a"
    ];
    expected = [ ];
  };
  "interface names are always short enough" = {
    expr = builtins.filter (name: builtins.stringLength name > 15) (
      builtins.concatMap (length: [
        (names.tap (builtins.substring 0 length sixtyThree))
        (names.bridge (builtins.substring 0 length sixtyThree))
      ]) (builtins.genList (length: length + 1) 63)
    );
    expected = [ ];
  };
  "a slot is within its size, and depends on the text" = {
    expr =
      let
        slots = builtins.genList (n: names.slot "vm-${toString n}" 245) 200;
      in
      {
        within = builtins.all (slot: slot >= 0 && slot < 245) slots;
        spread = builtins.length (builtins.attrNames (builtins.groupBy toString slots)) > 100;
        same = names.slot "shop" 245 == names.slot "shop" 245;
      };
    expected = {
      within = true;
      spread = true;
      same = true;
    };
  };
  "machine ids have the form of machine-id(5), and differ" = {
    expr = {
      form = builtins.match "[0-9a-f]{32}" (names.machineId "shop-1") != null;
      differ = names.machineId "shop-1" != names.machineId "shop-2";
    };
    expected = {
      form = true;
      differ = true;
    };
  };
  "context ids are none of the reserved" = {
    expr = builtins.all (n: names.cid "vm-${toString n}" >= 3) (builtins.genList (n: n) 50);
    expected = true;
  };
  "multicast and malformed MACs are told apart" = {
    expr = [
      (names.isUnicast "02:00:5e:00:53:01")
      (names.isUnicast "01:00:5e:00:00:01")
      (names.isMac "02:00:5e:00:53:01")
      (names.isMac "02:00:5E:00:53:01")
      (names.isMac "02:00:5e")
    ];
    expected = [
      true
      false
      true
      false
      false
    ];
  };
}
