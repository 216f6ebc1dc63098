"""Purchases of a store, by its zip code."""

import json
from pathlib import Path

[store], [purchase] = Path("/pfs/stores").iterdir(), Path("/pfs/purchases").iterdir()
place = Path("/pfs/out", str(json.loads(store.read_text())["zipcode"]))
place.mkdir()
(place / purchase.name).write_text(purchase.read_text())
