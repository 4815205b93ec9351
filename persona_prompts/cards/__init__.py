"""Character cards of other programs: V1, V2 and V3, as JSON and inside PNG pictures.

A card comes from strangers. It is data, never code and never a path: nothing it names is opened,
nothing compressed in it is unpacked beyond the picture's own size, and what is too large, too deep
or not what it says is refused in one sentence (`CharacterError`) before it costs a second.

What **byte for byte** means here. A card that is imported is stored as the file it came as, from
its first byte to its last (for a PNG: to the end of its IEND chunk; what hides behind it is cut
off, with a warning). Exported in its own format and kind, that very file comes out. Exported as
the other kind (PNG as JSON, JSON as PNG), the JSON is the same bytes. Exported as another version,
every member that Troupe did not have to change keeps the bytes of its key and of its value, known
or unknown, numbers and escapes as they were spelt; only the punctuation between members is written
anew, `spec` and `spec_version` say the new version, members it demands are added, and of a key
given twice in one object the last remains, which is the one that JSON readers see. In a rewritten
PNG the picture and every other chunk keep their bytes and order; only `chara` and `ccv3` change.
"""
