"""The limits of the page: what a visitor may send, and what the caches hold."""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """Limits of the page.

    Attributes:
        file_bytes (int): Bytes of an uploaded file. Defaults to 64 MiB.
        disk_bytes (int): Bytes of all uploaded files on the disk. Defaults to 4 GiB.
        seconds_of_files (int): Seconds after which uploads and downloads are removed from the disk.
            Defaults to an hour.
        request_bytes (int): Bytes of a request that is no upload. Defaults to 4 MiB.
        requests (int): Requests of one address in a minute; this machine sends any number. Defaults
            to 3,000.
        logins (int): Passwords that one address tries in a minute. Defaults to 20.
        pixels (int): Width times height of a picture. Defaults to 50 million.
        seconds (float): Seconds of a request, waiting for the model included. Defaults to 60.
        export_seconds (float): Seconds of an export to ONNX. Defaults to 300.
        words (int): Words of a request, aliases and background words included. Defaults to 100.
        word_length (int): Characters of a word. Defaults to 80.
        shown_side (int): Pixels of the longer side of a displayed picture. Defaults to 1,024.
        result_bytes (int): Bytes of the scores of a picture at full size. Defaults to 1 GiB.
        encoding_bytes (int): Bytes of the encodings that are kept. Defaults to 256 MiB.
        score_bytes (int): Bytes of the scores and figures that are kept. Defaults to 512 MiB.
        export_bytes (int): Bytes of the exported models that are kept. Defaults to 256 MiB.
    """

    file_bytes: int = 64 * 2**20
    disk_bytes: int = 4 * 2**30
    seconds_of_files: int = 3600
    request_bytes: int = 4 * 2**20
    requests: int = 3000
    logins: int = 20
    pixels: int = 50_000_000
    seconds: float = 60.0
    export_seconds: float = 300.0
    words: int = 100
    word_length: int = 80
    shown_side: int = 1024
    result_bytes: int = 2**30
    encoding_bytes: int = 256 * 2**20
    score_bytes: int = 512 * 2**20
    export_bytes: int = 256 * 2**20

    @property
    def upload_bytes(self) -> int:
        """Bytes of a request with a file in it."""
        return self.file_bytes + 2**16
