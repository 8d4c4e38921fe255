"""The JAX peer of benches/heads_side_by_side.py on the device, for 40 x RATES heads: jaxheads.py DATA RATES EPOCHS."""
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parent / "benches"))
import heads_side_by_side as peer

data, rates, epochs = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
import jax

jax.config.update("jax_default_matmul_precision", "highest")
peer.SMALL = (peer.SMALL[0], [1e-3 * 0.9**rate for rate in range(rates)], 2)
start = time.perf_counter()
seconds = peer.jax_grid(data, SimpleNamespace(threads=8, epochs=epochs, batch=256, frozen=False))
heads = 40 * rates
print(json.dumps({"what": "jax", "heads": heads, "seconds": seconds, "ms_per_head": seconds / heads * 1e3, "wall": time.perf_counter() - start,
                  "devices": [str(device) for device in jax.devices()], "jax": jax.__version__}), flush=True)
