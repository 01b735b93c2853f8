let
  inherit (import ../../modules/lib) ports;
  forward = {
    host = 8080;
    guest = 3000;
    proto = "tcp";
    address = null;
  };
  at = address: forward // { inherit address; };
  entry = name: forward: { inherit name forward; };
in
{
  "loopback and all addresses conflict, different ones don't" = {
    expr = map (pair: ports.conflict (builtins.elemAt pair 0) (builtins.elemAt pair 1)) [
      [
        (at null)
        (at null)
      ]
      [
        (at null)
        (at "127.0.0.1")
      ]
      [
        (at null)
        (at "0.0.0.0")
      ]
      [
        (at null)
        (at "::")
      ]
      [
        (at null)
        (at "10.0.0.1")
      ]
      [
        (at "0.0.0.0")
        (at "::1")
      ]
      [
        (at null)
        (at null // { proto = "udp"; })
      ]
      [
        (at null)
        (at null // { host = 8081; })
      ]
    ];
    expected = [
      true
      true
      true
      true
      false
      false
      false
      false
    ];
  };
  "the host's port of a copy counts up, any stays any" = {
    expr = [
      (ports.ofCopy 0 forward).host
      (ports.ofCopy 1 forward).host
      (ports.ofCopy 5 forward).host
      (ports.ofCopy 5 (forward // { host = 0; })).host
    ];
    expected = [
      8080
      8080
      8084
      0
    ];
  };
  "a free port is within the range, taken by nobody, and the same again" = {
    expr =
      let
        range = {
          from = 20000;
          to = 20002;
        };
        settled = ports.settle range [
          (entry "a" (forward // { host = 20001; }))
          (entry "b" (forward // { host = 0; }))
          (entry "c" (forward // { host = 0; }))
          (entry "d" (forward // { host = 0; }))
        ];
      in
      {
        hosts = builtins.sort builtins.lessThan (map (settled: settled.forward.host) settled);
        again = settled == ports.settle range settled;
      };
    expected = {
      # The range is full for the last.
      hosts = [
        0
        20000
        20001
        20002
      ];
      again = true;
    };
  };
  "conflicts name both" = {
    expr = map (pair: "${pair.a.name} ${pair.b.name}") (
      ports.conflicts [
        (entry "a" forward)
        (entry "b" (forward // { host = 1; }))
        (entry "c" forward)
        (entry "d" (at "10.0.0.1"))
      ]
    );
    expected = [ "a c" ];
  };
  "a thousand forwards are compared quickly enough to be evaluated" = {
    expr = builtins.length (
      ports.conflicts (builtins.genList (n: entry "vm" (forward // { host = 1000 + n; })) 1000)
    );
    expected = 0;
  };
  "the host's side reads as people write it" = {
    expr = map ports.show [
      forward
      (at "0.0.0.0")
      (at "::1")
    ];
    expected = [
      "8080/tcp"
      "0.0.0.0:8080/tcp"
      "[::1]:8080/tcp"
    ];
  };
}
