"""A container with a real systemd, this machine's programs, a network of its own and nothing else, in which a scenario runs:
a list of steps, each a sentence, a shell command, and what the command must print.

Needs root, and systemd-nspawn. Nothing of the container is left, on disk or running."""

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
GOLDEN = ROOT / "tests/eval/golden"
BOOT_DEADLINE = 300

UNIT = """
[Unit]
Requires=basic.target
Wants=dbus.socket
After=basic.target dbus.socket
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/bin/sh /mnt/test/script
StandardOutput=file:/mnt/test/output
StandardError=file:/mnt/test/errors
"""

# What the NixOS modules put on a host besides the units; then the functions that steps use.
PRELUDE = r"""
mkdir -p /etc/microvm-dev /opt
cp -r /mnt/test/golden/vms /mnt/test/golden/config.toml /etc/microvm-dev
cp -r /mnt/test/units/. /etc/systemd/system
cp /mnt/test/golden/tmpfiles.conf /etc/tmpfiles.d/microvm-dev.conf
getent group microvm-dev >/dev/null || groupadd --system microvm-dev
getent passwd dnsmasq >/dev/null || useradd --system dnsmasq
mkdir /opt/microvm-dev && ln -s /mnt/test/bin /opt/microvm-dev/bin
ip link set lo up
PATH=/opt/microvm-dev/bin:$PATH

wait_for() { n=0; until sh -c "$1"; do n=$((n + 1)); [ $n -lt 600 ] || return 1; sleep 0.05; done; }
# as USER COMMAND…: with the user's groups, in the home, as after a login.
as() {
  user=$1
  shift
  cd "/home/$user" && setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups -- \
    env -i HOME="/home/$user" USER="$user" PATH="$PATH" LANG=C.UTF-8 "$@"
}
"""


@dataclasses.dataclass
class Step:
    """`expected` is all that `command` prints, or a compiled pattern of it, or a function that says whether it is good. A
    code other than 0 is a last line `(exit code N)`."""

    sentence: str
    command: str
    expected: object = ""

    def good(self, answer):
        if isinstance(self.expected, str):
            return answer == self.expected
        if isinstance(self.expected, re.Pattern):
            return self.expected.search(answer) is not None
        return self.expected(answer)

    def wanted(self):
        return getattr(self.expected, "wanted", repr(self.expected))


def says(*texts):
    """It succeeds, and says these."""

    def good(answer):
        return all(text in answer for text in texts) and "(exit code " not in answer

    good.wanted = f"success, with {texts}"
    return good


def fails(*texts):
    """It fails, and says these."""

    def good(answer):
        return all(text in answer for text in texts) and re.search(r"\(exit code [1-9]\d*\)\n\Z", answer) is not None

    good.wanted = f"a failure, with {texts}"
    return good


@dataclasses.dataclass
class Scenario:
    """What happens in one container."""

    title: str
    programs: tuple
    steps: list
    # Shell, before the first step; it must not fail.
    setup: str = ""
    # Units that stand for what others have on a host: file name → text.
    units: dict = dataclasses.field(default_factory=dict)
    # Files for the steps, as /mnt/test/NAME: name → path, or a function that finds it.
    files: dict = dataclasses.field(default_factory=dict)

    def run(self):
        """Says how it went; whether all was well."""
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
        with tempfile.TemporaryDirectory(prefix="mvm-units-") as directory:
            test = pathlib.Path(directory)
            # Ordinary users run the programs.
            test.chmod(0o755)
            for name in ("root", "bin"):
                (test / name).mkdir()
            for program in self.programs:
                if not (target / program).is_file():
                    sys.exit(f"{target / program} is missing; run scripts/build first")
                shutil.copy2(target / program, test / "bin")
            for name, path in self.files.items():
                shutil.copy2(path() if callable(path) else path, test / name)
            shutil.copytree(GOLDEN, test / "golden")
            shutil.copytree(GOLDEN / "units", test / "units")
            for name, text in self.units.items():
                (test / "units" / name).parent.mkdir(exist_ok=True)
                (test / "units" / name).write_text(text)
            (test / "test-units.service").write_text(UNIT)
            (test / "script").write_text(self.script())
            return self.judge(test, boot(test))

    def script(self):
        lines = [PRELUDE, self.setup, "systemctl daemon-reload"]
        for number, step in enumerate(self.steps):
            lines.append(f'echo "== {number}"\n(\n{step.command}\n) 2>&1 </dev/null || echo "(exit code $?)"')
        lines.append("journalctl --quiet --no-pager --unit='microvm*' >/mnt/test/journal || true")
        return "set -e\n" + "\n".join(lines) + "\n"

    def judge(self, test, console):
        def read(name):
            path = test / name
            return path.read_text(errors="replace") if path.exists() else ""

        answers = {}
        for section in re.split(r"^== ", read("output"), flags=re.MULTILINE)[1:]:
            number, _, answer = section.partition("\n")
            answers[int(number)] = without_hints(answer)
        wrong = 0
        for number, step in enumerate(self.steps):
            answer = answers.get(number)
            if answer is None or not step.good(answer):
                wrong += 1
                say(f"FAILED: {step.sentence}\n  $ {step.command}\n  expected {step.wanted()}\n  got      {answer!r}")
        if wrong:
            say(read("errors"), read("journal"), console)
        if os.environ.get("MVM_UNITS_SHOW"):
            say(read("output"))
        say(f"{self.title}, under systemd: {len(self.steps) - wrong} of {len(self.steps)} checks")
        return not wrong


def say(*texts):
    print(*texts, sep="\n", file=sys.stderr)


def boot(test):
    """Boots the container until it powers off; what it said on its console."""
    # In a mount namespace of its own: a mount of `/` alone, without what is mounted below, is the container's root.
    command = (
        f"mount --bind / {test}/root && exec systemd-nspawn --quiet --directory={test}/root --volatile=overlay"
        " --keep-unit --register=no --private-network --tmpfs=/var/lib/microvm-dev:mode=0700"
        f" --capability=CAP_NET_ADMIN,CAP_SYS_ADMIN --bind=/dev/net/tun --bind={test}:/mnt/test"
        f" --bind-ro={test}/test-units.service:/etc/systemd/system/test-units.service"
        " --boot systemd.unit=test-units.service quiet"
    )
    done = subprocess.run(
        ["unshare", "--mount", "--", "sh", "-c", command],
        env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=BOOT_DEADLINE,
        check=False,
    )
    return done.stdout.decode(errors="replace")


def without_hints(answer):
    """Without what systemctl says besides about a job that failed."""
    hints = ("Job for ", "See ")
    return "".join(line for line in answer.splitlines(True) if not line.startswith(hints))
