#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""DWRSeg (arXiv 2212.01173) in PyTorch, to be measured beside dwrseg.

  dwrseg_torch.py --check FILE...   parameters, and logits against those that the files hold (tests/golden/eval*.safetensors)
  dwrseg_torch.py [options]         times every combination of the values given, prints a line each, --json FILE keeps them

The network is built from the configuration that a weights file carries under "dwrseg"; parameters have the file's names. Needs torch alone;
runs on the CPU too. Times are per image, from a normalised image in the device's memory to the class map there (inference), or one whole
step of SGD (training), by the host's clock with a wait for the device, and on a GPU by CUDA events. Options take several values: --batch 1 8
--precision fp16 fp32; --all stands for all modes, precisions and executions.

Executions: eager; compiled (torch.compile, on a GPU with mode max-autotune, the class map in it); graph (captured as a CUDA graph);
compiled+graph (both, which is what torch.compile does with mode "max-autotune", but captured once and replayed without its checks).
"""
import argparse
import itertools
import json
import math
import re
import struct
import sys
import time

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
DEFAULTS = {
    "classes": 19, "base_channels": 64, "repeats": [7, 3, 3], "sir_expansion": 3, "sir_depthwise": False, "branch_ratio": [2, 1, 1],
    "rr_expansion": 1.5, "shared_branches": False, "rr_relu": True, "rr_bn": True, "sr_bn": True, "sr_relu": False, "project_bn": False,
}
# What is timed, in the words of dwrseg bench, which compares times of the same scope only.
SCOPES = {
    "infer": "normalised image in device memory to class map in device memory",
    "train": "training step: forward, loss, backward, update",
}
DILATIONS = (1, 3, 5)
IGNORED = 255


def conv(inputs, outputs, size, stride=1, dilation=1, groups=1, bias=False):
    return nn.Conv2d(inputs, outputs, size, stride, dilation * (size // 2), dilation, groups, bias)


class Normed(nn.Module):
    """A convolution and its BN, then perhaps ReLU."""

    def __init__(self, inputs, outputs, size, stride=1, active=True):
        super().__init__()
        self.conv, self.bn, self.active = conv(inputs, outputs, size, stride), nn.BatchNorm2d(outputs), active

    def forward(self, x):
        y = self.bn(self.conv(x))
        return functional.relu(y) if self.active else y


class Stem(nn.Module):
    """(N, 3, H, W) to (N, c, H/4, W/4)."""

    def __init__(self, c):
        super().__init__()
        self.conv = Normed(3, c // 2, 3, 2, active=False)
        self.expand = Normed(c // 2, c, 1)
        self.down = Normed(c, c // 2, 3, 2)
        self.fuse = Normed(c, c, 3)

    def forward(self, x):
        raw = self.conv(x)
        pooled = functional.max_pool2d(raw, 3, 2, 1)
        return self.fuse(torch.cat((self.down(self.expand(raw)), pooled), 1))


class Residual(nn.Module):
    """A module with a shortcut, which is a projection where shapes differ; subclasses give the other way."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        if (inputs, 1) != (outputs, stride):
            self.shortcut = Normed(inputs, outputs, 1, stride, active=False)
        else:
            self.shortcut = nn.Identity()

    def forward(self, x):
        return self.residual(x) + self.shortcut(x)


class Sir(Residual):
    """Simple Inverted Residual, section 3.3."""

    def __init__(self, inputs, outputs, stride, config):
        super().__init__(inputs, outputs, stride)
        wide = config["sir_expansion"] * inputs
        self.expand = Normed(inputs, wide, 3, stride)
        if config["sir_depthwise"]:
            self.depthwise, self.bn = conv(wide, wide, 3, groups=wide), nn.BatchNorm2d(wide)
        else:
            self.depthwise = self.bn = nn.Identity()
        self.project = conv(wide, outputs, 1)

    def residual(self, x):
        return self.project(self.bn(self.depthwise(self.expand(x))))


class Dwr(Residual):
    """Dilation-wise Residual, section 3.2: Region Residualization, then a dilated depth-wise branch for each of its groups."""

    def __init__(self, inputs, outputs, stride, branches, config):
        super().__init__(inputs, outputs, stride)
        group = int(outputs * config["rr_expansion"]) // 3
        ratio = config["branch_ratio"][:branches]
        self.shared, self.branches = config["shared_branches"], branches
        regions, joined = group if self.shared else group * branches, group * sum(ratio)
        self.rr = conv(inputs, regions, 3, stride)
        self.rr_bn = nn.BatchNorm2d(regions) if config["rr_bn"] else nn.Identity()
        self.rr_act = nn.ReLU() if config["rr_relu"] else nn.Identity()
        self.sr = nn.ModuleList([conv(group, group * r, 3, dilation=d, groups=group) for r, d in zip(ratio, DILATIONS)])
        self.sr_bn = nn.BatchNorm2d(joined) if config["sr_bn"] else nn.Identity()
        self.sr_act = nn.ReLU() if config["sr_relu"] else nn.Identity()
        self.project = conv(joined, outputs, 1)
        self.project_bn = nn.BatchNorm2d(outputs) if config["project_bn"] else nn.Identity()

    def residual(self, x):
        regions = self.rr_act(self.rr_bn(self.rr(x)))
        groups = [regions] * self.branches if self.shared else regions.chunk(self.branches, 1)
        joined = torch.cat([branch(g) for branch, g in zip(self.sr, groups)], 1)
        return self.project_bn(self.project(self.sr_act(self.sr_bn(joined))))


class Decoder(nn.Module):
    def __init__(self, joined, middle, classes):
        super().__init__()
        self.bn = nn.BatchNorm2d(joined)
        self.conv = Normed(joined, middle, 3)
        self.classify = conv(middle, classes, 1, bias=True)

    def forward(self, maps):
        size = maps[0].shape[-2:]
        return self.classify(self.conv(self.bn(torch.cat([maps[0]] + [resized(m, size) for m in maps[1:]], 1))))


class Network(nn.Module):
    """Images (N, 3, H, W) to logits (N, classes, H, W)."""

    def __init__(self, config):
        super().__init__()
        c, (two, three, four) = config["base_channels"], config["repeats"]
        self.stem = Stem(c)
        self.stage2 = nn.Sequential(*[Sir(c, c, 2 if i == 0 else 1, config) for i in range(two)])
        self.stage3 = nn.Sequential(*[Dwr(2 * c if i else c, 2 * c, 1 if i else 2, 2, config) for i in range(three)])
        self.stage4 = nn.Sequential(*[Dwr(2 * c, 2 * c, 1 if i else 2, 3, config) for i in range(four)])
        self.decoder = Decoder(5 * c, 2 * c, config["classes"])

    def forward(self, x):
        maps = [self.stage2(self.stem(x))]
        maps.append(self.stage3(maps[-1]))
        maps.append(self.stage4(maps[-1]))
        return resized(self.decoder(maps), x.shape[-2:])


def resized(x, size):
    return functional.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


def ohem_loss(logits, labels, threshold=0.7, least_share=1 / 16):
    """Mean over the pixels whose loss exceeds -ln(threshold), or over the hardest least_share of all. Nothing is asked of the host, so that it
    can be captured."""
    losses = functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none").flatten()
    least = losses.detach().topk(max(1, int(losses.numel() * least_share))).values[-1]
    kept = losses >= least.clamp(max=-math.log(threshold))
    return (losses * kept).sum() / kept.sum()


def read_safetensors(path):
    """Tensors by name, and the metadata."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = bytearray(file.read())
    metadata = header.pop("__metadata__", {})
    types = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64, "U8": torch.uint8}
    tensors = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        dtype = types[entry["dtype"]]
        tensors[name] = torch.frombuffer(data, dtype=dtype, count=(last - first) // dtype.itemsize, offset=first).reshape(entry["shape"]).clone()
    return tensors, metadata


def config_of(metadata):
    config = json.loads(metadata["dwrseg"])
    if config.get("stages"):
        raise SystemExit("dwrseg_torch: a network whose stages are configured one by one is not supported")
    return {**DEFAULTS, **{k: v for k, v in config.items() if k in DEFAULTS}}


def load(model, tensors, prefix=""):
    weights = {k[len(prefix):]: v for k, v in tensors.items() if k.startswith(prefix)}
    missing, _ = model.load_state_dict(weights, strict=False)
    missing = [m for m in missing if not m.endswith("num_batches_tracked")]
    if missing:
        raise SystemExit(f"dwrseg_torch: the file has no {missing[0]} ({len(missing)} are missing)")


def named_network(name):
    """DWRSeg-B or -L, or that of a weights file; fresh weights where there is no file. Returns it with its name."""
    torch.manual_seed(1)
    if name in ("base", "large"):
        return Network({**DEFAULTS, "repeats": [7, 3, 3] if name == "base" else [8, 8, 3]}), "DWRSeg-B" if name == "base" else "DWRSeg-L"
    tensors, metadata = read_safetensors(name)
    model = Network(config_of(metadata))
    load(model, tensors)
    return model, name


class Classifier(nn.Module):
    """Images to class maps."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x).argmax(1)


def fold(model):
    """Takes each BN that follows a convolution into it, as a deployment would. The model must be in eval mode."""
    for module in model.modules():
        for conv, bn in (("conv", "bn"), ("rr", "rr_bn"), ("project", "project_bn")):
            pair = getattr(module, conv, None), getattr(module, bn, None)
            if isinstance(module, Decoder) or not (isinstance(pair[0], nn.Conv2d) and isinstance(pair[1], nn.BatchNorm2d)):
                continue
            setattr(module, conv, fuse_conv_bn_eval(*pair))
            setattr(module, bn, nn.Identity())
    return model


def parameters_of(model):
    return sum(p.numel() for p in model.parameters())


def check(options):
    for name in ("base", "large"):
        model, title = named_network(name)
        print(f"{title}: {parameters_of(model):,} parameters")
    failed = 0
    for path in options.check:
        tensors, metadata = read_safetensors(path)
        model = Network(config_of(metadata)).eval()
        load(model, tensors, "param.")
        parameters, errors = parameters_of(model), []
        for variant in (lambda m: m, fold):
            with torch.no_grad():
                found = variant(model)(tensors["input"])
            errors.append(((found - tensors["logits"]).norm() / tensors["logits"].norm()).item())
        passes = all(error <= options.tolerance for error in errors)
        failed += not passes
        print(f"{'PASS' if passes else 'FAIL'} {path}: {parameters:,} parameters, logits {errors[0]:.1e}, with folded BNs {errors[1]:.1e}")
    return 1 if failed else 0


class Case:
    """One combination, ready to be run again and again."""

    def __init__(self, options, model_name, mode, precision, execution, size, batch):
        self.on_gpu = options.device.startswith("cuda")
        if not self.on_gpu and ("graph" in execution or precision == "tf32"):
            raise ValueError(f"{execution}, {precision} needs a CUDA device")
        self.height, self.width = (int(s) for s in size.split("x"))
        self.mode, self.batch, self.dtype = mode, batch, DTYPES[precision]
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        layout = torch.channels_last if options.layout == "nhwc" else torch.contiguous_format
        model, self.model_name = named_network(model_name)
        self.parameters, classes = parameters_of(model), model.decoder.classify.out_channels
        self.model = model.to(options.device, memory_format=layout)
        self.images = torch.randn(batch, 3, self.height, self.width, device=options.device).to(memory_format=layout)
        if mode == "infer":
            self.model.eval()
            if options.fold:
                fold(self.model)
            # The class map is the network's last step, which a compiler may join with the one before.
            self.model = Classifier(self.model).to(self.dtype)
            self.images = self.images.to(self.dtype)
            once = self.infer
        else:
            self.model.train()
            self.labels = torch.randint(0, classes, (batch, self.height, self.width), device=options.device)
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)
            self.scaler = torch.amp.GradScaler(self.device_type, enabled=precision == "fp16" and self.on_gpu and "graph" not in execution)
            once = self.train
        if "compiled" in execution:
            # Without a reset all cases count as recompilations of one function, and after eight of these PyTorch goes on uncompiled, silently.
            torch._dynamo.reset()
            # Graphs are captured here, in the same way for every execution.
            self.model = torch.compile(self.model, dynamic=False, mode="max-autotune-no-cudagraphs" if self.on_gpu else "default")
        for _ in range(options.warm_up):
            once()
        self.run = self.captured(once) if "graph" in execution else once

    @property
    def device_type(self):
        return "cuda" if self.on_gpu else "cpu"

    @torch.no_grad()
    def infer(self):
        return self.model(self.images)

    def train(self):
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device_type, self.dtype, enabled=self.dtype != torch.float32):
            logits = self.model(self.images)
        loss = ohem_loss(logits.float(), self.labels)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss

    def captured(self, once):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                once()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.result = once()
        return graph.replay

    def times(self, seconds):
        """Milliseconds per image: by the host's clock, the wait for the device included, and by the device's."""
        host, device = [], []
        begin = time.perf_counter()
        while len(host) < 3 or time.perf_counter() - begin < seconds:
            if self.on_gpu:
                first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                torch.cuda.synchronize()
                start = time.perf_counter()
                first.record()
                self.run()
                last.record()
                torch.cuda.synchronize()
                device.append(first.elapsed_time(last) / self.batch)
            else:
                start = time.perf_counter()
                self.run()
            host.append(1000 * (time.perf_counter() - start) / self.batch)
        return sorted(host), sorted(device)


def percentile(ordered, share):
    return ordered[math.ceil(share * len(ordered)) - 1]


def median(ordered):
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def cause_of(problem):
    """A line: what failed first, and of a compiler's many lines the one that names an error."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()] or [""]
    errors = [line for line in lines[1:] if re.search(r"\b(fatal )?error: |not found|No such file", line)]
    return f"{type(problem).__name__}: " + "; ".join(line[:200] for line in [lines[0].rstrip(":"), *errors[:1]])


def bench(options):
    if options.threads:
        torch.set_num_threads(options.threads)
    runs, failures = [], []
    combinations = itertools.product(options.model, options.mode, options.precision, options.execution, options.size, options.batch)
    for model, mode, precision, execution, size, batch in combinations:
        what = f"{model} {mode} {precision} {execution} {size} batch {batch}"
        case = None
        try:
            if options.device.startswith("cuda"):
                torch.cuda.reset_peak_memory_stats()
            case = Case(options, model, mode, precision, execution, size, batch)
            host, device = case.times(options.seconds)
        except Exception as problem:  # A combination that this device or compiler can't do must not end the others.
            failures.append({"run": what, "problem": cause_of(problem)})
            print(f"{what}: {failures[-1]['problem']}", file=sys.stderr, flush=True)
            if options.json:
                write_json(options, runs, failures)
            continue
        form = f"{precision} {execution}{' folded' if options.fold and mode == 'infer' else ''}"
        run = {
            "name": f"PyTorch {torch.__version__} {form}", "framework": f"PyTorch {torch.__version__}", "model": case.model_name,
            "mode": mode, "scope": SCOPES[mode], "device": options.device, "deviceDescription": device_name(options),
            "precision": precision, "execution": execution, "layout": options.layout, "size": size, "batch": batch,
            "threads": torch.get_num_threads(), "parameters": case.parameters, "iterations": len(host),
            "medianMs": round(median(host), 4), "minMs": round(host[0], 4), "p90Ms": round(percentile(host, 0.9), 4),
            "p99Ms": round(percentile(host, 0.99), 4), "fps": round(1000 / median(host), 4),
        }
        if device:
            run.update(deviceScope=SCOPES[mode], deviceMedianMs=round(median(device), 4), deviceMinMs=round(device[0], 4),
                       deviceP90Ms=round(percentile(device, 0.9), 4), deviceP99Ms=round(percentile(device, 0.99), 4), peakBytes=torch.cuda.max_memory_allocated())
        runs.append(run)
        on_device = f", on the device {run['deviceMedianMs']:.3f} ms" if device else ""
        print(f"{case.model_name} {what}: median {run['medianMs']:.3f} ms, min {run['minMs']:.3f} ms, p99 {run['p99Ms']:.3f} ms an image, "
              f"{run['fps']:.2f} images/s{on_device}", flush=True)
        del case
        if options.json:  # After each, so that what was measured is kept when the rest is cut short.
            write_json(options, runs, failures)
    return 0 if runs else 1


def device_name(options):
    return torch.cuda.get_device_name(options.device) if options.device.startswith("cuda") else "CPU"


def write_json(options, runs, failures):
    versions = {"python": sys.version.split()[0], "torch": torch.__version__, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    with open(options.json, "w", encoding="utf-8") as file:
        json.dump({"device": device_name(options), "versions": versions, "runs": runs, "failures": failures}, file, indent=2)
        file.write("\n")


def main():
    modes, executions = ["infer", "train"], ["eager", "compiled", "graph", "compiled+graph"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", nargs="+", metavar="FILE", help="compare logits with recorded ones instead of measuring times")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest relative error of --check (default 1e-4)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--model", nargs="+", default=["base"], help="base, large, or a weights file")
    parser.add_argument("--mode", nargs="+", choices=modes, help="default infer")
    parser.add_argument("--precision", nargs="+", choices=list(DTYPES), help="default fp32")
    parser.add_argument("--execution", nargs="+", choices=executions, help="default eager")
    parser.add_argument("--all", action="store_true", help="every mode, precision and execution that is not chosen by its own option")
    parser.add_argument("--fold", action="store_true", help="inference: take BNs into the convolutions before them first")
    parser.add_argument("--layout", default="nhwc", choices=["nhwc", "nchw"], help="memory format (default nhwc, channels_last)")
    parser.add_argument("--size", nargs="+", default=["512x1024"], help="HxW")
    parser.add_argument("--batch", nargs="+", type=int, default=[1])
    parser.add_argument("--seconds", type=float, default=2, help="how long to measure each (default 2), at least three runs")
    parser.add_argument("--warm-up", type=int, default=5, help="runs before")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: PyTorch's choice")
    parser.add_argument("--json", help="file for the figures; dwrseg bench --peer-json puts them beside its own")
    options = parser.parse_args()
    if not options.device.startswith("cuda"):
        executions = [e for e in executions if "graph" not in e]
    precisions = [p for p in DTYPES if p != "tf32" or options.device.startswith("cuda")]
    options.mode = options.mode or (modes if options.all else ["infer"])
    options.precision = options.precision or (precisions if options.all else ["fp32"])
    options.execution = options.execution or (executions if options.all else ["eager"])
    return check(options) if options.check else bench(options)


if __name__ == "__main__":
    sys.exit(main())
