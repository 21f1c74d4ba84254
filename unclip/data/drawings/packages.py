"""The packages that the drawings come from: pinned versions and hashes, and where they lie.

They are fetched by the ordinary clients, `npm` and `apt-get`, from wherever those are set up to
fetch.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class NpmPackage:
    """A package of the npm client, at one version."""

    name: str
    version: str
    integrity: str
    """What npm writes into its lock file: the SHA-512 of the tarball."""

    def folder(self, cache: Path) -> Path:
        """Where the package itself lies once it is fetched."""
        return self.root(cache) / "node_modules" / self.name

    def root(self, cache: Path) -> Path:
        """Where npm installs it, with what it depends on."""
        return cache / "npm" / f"{self.name.replace('/', '+')}-{self.version}"


@dataclass(frozen=True, kw_only=True, slots=True)
class DebianPackage:
    """A package of a Debian release; another release may carry another version."""

    name: str
    version: str
    sha256: str
    """Of the .deb file of that version."""

    def folder(self, cache: Path) -> Path:
        """Where it is unpacked once it is fetched."""
        return cache / "debian" / self.name


Package = NpmPackage | DebianPackage

ICONIFY = NpmPackage(
    name="@iconify/json",
    version="2.2.535",
    integrity="sha512-nAV60ACUSHwnsb6fsp+letHlNkrwO4vzBtcC6B4EDHErQQfezk7E3nJdnwJjve6O"
    "CfMNO0uVT5Vrgna9/NCmXw==",
)
FLUENT_3D = NpmPackage(
    name="@lobehub/fluent-emoji-3d",
    version="1.1.0",
    integrity="sha512-Wlq2lVStTnr8BDpIJ0pEnTKO4LuDxxqTEhTvRtD1DLRF0me7ogeRQjKoehDHXuVJ"
    "2Qaecgl5wRBv60lUAG3h7g==",
)
OPENMOJI = NpmPackage(
    name="openmoji",
    version="17.0.0",
    integrity="sha512-EBnYrNGdcdw+OSXmENeNE1yBNRu6tOraTmoOyUbJkTmvT/+XETp8RZLSJFzD3lrP"
    "c5N9CzsyPnRTk0Vp4UaI9w==",
)
EMOJIBASE = NpmPackage(
    name="emojibase-data",
    version="17.0.0",
    integrity="sha512-Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpy"
    "hBNEC0m2SEmItljHsTygjA==",
)
EMOJILIB = NpmPackage(
    name="emojilib",
    version="4.0.3",
    integrity="sha512-KbWiYre9aRSaPbHrHZIz9zmoM+21LAsK1VFJtnTh1VCtWE/rNMDviGhQTmselFl9"
    "5dhqtGlY22iH0leG5BuW0g==",
)
OPENCLIPART = DebianPackage(
    name="openclipart-svg",
    version="1:0.18+dfsg-19",
    sha256="989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5",
)
TUXPAINT = DebianPackage(
    name="tuxpaint-stamps-default",
    version="2022.06.04-1",
    sha256="6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
)
NAMES = (EMOJIBASE, EMOJILIB)
"""What every source needs for the names of its drawings."""
