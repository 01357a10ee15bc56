"""File formats for named pictures: one module each, found by name.

Each defines a `NAME`, a `SUFFIX`, a `FILE` name for downloads, a `MEDIA_TYPE`, `NEEDS_PICTURES` (true if ids are not
enough), and `chunks(named)`, which yields the bytes of the file. A format that needs `NamedPictures.chances` also has
`NEEDS_CHANCES`.
"""
