{
  imports = [ ../hypervisor/guest ];
  networking.hostName = "vm1";
}
