"""The benchmark as a module: benchmarks/ holds scripts and is no package."""

import importlib.util
import sys
from pathlib import Path

PATH = Path(__file__).parents[2] / "benchmarks" / "small_data.py"
spec = importlib.util.spec_from_file_location("small_data", PATH)
small_data = importlib.util.module_from_spec(spec)
sys.modules["small_data"] = small_data
spec.loader.exec_module(small_data)
