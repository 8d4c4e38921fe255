#!/usr/bin/env python3
"""Builds the host emulation's libraries: build.py OUT CANDLE_PTX_FOLDER OUR_PTX_FOLDER...

OUT/lib*.so.* are the libraries; OUT/kernels/*.so one for each .cu file, with every kernel that its PTX exports.
A PTX folder belongs to the sources that cargo built it from. CUDA_HOME is the toolkit with its headers and its ptxas.
What is newer than its sources is left alone.
"""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TOOLKIT = Path(os.environ["CUDA_HOME"])
CANDLE = "affine binary cast conv fill indexing reduce sort ternary unary".split()
CXX = ["g++", "-std=c++17", "-O2", "-g", "-fPIC", "-shared", f"-I{HERE}", f"-I{TOOLKIT}/include", f"-I{TOOLKIT}/include/cccl"]
# As nvcc: a product and a sum become one fused operation. -w: the sources are Candle's and nvcc's dialect.
KERNEL = ["-w", "-fvisibility=hidden", "-fpermissive", "-fno-strict-aliasing", "-mfma", "-ffp-contract=fast"]
LIBRARIES = {
    "libcuda.so.1": ["driver.cpp", "memory.cpp", "engine.cpp"],
    "libcublas.so.13": ["blas.cpp"],
    "libcublasLt.so.13": [],
    "libcurand.so.10": ["rand.cpp"],
    "libnvrtc.so.13": [],
    "libcudnn.so.9": ["dnn.cpp"],
}


def newer(target: Path, sources: list[Path]) -> bool:
    return target.exists() and all(target.stat().st_mtime > source.stat().st_mtime for source in sources)


def call(command: list) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(str(word) for word in command)}\n{done.stderr[:6000]}")
    return done.stdout + done.stderr


def library(out: Path, soname: str, names: list[str]) -> None:
    """One library: what we have, and for every other function of the stub that programs link against one that says so and stops."""
    sources = [HERE / name for name in names]
    target = out / soname
    if newer(target, [*HERE.glob("*.cpp"), *HERE.glob("*.h"), Path(__file__)]):
        return
    stub = TOOLKIT / "lib/stubs" / f"{soname.split('.so')[0]}.so"
    known = set(re.findall(r" T (\w+)", call(["nm", "-D", "--defined-only", stub])))
    objects = []
    for source in sources:
        objects.append(out / f"{source.stem}.o")
        call([*[word for word in CXX if word != "-shared"], "-Wall", "-Wextra", "-c", source, "-o", objects[-1]])
    ours = set(re.findall(r" T (\w+)", call(["nm", *objects]))) if objects else set()
    rest = out / f"{soname}.rest.cpp"
    lines = [f'void {name}() {{ absent("{name}"); }}' for name in sorted(known - ours)]
    head = '#include <cstdio>\n#include <cstdlib>\nstatic void absent(const char *name) { fprintf(stderr, "host emulation: %s is not emulated\\n", name); abort(); }\n'
    rest.write_text(head + 'extern "C" {\n' + "\n".join(lines) + "\n}\n")
    needs = [] if soname == "libcuda.so.1" else [out / "libcuda.so.1"]
    call([*CXX, f"-Wl,-soname,{soname}", *objects, rest, *needs, "-Wl,-rpath,$ORIGIN", "-o", target])


def entries(ptx: Path, registers: dict[str, int]) -> list[dict]:
    """What PTX says of its kernels: names, parameters' sizes, most threads, static shared memory."""
    sizes = {"8": 1, "16": 2, "32": 4, "64": 8}
    kernels = []
    for part in re.split(r"\.visible \.entry ", ptx.read_text())[1:]:
        name = re.match(r"\w+", part)[0]
        head, body = part.split("\n{", 1) if "\n{" in part else part.split("{", 1)
        parameters = []
        for line in re.findall(r"\.param ([^\n]*)", head):
            array = re.search(r"\[(\d+)\]", line)
            parameters.append(int(array[1]) if array else sizes[re.search(r"\.[a-z](\d+)", line)[1]])
        bound = re.search(r"\.maxntid (\d+)(?:, (\d+))?(?:, (\d+))?", head)
        threads = 1
        for number in bound.groups() if bound else ():
            threads *= int(number or 1)
        shared = sum(int(size) for size in re.findall(r"\.shared \.align \d+ \.b8 \w+\[(\d+)\]", body))
        kernels.append({"name": name, "sizes": parameters, "threads": threads if bound else 0, "shared": shared, "registers": registers.get(name, 0)})
    return kernels


def register_counts(ptx: Path, arch: str = "sm_90") -> dict[str, int]:
    """Registers of each kernel by ptxas, which also shows that the PTX assembles. Empty where ptxas cannot."""
    ptxas = TOOLKIT / "bin/ptxas"
    done = subprocess.run([ptxas, f"-arch={arch}", "-v", ptx, "-o", "/dev/null"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(f"ptxas refuses {ptx}: {done.stderr[:2000]}", file=sys.stderr)
        return {}
    return {name: int(count) for name, count in re.findall(r"Compiling entry function '(\w+)'.*?Used (\d+) registers", done.stderr, re.S)}


def translate(text: str, name: str) -> str:
    """CUDA's shared variables as the header has them; the rest is C++ with macros."""
    text = re.sub(r"extern\s+__shared__\s+(?:__align__\(\d+\)\s*)?([\w: ]+?)\s+(\w+)\[\];", r"\1 *\2 = reinterpret_cast<\1 *>(emu_dynamic_shared());", text)
    place = iter(range(1_000_000))
    text = re.sub(
        r"(?<!extern )__shared__\s+(?:__align__\(\d+\)\s*)?([\w:<> ]+?)\s+(\w+)\s*((?:\[[^\]]+\])*)\s*;",
        lambda found: f"auto &{found[2]} = emu_shared<{found[1]}{found[3]}, {next(place)}>();",
        text,
    )
    if re.search(r"^[^/\n]*__shared__", text, re.M):
        sys.exit(f"{name}: a `__shared__` that build.py does not understand: one variable a statement, please")
    return text


def kernels(out: Path, owner: str, source: Path, ptx: Path) -> None:
    folder = out / "kernels"
    target = folder / f"{owner}-{source.stem}.so"
    if newer(target, [source, *source.parent.glob("*.cuh"), *source.parent.glob("*.h"), ptx, HERE / "device.h", HERE / "engine.h", Path(__file__)]):
        return
    work = folder / f"{owner}-{source.stem}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for file in [source, *source.parent.glob("*.cuh"), *source.parent.glob("*.h")]:
        (work / file.name).write_text(translate(file.read_text(), str(file)))
    found = entries(ptx, register_counts(ptx))
    table = [
        "template <typename... A, size_t... I> void emu_pass(void (*function)(A...), void **values, std::index_sequence<I...>) {",
        "    function(*static_cast<std::remove_const_t<A> *>(values[I])...);",
        "}",
        "template <typename... A> EmuKernel emu_entry(const char *name, void (*function)(A...), unsigned count, const unsigned char *sizes, unsigned threads, unsigned shared, unsigned registers) {",
        "    static const unsigned char own[] = {sizeof(A)..., 0}, pointers[] = {std::is_pointer_v<A>..., 0};",
        "    auto call = +[](void (*plain)(), void **values) { emu_pass(reinterpret_cast<void (*)(A...)>(plain), values, std::index_sequence_for<A...>()); };",
        "    return {name, reinterpret_cast<void (*)()>(function), call, sizeof...(A), own, pointers, count, sizes, threads, shared, registers};",
        "}",
        "static const EmuKernel emu_table[] = {",
    ]
    for kernel in found:
        sizes = "".join(f"\\{size:o}" for size in kernel["sizes"])
        table.append(
            f'    emu_entry("{kernel["name"]}", {kernel["name"]}, {len(kernel["sizes"])}, reinterpret_cast<const unsigned char *>("{sizes}"), '
            f'{kernel["threads"]}, {kernel["shared"]}, {kernel["registers"]}),'
        )
    table.append("};")
    table.append(f'__attribute__((constructor)) static void emu_register() {{ emu_register_module("{source.name}", emu_table, {len(found)}); }}')
    code = work / "module.cpp"
    code.write_text(f'#include "device.h"\n#include "{source.name}"\n' + "\n".join(table) + "\n")
    call([*CXX, *KERNEL, code, out / "libcuda.so.1", f"-I{work}", "-o", target])
    print(f"{source.name}: {len(found)} kernels", file=sys.stderr)


def main() -> None:
    out, candle_ptx, *our_ptx = (Path(argument).resolve() for argument in sys.argv[1:])
    (out / "kernels").mkdir(parents=True, exist_ok=True)
    for soname, names in LIBRARIES.items():
        library(out, soname, names)
    # The emulation's own check.
    (out / "self").mkdir(exist_ok=True)
    call([TOOLKIT / "bin/nvcc", "-ptx", "-arch=compute_80", HERE / "self/faults.cu", "-o", out / "self/faults.ptx"])
    call(["g++", "-std=c++17", "-O1", f"-I{TOOLKIT}/include", HERE / "self/check.cpp", out / "libcuda.so.1", f"-Wl,-rpath,{out}", "-o", out / "self/check"])
    # What `sweep` is shown: one GPU in the driver's folder.
    (out / "gpus/host emulation").mkdir(parents=True, exist_ok=True)
    call(["gcc", "-shared", "-fPIC", "-O2", HERE / "listing.c", "-o", out / "listing.so"])
    registry = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo")) / "registry/src"
    candle = next(registry.glob("*/candle-kernels-0.11.1/src"))
    work = [("self", HERE / "self/faults.cu", out / "self/faults.ptx")]
    work += [("candle", candle / f"{name}.cu", candle_ptx / f"{name}.ptx") for name in CANDLE]
    for folder in our_ptx:
        work += [("ours", source, folder / f"{source.stem}.ptx") for source in sorted((ROOT / "crates/kernel/src/cuda").glob("*.cu"))]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda one: kernels(out, *one), work))


main()
