# Port forwards, as `Forward` in pkgs/mvm-spec/src/forward.rs.
let
  addresses = import ./addresses.nix;

  anyV4 = "0.0.0.0";
  anyV6 = "::";

  listening =
    forward:
    if forward.address == null then
      [
        "127.0.0.1"
        "::1"
      ]
    else
      [ forward.address ];

  isV6 = address: builtins.match ".*:.*" address != null;

  overlap =
    a: b:
    a == b
    || (
      isV6 a == isV6 b
      && builtins.any (any: a == any || b == any) [
        anyV4
        anyV6
      ]
    );

  # Whether both can't be served at once.
  conflict =
    a: b:
    a.proto == b.proto
    && a.host == b.host
    && builtins.any (x: builtins.any (overlap x) (listening b)) (listening a);

  # The host's side as people write it.
  show =
    {
      proto,
      host,
      address,
      ...
    }:
    let
      place =
        if address == null then
          ""
        else if isV6 address then
          "[${address}]:"
        else
          "${address}:";
    in
    "${place}${toString host}/${proto}";

  # What a copy forwards: the host's port counts up, 0 stays "any".
  ofCopy =
    index: forward:
    if forward.host == 0 || index == 0 then
      forward
    else
      forward // { host = forward.host + index - 1; };
in
{
  inherit conflict ofCopy show;

  isV4 = text: (import ./cidr.nix).parseAddress text != null;
  # Loose: the spec's own check reads addresses exactly.
  isV6 = text: builtins.match "[0-9a-f:]*:[0-9a-f:]*[0-9a-f:.]*" text != null;

  # Gives the forwards with `host = 0` a port of `range`, by a hash of the VM's name and what it forwards, so that it
  # stays the same port from one rebuild to the next. `owned`: list of `{ name, forward }` in the order of choice.
  # A port that is none's (the range is full) stays 0.
  settle =
    range: owned:
    let
      key =
        entry:
        "${entry.name} ${entry.forward.proto} ${toString entry.forward.guest} ${toString entry.forward.address}";
      fixed = builtins.filter (entry: entry.forward.host != 0) owned;
      chosen = addresses.choose {
        first = range.from;
        last = range.to;
        wanting = map key (builtins.filter (entry: entry.forward.host == 0) owned);
        taken = builtins.listToAttrs (
          map (entry: {
            name = toString entry.forward.host;
            value = entry.name;
          }) fixed
        );
      };
      port =
        entry:
        let
          number = chosen.${key entry};
        in
        if number == null then 0 else number;
    in
    map (
      entry:
      if entry.forward.host != 0 then
        entry
      else
        entry
        // {
          forward = entry.forward // {
            host = port entry;
          };
        }
    ) owned;

  # Pairs `{ a, b }` of entries that can't be served at once. Entries are compared within a port, so that many
  # forwards cost no more than they must.
  conflicts =
    owned:
    let
      byPort = builtins.groupBy (entry: "${toString entry.forward.host}/${entry.forward.proto}") owned;
      pairs =
        entries:
        if entries == [ ] then
          [ ]
        else
          let
            a = builtins.head entries;
            rest = builtins.tail entries;
          in
          map (b: { inherit a b; }) (builtins.filter (b: conflict a.forward b.forward) rest) ++ pairs rest;
    in
    builtins.concatMap (port: pairs byPort.${port}) (builtins.attrNames byPort);
}
