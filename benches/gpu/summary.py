"""A compact table of numbers.jsonl."""
import json
import sys

rows = []
try:
    with open(sys.argv[1], errors="replace") as file:
        for line in file:
            try:
                rows.append(json.loads(line))
            except Exception:
                continue
except Exception as error:
    print(f"no numbers: {error!r}")


def of(what):
    return [row for row in rows if row.get("what") == what]


def ms(row, key):
    value = row.get(key)
    return f"{1e3 * value:8.2f}" if isinstance(value, (int, float)) else "       -"


def short(value, size=90):
    return str(value)[:size]


def part(title, work):
    try:
        lines = list(work())
    except Exception as error:
        lines = [f"(summary broken: {error!r})"]
    if lines:
        print(f"## {title}")
        for line in lines:
            print(line[:240])


def general():
    for row in of("sanity"):
        v = row.get("versions") or {}
        yield f"{row.get('card')} | cores {row.get('cores')} | missing {row.get('missing')} | torch {v.get('torch')} cudnn {v.get('nvidia-cudnn-cu13')} cublas {v.get('nvidia-cublas')}"
    for row in of("broken") + of("skipped"):
        yield f"{row['what']} {row.get('stage')}: {short(row.get('error') or row.get('left'), 200)}"
    yield "wall: " + " ".join(f"{row['stage']} {row['seconds']:.0f}" for row in of("wall")) + "".join(f" | end {row['seconds']}" for row in of("end"))


def tests():
    for row in of("tests"):
        results = " ".join(f"{r} {p} passed {f} failed" for r, p, f in row.get("results", []))
        worst = sorted(row.get("worst", {}).items(), key=lambda item: -item[1])
        yield f"{row['name']:18} rc {row['rc']}{' TIMEOUT' if row['timed_out'] else ''} {row['seconds']} s {results} {row.get('failed') or ''} worst {worst[:3]}"
        for panic in row.get("panics", [])[:1 if len(of("tests")) > 4 else 2]:
            yield "   " + panic.replace("\n", " / ")[:240]
        if row.get("refused"):
            yield f"   {len(row['refused'])} plans refused: {row['refused'][0][:170]}"
    for row in of("tests"):
        for name, error in row.get("worst", {}).items():
            if row["name"] == "cuda_kernels" and not name.endswith(("F32", "BF16")):
                yield f"   {name}: {error:.1e}"


def sanitizer():
    for row in of("sanitizer"):
        yield f"{row.get('name')}: rc {row.get('rc')}{' TIMEOUT' if row.get('timed_out') else ''} {row.get('summary')} {short(row.get('kinds') or '', 140)} {row.get('tests')}"


def probe():
    for row in of("ceilings"):
        yield f"copy {row.get('copy_GB_per_s')} GB/s, bf16 {row.get('bf16_TFLOP_per_s')} TFLOP/s, cudnn {row.get('cudnn')}, pageable access {row.get('pageable_access')}"
    yield "f32 gemm: " + "; ".join(f"{r['n']} {r['algorithm']} {r.get('error') or 0:.0e} {r.get('us')} us" for r in of("f32_gemm"))
    yield "f32 range: " + str([(r.get("algorithm"), r.get("finite")) for r in of("f32_range")])
    for r in of("conv"):
        cells = []
        if r.get("batch") != 64 and r.get("batch") != 2:
            continue
        for key in ("Forward1", "BackwardData1", "BackwardFilter1"):
            f = r.get(key)
            if f:
                cells.append(f"{key[:-1].replace('Backward', '')} {f.get('us', f.get('asked') or f.get('status'))} ({(r.get('torch_us') or {}).get(key[:-1])}) {(f.get('bytes') or 0) >> 20}M"
                             + (f" {f['error']:.0e}" if "error" in f else "") + ("" if f.get("same_bits", True) else " OTHER BITS"))
        if r["dtype"] == "bf16" or r["name"] in ("stem", "3x3@56") or any("err" in c or "NOT" in c for c in cells):
            yield f"{r['name']} {r['dtype']}: " + ", ".join(cells)
    cells = []
    for r in of("one_by_one"):
        us = r.get("us") or {}
        cells.append(f"{r['positions']}x{r['k']}: {us.get('forward')} {us.get('data')} {us.get('weight')} ({us.get('weight tensor_op')}, {r.get('torch_weight_us')}) {r.get('floor_us')}"
                     + ("" if r.get("same_bits") else " OTHER BITS"))
    if cells:
        yield "1x1: forward data weight (weight by 99, by torch) floor"
    for first, second in zip(cells[::2], cells[1::2] + [""]):
        yield f"{first} | {second}"
    odd = [f"{r['c']}->{r['o']} k{r['k']} {r['dtype']} " + "/".join(str(r.get(d))[:24] for d in ("Forward", "BackwardData", "BackwardFilter")) for r in of("odd_conv")
           if any(r.get(d) != "ok" for d in ("Forward", "BackwardData", "BackwardFilter"))]
    yield f"odd shapes refused: {len(odd)} of {len(of('odd_conv'))}: " + "; ".join(odd)[:150]
    for r in of("probe_error") + of("probe_skipped"):
        yield f"{r['what']} {r.get('of')}: {short(r.get('error'), 160)}"


def steps():
    yield "name                  course  enqueued      sync      eval ms |  img/s   GiB  same bits"
    for r in of("step"):
        peak = r.get("peak_memory_bytes")
        yield (f"{r['name']:20}{ms(r, 'median_course_step_s')}  {ms(r, 'median_enqueued_step_s')}  {ms(r, 'median_step_s')}  {ms(r, 'median_evaluation_s')}    | "
               f"{r.get('course_images_per_s', 0):6.0f} {(peak or 0) / 2**30:5.1f}  {r.get('same_bits_as_before')}"
               + ("" if r.get("rc") == 0 else f" rc {r.get('rc')}{' TIMEOUT' if r.get('timed_out') else ''} {short(r.get('error'), 150)!r}"))
    for r in of("peer"):
        if "median_course_step_s" in r:
            yield (f"{r['form'].replace('compiled', 'comp')[:15] + ' ' + str(r['batch']):20}{ms(r, 'median_course_step_s')}  {ms(r, 'median_enqueued_step_s')}  {ms(r, 'median_step_s')}           -    | "
                   f"{r['batch'] / r['median_course_step_s']:6.0f} {(r.get('peak_allocated') or 0) / 2**30:5.1f} (used {(r.get('used') or 0) / 2**30:.1f})")
        elif "busy_us" in r:
            yield f"   {r['form']} {r['batch']}: busy {r['busy_us']} us, {r['launches']} launches; " + "; ".join(f"{k[:30]} x{n} {us}" for k, n, us in r.get("top", [])[:2])
        elif "error" in r:
            yield f"   {r['form']} {r['batch']}: {short(r['error'], 200)}"


def profile():
    for r in of("ncu"):
        if not r.get("kernels"):
            yield f"ncu rc {r.get('rc')}: {short(r.get('tail') or r.get('error'), 250)!r}"
    for r in of("ncu_total"):
        yield f"{r['launches']} launches, {r['us']} us, {r['MB']} MB; families (launches, us, MB): {r['families']}"
    for r in of("kernel")[:16]:
        yield f"{r['us']:8.0f} us x{r['launches']:<4} {r['MB']:7.0f} MB {r['GB_per_s']:5.0f} GB/s {r['kernel'][:52]}"


def sweeps():
    for r in of("sweep"):
        yield (f"{r['name']}: rc {r['rc']}{' TIMEOUT' if r['timed_out'] else ''} {r['seconds']} s runs {r.get('runs')} attempts {r.get('attempts')} img/s {r.get('images_per_s')} "
               f"from epoch {r.get('from_epochs')} F1 {r.get('macro_f1')} {r.get('error', '')}")
        for why in r.get("why", [])[:2]:
            yield "   " + why[:200]
    for r in of("same_losses"):
        yield f"{r['name']} beside 1-worker: {r['equal']} of {r['of']} losses have equal bits, furthest {r['furthest']}"
    for r in of("heads"):
        yield f"{r['name']}: rc {r.get('rc')} {r.get('seconds', 0):.2f} s, {r.get('ms_per_head', 0):.2f} ms a head, {r.get('runs')} runs in {r.get('bundles')} bundles; {r.get('phases_ms')} {short(r.get('error') or '', 150)}"
    for r in of("jax"):
        yield f"jax {r['heads']}: {r['seconds']:.2f} s, {r['ms_per_head']:.2f} ms a head on {r.get('devices')}"
    for r in of("stage"):
        if r.get("rc"):
            yield f"{r['name']}: rc {r['rc']}{' TIMEOUT' if r['timed_out'] else ''} {short(r.get('tail'), 250)!r}"


for title, work in (("general", general), ("tests", tests), ("steps, ms", steps), ("probe, us (torch's) workspace error", probe), ("sweeps and heads", sweeps), ("one step by kernel", profile), ("sanitizer", sanitizer)):
    part(title, work)
