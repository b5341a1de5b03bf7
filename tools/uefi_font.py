#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes src/display/uefi_font.def: fingerprints of the characters that UEFI's console
draws, taken from the font in a build of OVMF.

The font is an array of EFI_NARROW_GLYPH (UEFI specification, "Fonts": a UTF-16 code
unit, attributes, 19 rows of 8 dots) in the console's driver, which stands in a volume
that LZMA packed. Of each shape only a hash is kept, the one that glyph_hash() in
src/display/glyphs.c computes: FNV-1a of 64 bits over the 19 rows.

usage: uefi_font.py [FIRMWARE]           prints the table
       uefi_font.py --check [FIRMWARE]   2 when it differs from the one in the tree
"""
import lzma
import pathlib
import struct
import sys

TABLE = pathlib.Path(__file__).resolve().parents[1] / "src/display/uefi_font.def"
OVMF = "/usr/share/OVMF/OVMF_CODE_4M.fd"
# EE4E5898-3914-4259-9D6E-DC7BD79403CF: a section that LZMA packed (Platform
# Initialization specification, volume 3: EFI_GUID_DEFINED_SECTION).
PACKED = bytes.fromhex("98584eee143959429d6edc7bd79403cf")
HEIGHT = 19
GLYPH = struct.Struct("<HB%ds" % HEIGHT)
FIRST = GLYPH.pack(ord(" "), 0, bytes(HEIGHT)) + struct.pack("<HB", ord("!"), 0)


def unpacked(data):
    """The contents of the packed sections."""
    at = data.find(PACKED)
    while at >= 0:
        start = at - 4 + struct.unpack_from("<H", data, at + 16)[0]
        try:
            yield lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(data[start:])
        except lzma.LZMAError:
            pass  # the GUID alone, in a program that knows it
        at = data.find(PACKED, at + 1)


def font(data):
    """{rows: character}, of shapes alike the first."""
    for part in unpacked(data):
        at = part.find(FIRST)
        if at < 0:
            continue
        shapes = {}
        while True:
            ch, _, rows = GLYPH.unpack_from(part, at)
            if not ch:
                return shapes
            if any(rows):
                shapes.setdefault(rows, ch)
            at += GLYPH.size
    sys.exit("uefi_font: there is no UEFI font in this file; is it OVMF's code (OVMF_CODE_4M.fd)?")


def fingerprint(rows):
    h = 0xcbf29ce484222325
    for b in rows:
        h = (h ^ b) * 0x100000001b3 & (1 << 64) - 1
    return h


def table(shapes):
    lines = ["/* SPDX-License-Identifier: GPL-2.0-or-later */",
             "/* Made by tools/uefi_font.py: which character has a shape of which hash, by hash. */"]
    for h, ch in sorted((fingerprint(rows), ch) for rows, ch in shapes.items()):
        lines.append("UEFI_GLYPH(0x%016x, 0x%04x)%s" % (h, ch, " /* %c */" % ch if ch < 127 and ch not in b"*/" else ""))
    return "\n".join(lines) + "\n"


def main():
    args = sys.argv[1:]
    check = args[:1] == ["--check"]
    args = args[check:]
    if len(args) > 1 or (args and args[0].startswith("-")):
        print(__doc__, file=sys.stderr)
        return 2
    made = table(font(pathlib.Path(args[0] if args else OVMF).read_bytes()))
    if not check:
        sys.stdout.write(made)
        return 0
    if made != TABLE.read_text():
        print("uefi_font: %s is not what %s gives; make it again" % (TABLE, __file__), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
