"""One thread, so that the order of sums is fixed."""

import torch

torch.set_num_threads(1)
