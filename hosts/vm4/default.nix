{
  imports = [ ../hypervisor/guest ];
  networking.hostName = "vm4";
}
