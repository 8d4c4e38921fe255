"""Holds the device's memory but for so many GiB, until it is killed."""
import sys
import time

import torch

keep = int(float(sys.argv[1]) * 2**30)
held = []
for piece in (8 << 30, 1 << 30, 256 << 20):
    while True:
        free, total = torch.cuda.mem_get_info()
        if free - piece < keep:
            break
        held.append(torch.empty(piece, dtype=torch.uint8, device="cuda"))
torch.cuda.synchronize()
print(f"held {sum(part.numel() for part in held) >> 20} MiB, {torch.cuda.mem_get_info()[0] >> 20} MiB are free", flush=True)
time.sleep(90)
