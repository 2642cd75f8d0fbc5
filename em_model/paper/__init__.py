"""The published models: MODEL-1 to MODEL-4 of Devi, Butler and Sai Gautam, in plain PyTorch.

Source: arXiv 2508.06436 (npj Computational Materials 2026). Their code rests on the 2023 ALIGNN
(DGL, BatchNorm) and on the k-nearest-neighbour graphs of jarvis-tools; both are rebuilt here
without DGL, so that the authors' checkpoints predict in any environment.
"""
