# Names of VMs and what is derived from them. The same derivations as `VmName` in pkgs/mvm-spec/src/name.rs;
# tests/contract/derived/names.json binds the two.
let
  # IFNAMSIZ - 1 (linux/if.h).
  interfaceMax = 15;

  hexToInt = digits: (builtins.fromTOML "value = 0x${digits}").value;

  base32 = [
    "a"
    "b"
    "c"
    "d"
    "e"
    "f"
    "g"
    "h"
    "i"
    "j"
    "k"
    "l"
    "m"
    "n"
    "o"
    "p"
    "q"
    "r"
    "s"
    "t"
    "u"
    "v"
    "w"
    "x"
    "y"
    "z"
    "2"
    "3"
    "4"
    "5"
    "6"
    "7"
  ];

  # 20 bits as four digits of base 32: five hexadecimal digits are a whole number of both.
  group =
    digest: offset:
    let
      value = hexToInt (builtins.substring offset 5 digest);
      digit = place: builtins.elemAt base32 (builtins.bitAnd (value / place) 31);
    in
    digit 32768 + digit 1024 + digit 32 + digit 1;

  interface =
    prefix: name:
    let
      readable = "${prefix}-${name}";
      digest = builtins.hashString "sha256" name;
      hashed = "${prefix}_${group digest 0}${group digest 5}${group digest 10}";
    in
    if builtins.stringLength readable <= interfaceMax then
      readable
    else
      builtins.substring 0 interfaceMax hashed;
in
{
  inherit hexToInt;

  # A DNS label in lower case (RFC 1123, 2.1): host name, directory name and unit instance at once.
  isValid =
    name:
    builtins.stringLength name <= 63 && builtins.match "[a-z0-9]([a-z0-9-]*[a-z0-9])?" name != null;

  # The tap's interface name on the host.
  tap = interface "mvm";

  # The name of a bridge of the VM's own.
  bridge = interface "br";

  # Locally administered, unicast (IEEE 802).
  mac =
    name:
    let
      digest = builtins.hashString "sha256" "microvm-dev mac ${name}";
      octet = index: builtins.substring (2 * index) 2 digest;
    in
    "02:${octet 0}:${octet 1}:${octet 2}:${octet 3}:${octet 4}";

  # machine-id(5) where no credential can bring one: the same at every boot.
  machineId =
    name: builtins.substring 0 32 (builtins.hashString "sha256" "microvm-dev machine-id ${name}");

  # VSOCK context id; 0 to 2 are reserved (vsock(7)).
  cid =
    name:
    3 + hexToInt (builtins.substring 0 7 (builtins.hashString "sha256" "microvm-dev cid ${name}"));

  # A number from 0 to below `size` that depends on `text` alone.
  slot =
    text: size:
    let
      value = hexToInt (builtins.substring 0 12 (builtins.hashString "sha256" text));
    in
    value - (value / size) * size;

  # Interface names as Linux takes them, in what unit and firewall files can hold.
  isInterface =
    name:
    builtins.stringLength name <= interfaceMax
    && builtins.match "[A-Za-z0-9_-][A-Za-z0-9_.-]*" name != null;

  isMac = text: builtins.match "[0-9a-f]{2}(:[0-9a-f]{2}){5}" text != null;

  # The lowest bit of the first octet says multicast.
  isUnicast = mac: builtins.bitAnd (hexToInt (builtins.substring 0 2 mac)) 1 == 0;

  # Login names in the form that useradd takes.
  isLogin = name: builtins.stringLength name <= 31 && builtins.match "[a-z_][a-z0-9_-]*" name != null;
}
