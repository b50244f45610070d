"""Treated blocks on disk: a pass over the model that was killed goes on behind the last block that it had finished."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Generic, TypeVar

from edgeflex_tflite import files, serialize
from edgeflex_tflite.models.edge import Block

Said = TypeVar("Said")


@dataclasses.dataclass(frozen=True)
class KeptBlocks(Generic[Said]):
    """The finished blocks of one pass.

    Attributes:
        folder: where they are; None: nothing is kept.
        kind: type of what the pass says of each block.
    """

    folder: Path | None
    kind: Any

    def keep(self, index: int, block: Block, said: Said) -> Block:
        """Write a block; it counts as finished from its last file on.

        Returns:
            The block to go on with: its tensors are the file's pages, which take no memory until they are read.
        """
        if self.folder is None:
            return block
        self.folder.mkdir(parents=True, exist_ok=True)
        serialize.write_block(self._weights(index), block)
        files.write_json(self._said(index), said, self.kind)
        return serialize.read_block(self._weights(index), block)

    def restore(self, index: int, like: Block) -> tuple[Block, Said] | None:
        """A finished block, and what was said of it; `like` is the one that it was made from."""
        if self.folder is None or not self._said(index).exists():
            return None
        return serialize.read_block(self._weights(index), like), files.read_json(self._said(index), self.kind)

    def _weights(self, index: int) -> Path:
        assert self.folder is not None
        return self.folder / f"{index}.safetensors"

    def _said(self, index: int) -> Path:
        return self._weights(index).with_suffix(".json")
