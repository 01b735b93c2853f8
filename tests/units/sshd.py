"""OpenSSH's server, unpacked and not installed: installed, it would listen on the machine that the tests run on."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

PACKAGE = "openssh-server"


def program():
    """The path of an sshd: the machine's own, or that of the distribution's package, kept in the cache."""
    own = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", ""))
    if own:
        return pathlib.Path(own)
    cache = os.environ.get("MVM_CACHE_DIR") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "microvm-dev"
    )
    place = pathlib.Path(cache) / "tests" / PACKAGE
    sshd = place / "usr/sbin/sshd"
    if not sshd.exists():
        fetch(place)
    return sshd


def fetch(place):
    if not shutil.which("apt-get"):
        sys.exit("there is no sshd, and no apt-get to fetch one; install OpenSSH's server")
    place.parent.mkdir(parents=True, exist_ok=True)
    # Complete or absent: unpacked beside its place, and renamed.
    with tempfile.TemporaryDirectory(dir=place.parent) as directory:
        download = ["apt-get", "download", "-qq", PACKAGE]
        if subprocess.run(download, cwd=directory, stderr=subprocess.DEVNULL, check=False).returncode != 0:
            subprocess.run(["apt-get", "update", "-qq"], check=True)
            subprocess.run(download, cwd=directory, check=True)
        (package,) = pathlib.Path(directory).glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", package, f"{directory}/tree"], check=True)
        os.rename(f"{directory}/tree", place)
