"""Certificates of authorities that live as long as a test."""

from pathlib import Path

import trustme


class Authority:
    """A certificate authority whose files lie in one folder: `ca.pem`, and what it issues."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self.file = folder / f"{name}.pem"
        self._ca = trustme.CA()
        self._ca.cert_pem.write_to_path(self.file)

    def issue(self, stem: str, *names: str) -> tuple[Path, Path]:
        """The files of a certificate for these hosts, addresses or e-mail addresses, and of its key.

        They are replaced whole, as those who renew certificates do.
        """
        issued = self._ca.issue_cert(*names)
        certificate, key = self.folder / f"{stem}.pem", self.folder / f"{stem}.key"
        _replace(key, issued.private_key_pem.bytes())
        _replace(certificate, b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        return certificate, key


def _replace(path: Path, content: bytes) -> None:
    new = path.with_suffix(f"{path.suffix}.new")
    new.write_bytes(content)
    new.replace(path)
