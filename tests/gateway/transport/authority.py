"""A certificate authority of the test's own, by Debian's openssl: its certificate, and what it signs."""

import subprocess
from pathlib import Path

from gateway.config.settings import TlsSettings


class Authority:
    """Signs certificates in ``folder``; EC keys, which are made in milliseconds."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.key, self.certificate = folder / f"{name}.key", folder / f"{name}.pem"
        self._openssl(
            *("req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={name}", *_new(self.key)),
            *("-out", self.certificate),
        )

    def sign(self, name: str, *names: str) -> tuple[Path, Path]:
        """Certificate and key in files called ``name``, for these subject alternative names (``DNS:…``, ``IP:…``)."""
        key, ask, certificate = (self._folder / f"{name}{end}" for end in (".key", ".csr", ".pem"))
        names_file = self._folder / f"{name}.names"
        names_file.write_text(f"subjectAltName={','.join(names)}\n")
        self._openssl("req", "-nodes", "-subj", f"/CN={name}", *_new(key), "-out", ask)
        self._openssl(
            *("x509", "-req", "-days", "2", "-in", ask, "-CA", self.certificate, "-CAkey", self.key),
            *("-CAcreateserial", "-extfile", names_file, "-out", certificate),
        )
        return certificate, key

    def settings(self, name: str, *names: str, **more: object) -> TlsSettings:
        """``[sip.tls]`` with a certificate for these names, and this authority for peers."""
        certificate, key = self.sign(name, *names)
        return TlsSettings.model_validate(
            {"certificate": str(certificate), "key": str(key), "ca": str(self.certificate), **more}
        )

    def _openssl(self, *words: object) -> None:
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, cwd=self._folder)


def _new(key: Path) -> tuple[object, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", key)
