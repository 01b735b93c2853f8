# Settings of a unit that serves a VM's own directories. All VMs' are found under the same names: so that one guest serves
# all copies, and nobody has to enter the VM's directory, which is root's. A name that a VM has nothing for is not there
# at all: what is written to it could not end up where another VM's server finds it.
{
  TemporaryFileSystem = "/run/microvm-dev/self:ro";
  BindPaths = [ "-/var/lib/microvm-dev/%i/merged:/run/microvm-dev/self/project" ];
  BindReadOnlyPaths = [ "-/var/lib/microvm-dev/%i/identity:/run/microvm-dev/self/identity" ];
}
