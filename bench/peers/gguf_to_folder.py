#!/usr/bin/env python3
"""Writes the weights of a GGUF file, dequantised to float32, as a Hugging Face folder.

usage: gguf_to_folder.py MODEL.gguf FOLDER
"""

import os
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, name = os.path.split(os.path.abspath(sys.argv[1]))
AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(sys.argv[2])
AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).save_pretrained(sys.argv[2])
