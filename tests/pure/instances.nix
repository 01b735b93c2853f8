let
  inherit (import ../../modules/lib) instances;
  names = families: map (instance: instance.name) (instances.all families);
in
{
  "a VM without copies has its own name" = {
    expr = instances.all { shop = null; };
    expected = [
      {
        family = "shop";
        index = 0;
        name = "shop";
      }
    ];
  };
  "copies are numbered from 1" = {
    expr = names { job = 3; };
    expected = [
      "job-1"
      "job-2"
      "job-3"
    ];
  };
  "single VMs choose first, then first copies, then second ones" = {
    expr = names {
      b = 2;
      z = null;
      a = 2;
    };
    expected = [
      "z"
      "a-1"
      "b-1"
      "a-2"
      "b-2"
    ];
  };
}
