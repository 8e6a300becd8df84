# The run-time CUDA module is added with quant's first kernel.
