"""What cuBLAS and cuDNN do with our calls, without our program: errors, status, workspace, microseconds. JSON lines."""
import ctypes
import glob
import json
import os
import sys
import time
import traceback

FAST = "--fast" in sys.argv
BUDGET = 50.0
T0 = time.perf_counter()

import torch


def told(what, **values):
    print(json.dumps({"what": what, **values}), flush=True)


def library(name, module):
    """The one that torch has loaded already, or from the packages' folders."""
    tries = [name]
    try:
        import nvidia
        for place in nvidia.__path__:
            tries += glob.glob(os.path.join(place, "*", "lib", name))
    except Exception:
        pass
    for path in tries:
        try:
            return ctypes.CDLL(path)
        except OSError:
            continue
    told("probe_error", of=module, error=f"{name} cannot be loaded")
    return None


def timed(call, most=0.04, tries=30):
    """Median microseconds of a call by events; fewer calls where it is slow."""
    call()
    torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    one = time.perf_counter() - start
    count = max(2, min(tries, int(most / max(one, 1e-6))))
    marks = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(count)]
    for before, after in marks:
        before.record()
        call()
        after.record()
    torch.cuda.synchronize()
    times = sorted(before.elapsed_time(after) * 1e3 for before, after in marks)
    return round(times[len(times) // 2], 1)


def enough():
    return time.perf_counter() - T0 > BUDGET


def section(work, *arguments):
    if enough():
        return told("probe_skipped", of=work.__name__)
    try:
        work(*arguments)
    except Exception as error:
        traceback.print_exc()
        told("probe_error", of=work.__name__, error=repr(error)[:300])


P, I, S = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
ONE, ZERO = ctypes.c_float(1.0), ctypes.c_float(0.0)
F32, BF16 = 0, 14


def norm(a, b):
    a, b = a.double(), b.double()
    return float((a - b).norm() / b.norm())


def ceilings():
    size = (64 << 20) if FAST else (2 << 30)
    a = torch.randint(0, 255, (size,), dtype=torch.uint8, device="cuda")
    b = torch.empty_like(a)
    us = timed(lambda: b.copy_(a), most=0.03)
    n = 1024 if FAST else 8192
    x, y = (torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    product = timed(lambda: x @ y, most=0.03)
    told("ceilings", copy_GB_per_s=round(2 * size / us / 1e3), bf16_TFLOP_per_s=round(2 * n**3 / product / 1e6), sm=torch.cuda.get_device_properties(0).multi_processor_count,
         cudnn=torch.backends.cudnn.version(), torch=torch.__version__, pageable_access=attribute(88), host_page_tables=attribute(100))


def attribute(which):
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
        value = ctypes.c_int(-1)
        status = cuda.cuDeviceGetAttribute(ctypes.byref(value), which, 0)
        return value.value if status == 0 else f"status {status}"
    except Exception as error:
        return repr(error)


class Blas:
    def __init__(self):
        self.lib = library("libcublas.so.13", "cublas")
        self.handle = P()
        status = self.lib.cublasCreate_v2(ctypes.byref(self.handle))
        version = ctypes.c_int()
        self.lib.cublasGetVersion_v2(self.handle, ctypes.byref(version))
        told("cublas", create=status, version=version.value)
        self.lib.cublasGemmEx.argtypes = [P, I, I, I, I, I, P, P, I, I, P, I, I, P, P, I, I, I, I]
        self.lib.cublasGemmStridedBatchedEx.argtypes = [P, I, I, I, I, I, P, P, I, I, ctypes.c_longlong, P, I, I, ctypes.c_longlong, P, P, I, I, ctypes.c_longlong, I, I, I]
        self.lib.cublasSetWorkspace_v2.argtypes = [P, P, S]

    def product(self, a, b, c, turn_a=False, turn_b=False, algorithm=-1, strided=False):
        """Row-major c [m, n] = a b, as kernel/cuda/gemm.rs asks; a turned factor lies transposed in memory."""
        m, n = c.shape
        k = a.shape[0] if turn_a else a.shape[1]
        kind = {torch.float32: F32, torch.bfloat16: BF16}
        head = (self.handle, int(turn_b), int(turn_a), n, m, k, ctypes.addressof(ONE))
        of_b, of_a, of_c = ((t.data_ptr(), kind[t.dtype], t.stride(0)) for t in (b, a, c))
        if strided:
            return self.lib.cublasGemmStridedBatchedEx(*head, *of_b, 0, *of_a, 0, ctypes.addressof(ZERO), *of_c, 0, 1, 68, algorithm)
        return self.lib.cublasGemmEx(*head, *of_b, *of_a, ctypes.addressof(ZERO), *of_c, 68, algorithm)


def rounding(blas):
    """B1: does an algorithm for tensor cores round f32?"""
    for n in (256,) if FAST else (1024, 4096):
        a, b = (torch.randn(n, n, device="cuda") for _ in range(2))
        exact = a.double() @ b.double()
        for name, algorithm, strided in (("default", -1, False), ("default_tensor_op", 99, False), ("strided default", -1, True), ("strided tensor_op", 99, True)):
            c = torch.full((n, n), float("nan"), device="cuda")
            status = blas.product(a, b, c, algorithm=algorithm, strided=strided)
            torch.cuda.synchronize()
            us = timed(lambda: blas.product(a, b, c, algorithm=algorithm, strided=strided)) if status == 0 else None
            told("f32_gemm", n=n, algorithm=name, status=status, error=norm(c, exact) if status == 0 else None, us=us, TFLOP_per_s=round(2 * n**3 / us / 1e6, 1) if us else None)
    # Beyond f16's range.
    a, b = (torch.full((256, 256), 3e5, device="cuda") for _ in range(2))
    for algorithm in (-1, 99):
        c = torch.zeros(256, 256, device="cuda")
        blas.product(a, b, c, algorithm=algorithm)
        torch.cuda.synchronize()
        told("f32_range", algorithm=algorithm, finite=bool(c.isfinite().all()), value=float(c[0, 0]))


def ones(blas):
    """P4: the products of 1x1 convolutions in dense layers: [positions x K], 128 outputs."""
    cases = [(4096, 64)] if FAST else [(200704, 64), (200704, 224), (50176, 128), (50176, 480), (12544, 256), (12544, 992), (3136, 512), (3136, 992), (802816, 64), (802816, 224)]
    for positions, k in cases:
        if enough():
            return told("probe_skipped", of="ones")
        x = torch.randn(positions, k, device="cuda", dtype=torch.bfloat16)
        w = torch.randn(128, k, device="cuda", dtype=torch.bfloat16)
        dy = torch.randn(positions, 128, device="cuda", dtype=torch.bfloat16)
        y, dx = torch.empty_like(dy), torch.empty_like(x)
        dw = torch.empty(128, k, device="cuda")
        calls = {"forward": lambda a=-1: blas.product(x, w, y, turn_b=True, algorithm=a), "data": lambda a=-1: blas.product(dy, w, dx, algorithm=a),
                 "weight": lambda a=-1: blas.product(dy, x, dw, turn_a=True, algorithm=a), "weight tensor_op": lambda a=99: blas.product(dy, x, dw, turn_a=True, algorithm=a)}
        found = {}
        for name, call in calls.items():
            status = call()
            torch.cuda.synchronize()
            found[name] = timed(call, most=0.015) if status == 0 else f"status {status}"
        again = dw.clone()
        calls["weight"]()
        torch.cuda.synchronize()
        bytes_ = 2 * positions * (k + 128)
        floor = round(bytes_ / 4.3e6, 1)
        theirs = timed(lambda: torch.mm(dy.t(), x), most=0.01)
        exact = dy[:, :8].double().t() @ x.double() if positions < 300000 else None
        told("one_by_one", positions=positions, k=k, us=found, floor_us=floor, torch_weight_us=theirs, same_bits=bool((again == dw).all()),
             weight_error=norm(dw[:8], exact) if exact is not None else None)


STATUS = {}


class Dnn:
    def __init__(self):
        self.lib = library("libcudnn.so.9", "cudnn")
        self.lib.cudnnGetErrorString.restype = ctypes.c_char_p
        self.lib.cudnnGetVersion.restype = S
        self.handle = P()
        told("cudnn", create=self.lib.cudnnCreate(ctypes.byref(self.handle)), version=self.lib.cudnnGetVersion())
        for name in ("Forward", "BackwardData", "BackwardFilter"):
            getattr(self.lib, f"cudnnConvolution{name}").argtypes = [P, P, P, P, P, P, P, I, P, S, P, P, P]
            getattr(self.lib, f"cudnnGetConvolution{name}WorkspaceSize").argtypes = [P, P, P, P, P, I, P]
        self.room = torch.empty(1 << 20, dtype=torch.uint8, device="cuda")

    def status(self, code):
        return "ok" if code == 0 else f"{code} {self.lib.cudnnGetErrorString(code).decode()}"

    def made(self, kind):
        found = P()
        getattr(self.lib, f"cudnnCreate{kind}Descriptor")(ctypes.byref(found))
        return found

    def plan(self, n, c, h, o, k, stride, pad, bf16):
        out = (h + 2 * pad - k) // stride + 1
        kind = 9 if bf16 else 0
        x, y, w, conv = self.made("Tensor"), self.made("Tensor"), self.made("Filter"), self.made("Convolution")
        codes = [self.lib.cudnnSetTensor4dDescriptor(x, 1, kind, n, c, h, h), self.lib.cudnnSetTensor4dDescriptor(y, 1, kind, n, o, out, out),
                 self.lib.cudnnSetFilter4dDescriptor(w, kind, 1, o, c, k, k), self.lib.cudnnSetConvolution2dDescriptor(conv, pad, pad, stride, stride, 1, 1, 1, 0),
                 self.lib.cudnnSetConvolutionMathType(conv, 1 if bf16 else 3)]
        return x, y, w, conv, out, codes

    def workspace(self, bytes_):
        if self.room.numel() < bytes_:
            self.room = None
            self.room = torch.empty(bytes_, dtype=torch.uint8, device="cuda")
        return self.room.data_ptr()

    def run(self, direction, algorithm, plan, tensors, timing=True):
        x, y, w, conv, _, _ = plan
        tx, ty, tw = tensors
        need = S(0)
        a, b = ctypes.addressof(ONE), ctypes.addressof(ZERO)
        if direction == "Forward":
            order, first, second, third = (x, w, conv, y), (x, tx), (w, tw), (y, ty)
        elif direction == "BackwardData":
            order, first, second, third = (w, y, conv, x), (w, tw), (y, ty), (x, tx)
        else:
            order, first, second, third = (x, y, conv, w), (x, tx), (y, ty), (w, tw)
        asked = getattr(self.lib, f"cudnnGetConvolution{direction}WorkspaceSize")(self.handle, *order, algorithm, ctypes.byref(need))
        if asked:
            return {"asked": self.status(asked)}
        if need.value > 20 << 30:
            return {"bytes": need.value, "error": "too much"}
        at = self.workspace(need.value) if need.value else None
        call = lambda: getattr(self.lib, f"cudnnConvolution{direction}")(self.handle, a, first[0], first[1].data_ptr(), second[0], second[1].data_ptr(), conv, algorithm, at,
                                                                         need.value, b, third[0], third[1].data_ptr())
        status = call()
        torch.cuda.synchronize()
        found = {"bytes": need.value, "status": self.status(status)}
        if status == 0:
            once = third[1].clone()
            call()
            torch.cuda.synchronize()
            found["same_bits"] = bool((once == third[1]).all())
            if timing:
                found["us"] = timed(call, most=0.012, tries=15)
        return found


def convolutions(dnn, batch, full):
    """B3, B4, P7, P8: what the network asks of cuDNN. Legacy algorithms by number; ours are Forward 1, BackwardData 1, BackwardFilter 1."""
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False
    cases = [("stem", 3, 224, 64, 7, 2, 3), ("3x3@56", 128, 56, 32, 3, 1, 1), ("3x3@28", 128, 28, 32, 3, 1, 1), ("3x3@14", 128, 14, 32, 3, 1, 1), ("3x3@7", 128, 7, 32, 3, 1, 1)]
    if full:
        cases += [("stem C=4", 4, 224, 64, 7, 2, 3), ("stem C=8", 8, 224, 64, 7, 2, 3)]
    for bf16 in (True, False) if full else (True,):
        dtype = torch.bfloat16 if bf16 else torch.float32
        for name, c, h, o, k, stride, pad in cases:
            if enough() or (not bf16 and "C=" in name):
                continue
            try:
                one(dnn, batch, full, bf16, dtype, name, c, h, o, k, stride, pad)
            except Exception as error:
                traceback.print_exc()
                told("probe_error", of=f"{name} {dtype}", error=repr(error)[:300])


def one(dnn, batch, full, bf16, dtype, name, c, h, o, k, stride, pad):
    plan = dnn.plan(batch, c, h, o, k, stride, pad, bf16)
    out, codes = plan[4], plan[5]
    make = lambda *shape: torch.randn(*shape, device="cuda").to(dtype).contiguous(memory_format=torch.channels_last)
    x, y, w = make(batch, c, h, h), make(batch, o, out, out), make(o, c, k, k)
    report = {}
    dtypes = "bf16" if bf16 else "f32"
    stem = name.startswith("stem")
    for direction, algorithms in (("Forward", (1, 0)), ("BackwardData", (1, 0)), ("BackwardFilter", (1, 0, 3))):
        if stem and direction == "BackwardData":
            continue
        for algorithm in algorithms if full else algorithms[:1]:
            tensors = [x, y, w]
            target = {"Forward": 1, "BackwardData": 0, "BackwardFilter": 2}[direction]
            tensors[target] = torch.full_like(tensors[target], float("nan"))
            found = dnn.run(direction, algorithm, plan, tensors)
            if found.get("status") == "ok" and algorithm == 1:
                conv = lambda grad: torch.ops.aten.convolution_backward(y.float(), x.float(), w.float(), None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], 1, grad)
                with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=False):
                    exact = torch.nn.functional.conv2d(x.float(), w.float(), stride=stride, padding=pad) if target == 1 else conv([target == 0, target == 2, False])[0 if target == 0 else 1]
                found["error"] = float(f"{norm(tensors[target], exact):.2e}")
            report[f"{direction}{algorithm}"] = found
    theirs = {}
    theirs["Forward"] = timed(lambda: torch.nn.functional.conv2d(x, w, stride=stride, padding=pad), most=0.01, tries=15)
    for label, mask in (("BackwardData", [True, False, False]), ("BackwardFilter", [False, True, False])):
        if not (stem and label == "BackwardData"):
            theirs[label] = timed(lambda: torch.ops.aten.convolution_backward(y, x, w, None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], 1, mask), most=0.01, tries=15)
    told("conv", name=name, batch=batch, dtype=dtypes, descriptors=[code for code in codes if code], torch_us=theirs, **report)


def odd(dnn):
    """Shapes of the tests: which odd channels does cuDNN refuse?"""
    for c, o, h, k, stride, pad in ((2, 4, 14, 3, 2, 1), (5, 3, 6, 2, 1, 0), (3, 5, 9, 3, 1, 1), (33, 32, 7, 3, 1, 1), (3, 8, 28, 7, 2, 3)):
        for bf16 in (True, False):
            plan = dnn.plan(3, c, h, o, k, stride, pad, bf16)
            out = plan[4]
            dtype = torch.bfloat16 if bf16 else torch.float32
            make = lambda *shape: torch.randn(*shape, device="cuda").to(dtype).contiguous(memory_format=torch.channels_last)
            tensors = [make(3, c, h, h), make(3, o, out, out), make(o, c, k, k)]
            report = {direction: dnn.run(direction, 1, plan, tensors, timing=False) for direction in ("Forward", "BackwardData", "BackwardFilter")}
            told("odd_conv", c=c, o=o, k=k, dtype="bf16" if bf16 else "f32", **{d: f.get("asked") or f.get("status") for d, f in report.items()})


def main():
    torch.cuda.init()
    torch.manual_seed(1)
    section(ceilings)
    blas = dnn = None
    try:
        blas = Blas()
    except Exception as error:
        told("probe_error", of="cublas", error=repr(error))
    if blas:
        section(rounding, blas)
        section(ones, blas)
    try:
        dnn = Dnn()
    except Exception as error:
        told("probe_error", of="cudnn", error=repr(error))
    if dnn:
        section(convolutions, dnn, 2 if FAST else 64, True)
    if dnn:
        section(odd, dnn)
    if dnn and not FAST:
        section(convolutions, dnn, 256, False)
    told("probe_end", seconds=round(time.perf_counter() - T0, 1))


main()
sys.stdout.flush()
