"""How much memory each process takes under the heaviest load that the limits allow: `python -m benchmarks.memory`.

`loads` has the loads, `peaks` watches the processes meanwhile, `run` puts both around a stack of default settings.
"""
