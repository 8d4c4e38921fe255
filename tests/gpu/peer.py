"""torchvision's DenseNet-121, a training step in several forms, one JSON line each: peer.py --batch 64 [--warm] [--fast]."""
import argparse
import json
import statistics
import sys
import time
import traceback

START = time.perf_counter()
parser = argparse.ArgumentParser()
parser.add_argument("--batch", type=int, default=64)
parser.add_argument("--size", type=int, default=224)
parser.add_argument("--warm", action="store_true", help="compile only")
parser.add_argument("--fast", action="store_true")
parser.add_argument("--device", default="cuda")
options = parser.parse_args()

import torch
from torchvision.models import densenet121

CUDA = options.device == "cuda"
if options.fast:
    options.size, options.batch = 32, 2
torch.backends.cudnn.benchmark = True
torch.backends.cudnn.allow_tf32 = False
torch.backends.cuda.matmul.allow_tf32 = False
STEPS = 2 if options.fast else 30 if options.batch <= 64 else 12
WARM = 1 if options.fast else 8


def sync():
    if CUDA:
        torch.cuda.synchronize()


def told(**values):
    print(json.dumps({"what": "peer", "batch": options.batch, **values}), flush=True)


class Course:
    def __init__(self, memory, bf16, compiled):
        torch.manual_seed(0)
        self.model = densenet121(num_classes=4).to(options.device, memory_format=memory).train()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4, fused=CUDA, capturable=CUDA)
        self.criterion = torch.nn.BCEWithLogitsLoss()
        self.inputs = torch.randn(options.batch, 3, options.size, options.size).to(options.device, memory_format=memory)
        self.targets = (torch.rand(options.batch, 4) < .3).float().to(options.device)
        self.forward = torch.compile(self.model, dynamic=False) if compiled else self.model
        self.bf16, self.graph, self.loss = bf16, None, None

    def capture(self):
        """From now on a step is one replay of a CUDA graph of all of it."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(4):
                self.eager()
        torch.cuda.current_stream().wait_stream(side)
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            self.eager()
        self.graph = captured

    def eager(self):
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(options.device, torch.bfloat16, enabled=self.bf16, cache_enabled=False):
            self.loss = self.criterion(self.forward(self.inputs), self.targets)
        self.loss.backward()
        self.optimizer.step()

    def step(self):
        if self.graph is not None:
            self.graph.replay()
        else:
            self.eager()


def main():
    last, first = torch.channels_last, torch.contiguous_format
    forms = [("eager-bf16", last, True, False)]
    if options.batch <= 64:
        forms += [("eager-f32", last, False, False), ("eager-f32-nchw", first, False, False)]
    if not options.fast or CUDA:
        forms += [("compiled-bf16", last, True, True)]
    if options.warm:
        forms = forms[-1:]
    for name, memory, bf16, compiled in forms:
        began = time.perf_counter()
        steps = max(2, STEPS // 3) if name.startswith("eager-f32") else STEPS
        course = None
        try:
            if CUDA:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            course = Course(memory, bf16, compiled)
            if options.warm:
                for _ in range(2):
                    course.step()
                sync()
                told(form="warm", seconds=time.perf_counter() - began)
                continue
            measure(course, name, steps, began)
            if CUDA and bf16:
                began = time.perf_counter()
                torch.cuda.reset_peak_memory_stats()
                course.capture()
                measure(course, name.replace("bf16", "graph-bf16"), steps, began)
        except Exception as error:
            traceback.print_exc()
            told(form=name, error=repr(error)[:400])
        finally:
            course = None
    told(form="all", seconds=round(time.perf_counter() - START, 1))


def measure(course, name, steps, began):
    for _ in range(WARM):
        course.step()
    sync()
    ready = time.perf_counter() - began
    single = []
    for _ in range(steps):
        start = time.perf_counter()
        course.step()
        course.loss.item()
        sync()
        single.append(time.perf_counter() - start)
    courses, asked = [], []
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(steps):
            course.step()
        asked.append((time.perf_counter() - start) / steps)
        sync()
        courses.append((time.perf_counter() - start) / steps)
    peak, used = None, None
    if CUDA:
        free, total = torch.cuda.mem_get_info()
        peak, used = torch.cuda.max_memory_allocated(), total - free
    told(form=name, median_course_step_s=statistics.median(courses), courses_s=courses, median_enqueued_step_s=statistics.median(asked),
         median_step_s=statistics.median(single), steps=steps, peak_allocated=peak, used=used, loss=course.loss.detach().item(), ready_s=round(ready, 1))
    if CUDA and name in ("eager-bf16", "compiled-bf16", "eager-f32") and not options.fast:
        try:
            busy(course, name)
        except Exception as error:
            traceback.print_exc()
            told(form=f"{name} by kernel", error=repr(error)[:300])


def busy(course, name):
    """The device's own time in one step, by kernel."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        for _ in range(2):
            course.step()
        sync()
    found = {}
    for event in seen.events():
        if getattr(event, "device_type", None) == torch.autograd.DeviceType.CUDA:
            entry = found.setdefault(event.name, [0, 0.0])
            entry[0] += 1
            entry[1] += getattr(event, "device_time", 0) or getattr(event, "cuda_time", 0) or 0
    table = sorted(found.items(), key=lambda item: -item[1][1])
    told(form=f"{name} by kernel", launches=sum(count for _, (count, _) in table) // 2, busy_us=round(sum(us for _, (_, us) in table) / 2),
         top=[[kernel[:100], count // 2, round(us / 2)] for kernel, (count, us) in table[:14]])


if __name__ == "__main__":
    main()
    sys.stdout.flush()
