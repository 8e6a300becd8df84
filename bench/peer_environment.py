"""The environment in which the peer's torch works on this machine."""
import signal
import subprocess

PRODUCT = """
import torch
(torch.ones(512, 576, dtype=torch.bfloat16) @ torch.ones(576, 576, dtype=torch.bfloat16)).sum().item()
"""


def peer_environment(python, environment):
    """`environment`, or, where a bf16 product of torch dies of SIGILL in it, with AMX switched off: oneDNN 3.10 takes a CPU at its
    word that announces AMX without palettes (its issue 5689). nibble must not get it: it would do without AMX too."""
    done = subprocess.run([str(python), "-W", "ignore", "-c", PRODUCT], env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if done.returncode == -signal.SIGILL:
        return dict(environment, ONEDNN_MAX_CPU_ISA="AVX512_CORE_FP16")
    return environment
