# SPDX-License-Identifier: GPL-2.0-or-later
"""A Debian archive of one package, on the loopback of this host, as guests' networks
need one; and 4 MiB to download."""
import gzip
import hashlib
import http.server
import io
import tarfile
import threading

BODY = bytes(i * 7 & 255 for i in range(1 << 22))
PAYLOAD = b"from the archive\n"


def tar(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as t:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            if data is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            else:
                info.size = len(data)
            t.addfile(info, io.BytesIO(data or b""))
    return out.getvalue()


CONTROL = ("Package: bothy-test\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\n"
           "Description: a file\n")


def deb():
    """deb(5): an ar archive of a version and two tarballs."""
    out = b"!<arch>\n"
    for name, data in (("debian-binary", b"2.0\n"), ("control.tar.gz", tar({"./control": CONTROL.encode()})),
                       ("data.tar.gz", tar({"./usr": None, "./usr/share": None, "./usr/share/bothy-test": PAYLOAD}))):
        out += b"%-16s%-12d%-6d%-6d%-8s%-10d`\n" % (name.encode(), 0, 0, 0, b"100644", len(data))
        out += data + b"\n" * (len(data) % 2)
    return out


def archive():
    """{path: bytes} of a flat archive (sources.list(5)); unsigned."""
    package = deb()
    index = (CONTROL + "Filename: ./bothy-test.deb\nSize: %d\nSHA256: %s\n\n" % (
        len(package), hashlib.sha256(package).hexdigest())).encode()
    files = {"Packages": index, "Packages.gz": gzip.compress(index, mtime=0)}
    release = "Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n" + "".join(
        " %s %d %s\n" % (hashlib.sha256(data).hexdigest(), len(data), name) for name, data in files.items())
    return {**files, "Release": release.encode(), "bothy-test.deb": package, "body": BODY}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        data = self.server.files.get(self.path.lstrip("/").removeprefix("./"))
        self.send_response(404 if data is None else 200)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, *args):
        pass


class Archive:
    """with Archive() as a: a.port"""

    def __enter__(self):
        self.web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.web.files = archive()
        self.port = self.web.server_address[1]
        threading.Thread(target=self.web.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.web.shutdown()
        self.web.server_close()
