"""Random transforms without the metadata that nobody reads while training."""

from __future__ import annotations

from typing import Any

from monai.data.meta_obj import get_track_meta, set_track_meta
from monai.transforms import Compose


class UntrackedCompose(Compose):
    """`Compose` whose transforms leave plain tensors: augmentation then takes about half the time.

    Nothing can be inverted afterwards. Images should come in as plain tensors too
    (``EnsureTyped(..., track_meta=False)``), which copy and collate faster.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        tracked = get_track_meta()
        set_track_meta(False)
        try:
            return super().__call__(*args, **kwargs)
        finally:
            set_track_meta(tracked)
