#!/usr/bin/env python3
"""Writes optim.safetensors: PyTorch's optimisers and gradient clipping on random gradients.

usage: optim.py        (needs torch and safetensors; made with torch 2.x, float32)

`weight`, `bias` are the start; `gradient.STEP.NAME` the gradients of each step, with a norm on both sides of the limit;
`CASE.NAME` the values after all steps. `norm.STEP` is what clip_grad_norm_ returns.
"""
import os
import torch
from safetensors.torch import save_file

torch.manual_seed(0)
torch.set_num_threads(1)
STEPS, RATES, CLIP = 6, [0.1, 0.1, 0.1, 0.05, 0.05, 0.05], 3.0
start = {"weight": torch.randn(4, 5), "bias": torch.randn(7)}
gradients = [{k: v.mul(scale) for k, v in (("weight", torch.randn(4, 5)), ("bias", torch.randn(7)))}
             for scale in (1.0, 0.1, 2.0, 0.001, 1.0, 0.5)]
out = dict(start)
for i, g in enumerate(gradients):
    out.update({f"gradient.{i}.{k}": v for k, v in g.items()})



def spared(p):
    """PyTorch's way to spare some weights the decay: groups."""
    weight, bias = p
    return [{"params": [weight], "weight_decay": 0.1}, {"params": [bias], "weight_decay": 0.0}]


CASES = {
    "adam": lambda p: torch.optim.Adam(p, betas=(0.8, 0.95), eps=1e-6, foreach=False),
    "adam-decay": lambda p: torch.optim.Adam(p, weight_decay=0.1, foreach=False),
    "adamw": lambda p: torch.optim.AdamW(p, weight_decay=0.1, foreach=False),
    "sgd": lambda p: torch.optim.SGD(p, weight_decay=0.1, foreach=False),
    "adam-spared": lambda p: torch.optim.Adam(spared(p), foreach=False),
    "adamw-spared": lambda p: torch.optim.AdamW(spared(p), foreach=False),
    "sgd-spared": lambda p: torch.optim.SGD(spared(p), foreach=False),
    "sgd-momentum": lambda p: torch.optim.SGD(p, momentum=0.9, weight_decay=0.1, foreach=False),
}
for case, make in CASES.items():
    for clip in ("", "-norm", "-value"):
        p = {k: v.clone().requires_grad_() for k, v in start.items()}
        opt = make(p.values())
        for i, g in enumerate(gradients):
            for k in p:
                p[k].grad = g[k].clone()
            if clip == "-norm":
                out[f"norm.{i}"] = torch.nn.utils.clip_grad_norm_(p.values(), CLIP, foreach=False).reshape(1)
            if clip == "-value":
                torch.nn.utils.clip_grad_value_(p.values(), 0.1, foreach=False)
            for group in opt.param_groups:
                group["lr"] = RATES[i]
            opt.step()
        out.update({f"{case}{clip}.{k}": v.detach() for k, v in p.items()})
save_file({k: v.contiguous() for k, v in out.items()}, os.path.join(os.path.dirname(__file__), "optim.safetensors"))
