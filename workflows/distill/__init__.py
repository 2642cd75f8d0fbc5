"""How the shipped ``mini`` potential is remade: CHGNet teaches a small MACE model.

``python -m workflows.distill --help`` names the steps: ``label``, ``train``, ``export``,
``validate``.
"""
