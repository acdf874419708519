"""What stands for a revision where a model lies in a plain folder: a hash of its files."""

import hashlib
from pathlib import Path


def digest(folders: tuple[Path, ...]) -> str:
    """Return a hash over names and bytes of the files that decide what a folder's model does."""
    total = hashlib.sha256()
    for folder in folders:
        paths = (p for p in folder.rglob("*") if p.suffix in {".json", ".safetensors", ".txt"} and p.name != "fgl.json")
        for path in sorted(paths):
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            total.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return f"sha256:{total.hexdigest()[:32]}"
