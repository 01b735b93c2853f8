"""What a place serves, and what it has received, by the nonces in it."""

import contextlib
import os
import re
import socket
import struct
import threading

import packets

NONCE = re.compile(rb"mvmn-[0-9a-f]{8}")
PACKET_OUTGOING = 4
# ip(7); the module has no name for it.
IP_PKTINFO = 8


class Record:
    """Nonces that arrived: as `frame` at an interface, or as `local`, past all rules, at this place itself."""

    def __init__(self):
        self.lock = threading.Lock()
        self.seen = {}

    def note(self, data, kind):
        for nonce in NONCE.findall(data):
            with self.lock:
                self.seen.setdefault(nonce.decode(), set()).add(kind)

    def all(self):
        with self.lock:
            return {nonce: sorted(kinds) for nonce, kinds in self.seen.items()}

    def has(self, nonce, kind):
        with self.lock:
            return kind in self.seen.get(nonce, ())


RECORD = Record()


def background(function, *arguments):
    threading.Thread(target=function, args=arguments, daemon=True).start()


def sniff(interface):
    """Notes what comes in by an interface, whoever it is for."""
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sniffer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sniffer.bind((interface, 0))

    def loop():
        while True:
            try:
                frame, origin = sniffer.recvfrom(70000)
            except OSError:
                # The interface is down, or gone for good.
                if not os.path.exists(f"/sys/class/net/{interface}"):
                    return
                continue
            if origin[2] != PACKET_OUTGOING:
                RECORD.note(frame, "frame")

    background(loop)


def listen_raw():
    """Notes what the kernel delivers to this place, which is past the input rules; no port needs to be open."""
    for family, protocols in [(socket.AF_INET, (1, 6, 17)), (socket.AF_INET6, (58, 17))]:
        for protocol in protocols:
            raw = socket.socket(family, socket.SOCK_RAW, protocol)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)

            def loop(raw=raw):
                while True:
                    RECORD.note(raw.recv(70000), "local")

            background(loop)


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def tcp_echo(address, port):
    listener = socket.socket(family_of(address), socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(64)

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(65536):
                RECORD.note(data, "local")
                connection.sendall(data)

    def loop():
        while True:
            background(serve, listener.accept()[0])

    background(loop)


def udp_socket(address, port):
    server = socket.socket(family_of(address), socket.SOCK_DGRAM)
    if server.family == socket.AF_INET:
        server.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    server.bind((address, port))
    return server


def udp_serve(server, answer):
    """Answers from the address that was asked, which matters where there are several."""

    def loop():
        while True:
            data, ancillary, _, client = server.recvmsg(70000, 256)
            RECORD.note(data, "local")
            reply = answer(data)
            source = [
                (level, kind, struct.pack("=I", 0) + value[8:12] + bytes(4))
                for level, kind, value in ancillary
                if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO)
            ]
            if reply is not None:
                with contextlib.suppress(OSError):
                    server.sendmsg([reply], source, 0, client)

    background(loop)


def udp_echo(address, port):
    udp_serve(udp_socket(address, port), lambda data: data)


# The DNS server's names; a leading label that is a nonce is left out of the look-up.
NAMES = {}


def dns_reply(query):
    if len(query) < 17:
        return None
    name = packets.dns_read(query, 12).lower()
    end = packets.dns_skip(query, 12) + 4
    kind = struct.unpack("!H", query[end - 4 : end - 2])[0]
    first, _, rest = name.partition(".")
    known = NAMES.get(rest if NONCE.fullmatch(first.encode()) else name)
    addresses = known if known and kind == 1 else []
    code = 0 if known else 3
    head = query[:2] + struct.pack("!HHHHH", 0x8580 | code, 1, len(addresses), 0, 0)
    # A short life, so that a changed name is asked for again.
    records = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 1, 4) + socket.inet_aton(a) for a in addresses)
    return head + query[12:end] + records


def dns_server(address, port):
    udp_serve(udp_socket(address, port), dns_reply)
    listener = socket.socket(family_of(address), socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(64)

    def serve(connection):
        with connection, contextlib.suppress(OSError, struct.error):
            stream = connection.makefile("rb")
            while length := stream.read(2):
                query = stream.read(struct.unpack("!H", length)[0])
                RECORD.note(query, "local")
                reply = dns_reply(query)
                connection.sendall(struct.pack("!H", len(reply)) + reply)

    def loop():
        while True:
            background(serve, listener.accept()[0])

    background(loop)
