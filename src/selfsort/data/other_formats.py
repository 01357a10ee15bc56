"""Files that cannot be read as pictures, recognised by their first bytes, and the way out."""

import re

LONGEST = 1024  # bytes of a file that are looked at

RAW = "RAW camera picture (export it as JPEG or TIFF)"
_VIDEO = "video (export frames of it as pictures)"
_ARCHIVE = "archive (unpack it)"
_DOCUMENT = "document (export its pictures)"
_NUMPY = "NumPy file (load it as a separate source)"
_AS_PNG = "(export it as PNG or TIFF)"
_BY_SIGNATURE = (
    (0, b"%PDF-", "PDF (export its pages as pictures)"),
    (0, b"8BPS", f"Photoshop document {_AS_PNG}"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", f"JPEG 2000 {_AS_PNG}"),
    (0, b"\xff\x4f\xff\x51", f"JPEG 2000 {_AS_PNG}"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL (export it as JPEG or PNG)"),
    (0, b"\xff\x0a", "JPEG XL (export it as JPEG or PNG)"),
    (0, b"ZISRAWFILE", f"CZI of a microscope {_AS_PNG}"),
    (0, b"\xda\xce\xbe\x0a", f"ND2 of a microscope {_AS_PNG}"),
    (0, b"v/1\x01", f"OpenEXR {_AS_PNG}"),
    (0, b"SIMPLE  =", f"FITS {_AS_PNG}"),
    (0, b"\x89HDF\r\n", f"HDF5 {_AS_PNG}"),
    (344, b"n+1\0", f"NIfTI {_AS_PNG}"),
    (128, b"DICM", f"DICOM {_AS_PNG}"),
    (0, b"\0\0\1\0", f"icon {_AS_PNG}"),
    (30, b"[Content_Types].xml", _DOCUMENT),
    (30, b"mimetype", _DOCUMENT),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _DOCUMENT),
    (0, b"\x93NUMPY", _NUMPY),
    (0, b"PK\3\4", _ARCHIVE),
    (0, b"PK\5\6", _ARCHIVE),
    (0, b"PK\7\x08", _ARCHIVE),
    (0, b"Rar!\x1a\7", _ARCHIVE),
    (0, b"7z\xbc\xaf\x27\x1c", _ARCHIVE),
    (0, b"\x1f\x8b\x08", _ARCHIVE),
    (4, b"1AY&SY", _ARCHIVE),
    (0, b"\xfd7zXZ\0", _ARCHIVE),
    (0, b"\x28\xb5\x2f\xfd", _ARCHIVE),
    (0, b"\x04\x22\x4d\x18", _ARCHIVE),
    (257, b"ustar", _ARCHIVE),
    (0, b"MSCF\0\0\0\0", _ARCHIVE),
    (0, b"FUJIFILMCCD-RAW", RAW),
    (0, b"FOVb", RAW),
    (0, b"\0MRM", RAW),
    (0, b"IIRO", RAW),
    (0, b"IIRS", RAW),
    (0, b"IIU\0", RAW),
    (6, b"HEAPCCDR", RAW),
    (8, b"CR\2", RAW),
    (4, b"ftypcrx ", RAW),
    (4, b"ftyp", _VIDEO),
    (4, b"moov", _VIDEO),
    (4, b"mdat", _VIDEO),
    (8, b"AVI LIST", _VIDEO),
    (0, b"\x1aE\xdf\xa3", _VIDEO),
    (0, b"FLV\1", _VIDEO),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _VIDEO),
    (0, b"\0\0\1\xba", _VIDEO),
    (0, b"\0\0\1\xb3", _VIDEO),
)
_NPZ = re.compile(rb"PK\x03\x04.{26}.{1,100}?\.npy", re.DOTALL)  # a zip whose first file is an array
_SVG = re.compile(rb"(\xef\xbb\xbf)?\s*<(\?xml|!DOCTYPE|!--|svg)")


def other_format(head: bytes) -> str:
    """Return the format of a file with these first bytes, and in brackets the way out; "" if it is unknown.

    >>> other_format(b"%PDF-1.7"), other_format(b"hello")
    ('PDF (export its pages as pictures)', '')
    """
    if b"<svg" in head and _SVG.match(head):
        return f"SVG drawing {_AS_PNG}"
    what = next((what for place, signature, what in _BY_SIGNATURE if head.startswith(signature, place)), "")
    return _NUMPY if what == _ARCHIVE and _NPZ.match(head) else what
