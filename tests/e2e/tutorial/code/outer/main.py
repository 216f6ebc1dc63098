"""Returns by the zip code of their store; stores without returns and returns without a store have places of their own."""

import json
from pathlib import Path

zipcodes = [json.loads(store.read_text())["zipcode"] for store in Path("/pfs/stores").glob("*")]
place = Path("/pfs/out", str(zipcodes[0]) if zipcodes else "UNKNOWN")
place.mkdir()
for returned in Path("/pfs/returns").glob("*"):
    (place / returned.name).write_text(returned.read_text())
if not any(place.iterdir()):
    (place / "NO_RETURNS.txt").write_text("none\n")
