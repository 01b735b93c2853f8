let
  inherit (import ../../modules/lib) cidr;
  parsed = cidr.parse "192.168.100.10/24";
in
{
  "addresses survive their text form" = {
    expr = map (text: cidr.showAddress (cidr.parseAddress text)) [
      "0.0.0.0"
      "10.1.2.3"
      "192.168.100.255"
      "255.255.255.255"
    ];
    expected = [
      "0.0.0.0"
      "10.1.2.3"
      "192.168.100.255"
      "255.255.255.255"
    ];
  };
  "malformed addresses are none" = {
    expr = map cidr.parseAddress [
      ""
      "1.2.3"
      "1.2.3.4.5"
      "256.1.1.1"
      "01.2.3.4"
      "1.2.3.-4"
      "a.b.c.d"
      "1.2.3.4 "
      "99999999999999999999.1.1.1"
    ];
    expected = builtins.genList (_: null) 9;
  };
  "malformed networks are none" = {
    expr = map cidr.parse [
      "1.2.3.4"
      "1.2.3.4/33"
      "1.2.3/8"
      "1.2.3.4/-1"
      "1.2.3.4/08"
      "::1/64"
    ];
    expected = builtins.genList (_: null) 6;
  };
  "networks know their edges" = {
    expr = {
      network = cidr.showAddress (cidr.network parsed);
      last = cidr.showAddress (cidr.last parsed);
      shown = cidr.show parsed;
      inside = cidr.contains parsed (cidr.parseAddress "192.168.100.255");
      outside = cidr.contains parsed (cidr.parseAddress "192.168.101.0");
      all = cidr.size (cidr.parse "0.0.0.0/0");
      one = cidr.size (cidr.parse "10.0.0.1/32");
    };
    expected = {
      network = "192.168.100.0";
      last = "192.168.100.255";
      shown = "192.168.100.10/24";
      inside = true;
      outside = false;
      all = 4294967296;
      one = 1;
    };
  };
  "overlap is symmetric" = {
    expr =
      let
        a = cidr.parse "10.0.0.0/8";
        b = cidr.parse "10.1.2.0/24";
        c = cidr.parse "11.0.0.0/8";
      in
      [
        (cidr.overlaps a b)
        (cidr.overlaps b a)
        (cidr.overlaps a c)
        (cidr.overlaps c a)
      ];
    expected = [
      true
      true
      false
      false
    ];
  };
  "private is what is wholly in a private range" = {
    expr = map (text: cidr.isPrivate (cidr.parse text)) [
      "10.0.0.0/8"
      "172.16.0.0/12"
      "192.168.100.0/24"
      "100.64.0.0/10"
      "172.16.0.0/11"
      "8.8.8.0/24"
      "127.0.0.0/8"
      "0.0.0.0/0"
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
}
