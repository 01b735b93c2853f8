# IPv4 addresses and networks. An address is an integer, a network `{ address; prefix; }` with host bits kept.
let
  pow2 = exponent: if exponent == 0 then 1 else 2 * pow2 (exponent - 1);

  modulo = value: divisor: value - (value / divisor) * divisor;

  octet =
    text:
    # No leading zeros: some programs read them as octal.
    if builtins.match "0|[1-9][0-9]{0,2}" text == null then
      null
    else
      let
        value = builtins.fromJSON text;
      in
      if value <= 255 then value else null;

  parseAddress =
    text:
    let
      parts = builtins.match "([0-9]+)\\.([0-9]+)\\.([0-9]+)\\.([0-9]+)" text;
      octets = map octet parts;
    in
    if parts == null || builtins.elem null octets then
      null
    else
      builtins.foldl' (sum: part: sum * 256 + part) 0 octets;

  showAddress =
    value:
    let
      part = shift: toString (modulo (value / shift) 256);
    in
    "${part 16777216}.${part 65536}.${part 256}.${part 1}";

  size = cidr: pow2 (32 - cidr.prefix);
  network = cidr: cidr.address - modulo cidr.address (size cidr);
  last = cidr: network cidr + size cidr - 1;
  contains = cidr: address: network cidr <= address && address <= last cidr;
  overlaps = a: b: contains a (network b) || contains b (network a);
  # Whether all of `inner` is in `outer`.
  within = outer: inner: contains outer (network inner) && contains outer (last inner);

  parse =
    text:
    let
      parts = builtins.match "([0-9.]+)/(0|[1-9][0-9]?)" text;
      address = parseAddress (builtins.elemAt parts 0);
      prefix = builtins.fromJSON (builtins.elemAt parts 1);
    in
    if parts == null || address == null || prefix > 32 then null else { inherit address prefix; };

  range = text: parse text;

  # As in pkgs/mvm-host/src/net/topology/ranges.rs: what no host on the Internet has (RFC 1918, 6598, 2544, 5737) …
  private = map range [
    "10.0.0.0/8"
    "172.16.0.0/12"
    "192.168.0.0/16"
    "100.64.0.0/10"
    "198.18.0.0/15"
    "192.0.2.0/24"
    "198.51.100.0/24"
    "203.0.113.0/24"
  ];
in
{
  inherit
    contains
    last
    network
    overlaps
    parse
    parseAddress
    pow2
    showAddress
    size
    within
    ;

  show = cidr: "${showAddress cidr.address}/${toString cidr.prefix}";

  isPrivate = cidr: builtins.any (range: within range cidr) private;
}
